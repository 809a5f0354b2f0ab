package process

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// trusted tells whether whoever is at the other end of a Unix socket may have what this process has: its own user and
// root, who could take it anyway.
func trusted(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var who *unix.Ucred
	if raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return false
	}
	return who.Uid == 0 || int(who.Uid) == os.Geteuid()
}
