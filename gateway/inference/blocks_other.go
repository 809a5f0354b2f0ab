//go:build !amd64

package inference

const hasBlocks = false

func quoteInBlocks(*byte, int) int { panic("BUG: there are no blocks on this processor") }

func numbersInBlocks(*byte, int) int { panic("BUG: there are no blocks on this processor") }

func numbersInWideBlocks(*byte, int) int { panic("BUG: there are no blocks on this processor") }
