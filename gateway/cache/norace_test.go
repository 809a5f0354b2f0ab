//go:build !race

package cache

const effort = 1
