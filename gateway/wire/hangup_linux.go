package wire

import "golang.org/x/sys/unix"

// hangUp asks poll(2) for the peer's FIN, also behind unread bytes. RST and errors come unasked.
const hangUp = unix.POLLRDHUP
