package inference

import "golang.org/x/sys/cpu"

var hasBlocks = cpu.X86.HasAVX2

// quoteInBlocks is the offset of the first quote from p on that no backslash escapes, looked for in n bytes, a multiple of 64 and not
// 0; -1 if there is none. It needs AVX2.
//
//go:noescape
func quoteInBlocks(p *byte, n int) int

// numbersInBlocks is how many bytes from p on, a multiple of 32, are digits, commas that are behind a digit, and spaces that are behind a comma. It
// looks at n bytes, a multiple of 32 and not 0, of which the first is a digit. It needs AVX2.
//
//go:noescape
func numbersInBlocks(p *byte, n int) int

// numbersInWideBlocks is numbersInBlocks to the very byte, in n bytes, a multiple of 64 and not 0. It needs what judge needs.
//
//go:noescape
func numbersInWideBlocks(p *byte, n int) int
