//go:build race

package cache

// effort divides what the long tests do: the race detector makes them many times slower.
const effort = 20
