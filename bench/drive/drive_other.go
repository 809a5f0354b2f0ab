//go:build !linux

package drive

import "errors"

// Run is there on Linux only: the loop stands on epoll.
func Run(Plan) (*Result, error) { return nil, errors.New("the load generator needs Linux") }
