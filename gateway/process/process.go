// Package process is the gateway as one process among others: the socket it inherits or hands over, what it tells
// systemd, and files that others change.
//
// Its doors are [Listen], [NewNotifier] and [Watch]. It knows nothing of requests, settings or the gateway.
package process
