// Package behaviour holds the tests of what a whole gateway does on the wire, between clients and upstreams that follow a script.
// A behaviour is a file, named for the side on which it shows: client_, upstream_, cache_.
package behaviour
