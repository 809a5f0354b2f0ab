//go:build !soak

package testkit

// Soak tells whether tests of endurance take all the time that they need: make soak.
const Soak = false
