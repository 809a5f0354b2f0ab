package process

import (
	"fmt"
	"net"
	"strings"
)

// A Notifier tells systemd how the process is: sd_notify(3). A nil Notifier tells nobody.
type Notifier struct{ addr *net.UnixAddr }

// NewNotifier makes a Notifier for the socket that NOTIFY_SOCKET in environ names, and nil if there is none.
func NewNotifier(environ []string) *Notifier {
	name := variable(environ, "NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if name[0] == '@' {
		name = "\x00" + name[1:] // an abstract socket: unix(7)
	}
	return &Notifier{&net.UnixAddr{Name: name, Net: "unixgram"}}
}

// Ready tells that the process serves.
func (n *Notifier) Ready() { n.tell("READY=1") }

// Reloading tells that settings are being read again; Ready tells the end of that.
func (n *Notifier) Reloading() {
	n.tell(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()))
}

// Stopping tells that the process is on its way out.
func (n *Notifier) Stopping() { n.tell("STOPPING=1") }

// tell sends a state. Nobody can do anything about a systemd that does not listen.
func (n *Notifier) tell(state string) {
	if n == nil {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, n.addr)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}

// variable is the value of an environment variable, "" if it is not set.
func variable(environ []string, name string) string {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}
