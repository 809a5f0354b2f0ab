//go:build !race

package ratelimit

const effort = 1
