package wire

import "net"

// A quietConn is what TLS reads from. While it is on, a read brings what the kernel has and never waits.
type quietConn struct {
	net.Conn
	fd int
	on bool
}

func (q *quietConn) Read(p []byte) (int, error) {
	if !q.on {
		return q.Conn.Read(p)
	}
	if q.fd < 0 {
		return 0, errNothing
	}
	return receiveNow(q.fd, p)
}

// nothing is the error of a read that would have waited. TLS reads on after one that is temporary.
type nothing struct{}

var errNothing net.Error = nothing{}

func (nothing) Error() string   { return "wire: nothing to read yet" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }
