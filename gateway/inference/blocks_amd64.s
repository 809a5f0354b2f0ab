#include "textflag.h"

// MASKS makes a bit for each quote of the block, in R10, and for each backslash, in R12.
#define MASKS \
	VMOVDQU (SI)(DI*1), Y2   \
	VMOVDQU 32(SI)(DI*1), Y3 \
	VPCMPEQB Y0, Y2, Y4      \
	VPCMPEQB Y0, Y3, Y5      \
	VPCMPEQB Y1, Y2, Y2      \
	VPCMPEQB Y1, Y3, Y3      \
	VPMOVMSKB Y4, R10        \
	VPMOVMSKB Y5, R11        \
	VPMOVMSKB Y2, R12        \
	VPMOVMSKB Y3, R13        \
	SHLQ $32, R11            \
	SHLQ $32, R13            \
	ORQ R11, R10             \
	ORQ R13, R12

// func quoteInBlocks(p *byte, n int) int
//
// Sixty-four bytes at a time. What is escaped comes from the bits of the backslashes by a subtraction, as in simdjson's
// json_escape_scanner: a run of them that begins at an even place carries through the odd bits to where it ends, and so on. So the only
// branch that is not foreseen is the end. A block that ends in a backslash is for the longer way, which minds the next one. Long text without a quote is
// passed over faster, without a look at backslashes.
TEXT ·quoteInBlocks(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	XORQ DI, DI                  // where the block begins
	MOVQ $0xAAAAAAAAAAAAAAAA, R9 // the odd bits
	MOVQ $0x22, AX
	MOVQ AX, X0
	VPBROADCASTB X0, Y0          // quotes
	MOVQ $0x5C, AX
	MOVQ AX, X1
	VPBROADCASTB X1, Y1          // backslashes

block:
	MASKS
	XORQ R8, R8                  // 1: the block's first byte is escaped
	TESTQ R12, R12
	JS careful
	LEAQ (R12)(R12*1), BX
	ORQ R9, BX
	SUBQ R12, BX
	XORQ R9, BX                  // backslashes that escape, and what they escape
	XORQ R12, BX                 // what is escaped
	NOTQ BX
	ANDQ R10, BX                 // quotes that are not
	JNZ found
	ADDQ $64, DI
	TESTQ R10, R10
	JNZ more

	// Where one block has no quote the next two are likely to have none, which is soon seen.
plain:
	LEAQ 128(DI), AX
	CMPQ AX, CX
	JGT behindPlain
	VPCMPEQB (SI)(DI*1), Y0, Y2
	VPCMPEQB 32(SI)(DI*1), Y0, Y3
	VPCMPEQB 64(SI)(DI*1), Y0, Y4
	VPCMPEQB 96(SI)(DI*1), Y0, Y5
	VPOR Y2, Y3, Y3
	VPOR Y4, Y5, Y5
	VPOR Y3, Y5, Y5
	VPTEST Y5, Y5
	JNZ behindPlain
	MOVQ AX, DI
	JMP plain

behindPlain:
	XORQ R8, R8
	MOVQ DI, AX

backslash:                       // those right before the block; if the text begins with them, they are all
	DECQ AX
	JS parity
	CMPB (SI)(AX*1), $0x5C
	JNE parity
	XORQ $1, R8
	JMP backslash

parity:
	CMPQ DI, CX
	JGE none
	TESTQ R8, R8
	JNZ carried
	JMP block

more:
	CMPQ DI, CX
	JLT block
	JMP none

carried:
	MASKS

careful:
	MOVQ R8, R13
	NOTQ R13
	ANDQ R12, R13                // backslashes that may escape
	LEAQ (R13)(R13*1), DX
	ORQ R9, DX
	SUBQ R13, DX
	XORQ R9, DX
	MOVQ R12, BX
	ORQ R8, BX
	XORQ DX, BX
	NOTQ BX
	ANDQ R10, BX
	JNZ found
	ANDQ R12, DX
	MOVQ DX, R8
	SHRQ $63, R8                 // the last one escapes into the next block
	ADDQ $64, DI
	CMPQ DI, CX
	JGE none
	TESTQ R8, R8
	JNZ carried
	JMP block

none:
	VZEROUPPER
	MOVQ $-1, AX
	MOVQ AX, ret+16(FP)
	RET

found:
	BSFQ BX, BX
	ADDQ DI, BX
	VZEROUPPER
	MOVQ BX, ret+16(FP)
	RET

// func numbersInBlocks(p *byte, n int) int
//
// Thirty-two bytes at a time: all are digits, commas or spaces, no comma is right behind a comma or a space, and no space but right
// behind a comma.
TEXT ·numbersInBlocks(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	XORQ DI, DI // where the block begins
	XORQ R8, R8 // 1: a comma is right before it
	XORQ R9, R9 // 1: a space is
	MOVQ $0x2C, AX
	MOVQ AX, X0
	VPBROADCASTB X0, Y0
	MOVQ $0x20, AX
	MOVQ AX, X1
	VPBROADCASTB X1, Y1
	MOVQ $0x30, AX
	MOVQ AX, X2
	VPBROADCASTB X2, Y2
	MOVQ $9, AX
	MOVQ AX, X3
	VPBROADCASTB X3, Y3

numbers:
	VMOVDQU (SI)(DI*1), Y4
	VPCMPEQB Y0, Y4, Y5
	VPCMPEQB Y1, Y4, Y6
	VPSUBB Y2, Y4, Y4
	VPMINUB Y3, Y4, Y7
	VPCMPEQB Y4, Y7, Y7
	VPMOVMSKB Y5, R10          // R10: commas
	VPMOVMSKB Y6, R11          // R11: spaces
	VPMOVMSKB Y7, R12          // digits
	ORQ R10, R12
	ORQ R11, R12
	CMPL R12, $-1
	JNE end
	LEAQ (R8)(R10*2), R13      // R13: what is right behind a comma
	LEAQ (R9)(R11*2), DX       // DX: or a space
	ORQ R13, DX
	ANDQ R10, DX
	NOTQ R13
	ANDQ R11, R13
	ORQ R13, DX
	JNZ end
	MOVQ R10, R8
	SHRQ $31, R8
	MOVQ R11, R9
	SHRQ $31, R9
	ADDQ $32, DI
	CMPQ DI, CX
	JLT numbers

end:
	VZEROUPPER
	MOVQ DI, ret+16(FP)
	RET

// func numbersInWideBlocks(p *byte, n int) int
//
// The same, sixty-four bytes at a time, and to the first byte that is none of these.
TEXT ·numbersInWideBlocks(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	XORQ DI, DI
	XORQ R8, R8
	XORQ R9, R9
	MOVL $0x2C, AX
	VPBROADCASTB AX, Z0
	MOVL $0x20, AX
	VPBROADCASTB AX, Z1
	MOVL $0x30, AX
	VPBROADCASTB AX, Z2
	MOVL $9, AX
	VPBROADCASTB AX, Z3

wide:
	VMOVDQU64 (SI)(DI*1), Z4
	VPCMPEQB Z0, Z4, K1
	VPCMPEQB Z1, Z4, K2
	VPSUBB Z2, Z4, Z4
	VPCMPUB $2, Z3, Z4, K3     // at most nine
	KORQ K1, K2, K4
	KMOVQ K1, R10              // R10: commas
	KMOVQ K2, R11              // R11: spaces
	KORQ K3, K4, K4
	KMOVQ K4, R12              // all of them
	LEAQ (R8)(R10*2), R13      // R13: what is right behind a comma
	LEAQ (R9)(R11*2), DX       // DX: or a space
	ORQ R13, DX
	ANDQ R10, DX
	ANDNQ R11, R13, R13
	ORQ R13, DX
	NOTQ R12
	ORQ R12, DX                // what is not to be
	JNZ wideEnd
	MOVQ R10, R8
	SHRQ $63, R8
	MOVQ R11, R9
	SHRQ $63, R9
	ADDQ $64, DI
	CMPQ DI, CX
	JLT wide
	VZEROUPPER
	MOVQ DI, ret+16(FP)
	RET

wideEnd:
	TZCNTQ DX, DX
	ADDQ DX, DI
	VZEROUPPER
	MOVQ DI, ret+16(FP)
	RET
