//go:build race

package testkit

// Race tells whether the race detector is on: under it everything allocates, and takes longer.
const Race = true
