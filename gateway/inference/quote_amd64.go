package inference

import "golang.org/x/sys/cpu"

var hasBlocks = cpu.X86.HasAVX2

// quoteInBlocks is the offset of the first quote from p on that no backslash escapes, looked for in n bytes, a multiple of 64 and not
// 0; -1 if there is none. It needs AVX2.
//
//go:noescape
func quoteInBlocks(p *byte, n int) int
