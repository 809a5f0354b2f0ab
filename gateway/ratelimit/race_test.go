//go:build race

package ratelimit

// effort divides what the long tests do: the race detector makes the table thirty times slower.
const effort = 30
