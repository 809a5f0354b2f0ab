#include "textflag.h"
#include "go_asm.h"

// The text of a value is read 64 bytes at a time. Of each block its tokens are picked out: brackets, commas, colons, the quotes that begin
// strings, and the first byte of each number or word. They are gathered, and judged 64 at a time, of all bytes about a tenth.
//
// The frame: what has been gathered and is not judged yet, and what does not find place in registers.
#define DEPTH 0(SP)           // behind the last block
#define JUDGED 8(SP)          // depth behind the tokens that have been judged
#define PAIRS 16(SP)          // which tokens have one behind them
#define TRIPLES 24(SP)        // and two
#define LENGTH 32(SP)         // of the block
#define VERDICT 40(SP)
#define COUNT 48(SP)
#define AT 56(SP)
#define LAST 64(SP)           // two tokens
#define ENDING 72(SP)         // not 0: these are the last tokens
#define ESCAPED 80(SP)        // what R8, R9 and R13 were before the block
#define INSIDE 88(SP)
#define BARE 96(SP)
#define TOKENS 112(SP)        // there is room for a block more than ENOUGH, and for what is loaded behind that
#define ENOUGH $512

// LEVEL holds what is at one depth against each other: a bit of each token of an object, or of the kind that the depth had before, is carried by an
// addition to the next token there, and out of the last one. What opens has nothing before it. Then it goes on to the next depth.
#define LEVEL \
	VPTESTNMB Z6, Z6, K1, K2 \
	VPSUBB Z25, Z6, Z6       \
	KMOVQ K2, CX             \
	MOVQ R12, AX             \
	ANDQ CX, AX              \
	ADDQ AX, AX              \
	SETCS BX                 \
	MOVBLZX (R15), DX        \
	ORQ DX, AX               \
	MOVQ CX, DX              \
	NOTQ DX                  \
	ADDQ DX, AX              \
	ADCB $0, BX              \
	MOVB BX, (R15)           \
	INCQ R15                 \
	XORQ R12, AX             \
	ANDQ CX, AX              \
	ANDNQ AX, R10, AX        \
	ORQ AX, R14              \
	ANDNQ R11, CX, R11

// func judge(j *judged, kinds *[maxDepth]uint8, p *byte, n int) (read int)
//
// SI, DI: the block. R8: 1 if its first byte is escaped. R9: all ones if it begins in a string. R13: 1 if a number or a word goes on. BX: tokens. R14: the odd bits.
TEXT ·judge(SB), 0, $832-40
	MOVQ j+0(FP), AX
	MOVQ p+16(FP), SI
	XORQ DI, DI
	XORQ R8, R8
	XORQ R9, R9
	XORQ R13, R13
	MOVQ $0xAAAAAAAAAAAAAAAA, R14 // the odd bits
	MOVQ judged_depth(AX), CX
	MOVQ CX, DEPTH
	MOVQ CX, JUDGED
	MOVWQZX judged_tokens(AX), CX
	MOVW CX, TOKENS
	MOVWQZX judged_count(AX), BX
	MOVQ $const_goesOn, VERDICT
	MOVQ $0, ENDING
	LEAQ ·judgeTables(SB), AX
	VMOVDQU64 0(AX), Z18          // Z18, Z19: what a byte is
	VMOVDQU64 64(AX), Z19
	VMOVDQU64 128(AX), Z20        // Z20, Z21: what a token is
	VMOVDQU64 192(AX), Z21
	VMOVDQU64 256(AX), Z22        // Z22, Z23: what may follow it
	VMOVDQU64 320(AX), Z23
	MOVL $0x22, AX
	VPBROADCASTB AX, Z16          // quotes
	MOVL $0x5C, AX
	VPBROADCASTB AX, Z17          // backslashes
	MOVL $0x20, AX
	VPBROADCASTB AX, Z24          // blanks
	MOVL $1, AX
	VPBROADCASTB AX, Z25          // a byte that is white
	MOVL $2, AX
	VPBROADCASTB AX, Z26          // of a number or a word
	MOVL $4, AX
	VPBROADCASTB AX, Z27          // opens
	MOVL $8, AX
	VPBROADCASTB AX, Z28          // closes
	MOVL $0x80, AX
	VPBROADCASTB AX, Z29
	MOVL $0x2C, AX
	VPBROADCASTB AX, Z10          // commas
	MOVL $0x3A, AX
	VPBROADCASTB AX, Z11          // colons
	MOVL $0x50, AX
	VPBROADCASTB AX, Z12          // what may follow the beginning of an object
	MOVL $0x41, AX
	VPBROADCASTB AX, Z13          // tokens of objects
	MOVL $0x03, AX
	VPBROADCASTB AX, Z14          // that open
	MOVL $0xC0, AX
	VPBROADCASTB AX, Z30          // that close
	MOVL $15, AX
	VPBROADCASTB AX, Z9           // the last byte of a lane
	VPTERNLOGD $0xFF, Z15, Z15, Z15 // -1
	VPXORQ Z31, Z31, Z31

next:
	MOVQ n+24(FP), AX
	SUBQ DI, AX
	JLE gathered
	CMPQ AX, $64
	JLT part

whole:
	MOVQ $64, LENGTH
	VMOVDQU64 (SI)(DI*1), Z0

block:
	VPCMPEQB Z16, Z0, K1
	VPCMPEQB Z17, Z0, K2
	KMOVQ K1, R10
	KMOVQ K2, R11
	MOVQ R8, ESCAPED
	ANDNQ R11, R8, AX             // backslashes that may escape; the rest is as in quoteInBlocks
	LEAQ (AX)(AX*1), R12
	ORQ R14, R12
	SUBQ AX, R12
	XORQ R14, R12
	MOVQ R11, AX
	ORQ R8, AX
	XORQ R12, AX                  // what is escaped
	ANDQ R11, R12
	SHRQ $63, R12
	MOVQ R12, R8
	ANDNQ R10, AX, R10            // quotes that are not
	CMPQ LENGTH, $64
	JNE short

quoted:
	MOVQ R9, INSIDE
	TESTQ R10, R10
	JNZ structure
	TESTQ R9, R9
	JZ structure
	ADDQ LENGTH, DI               // all of it is inside a string
	MOVQ n+24(FP), AX
	SUBQ DI, AX
	JLE gathered
	CMPQ AX, $64
	JLT part
	TESTQ R8, R8
	JNZ whole

	// And so may be those behind it, which is soon seen. One that ends in a backslash is for the longer way.
text:
	VMOVDQU64 (SI)(DI*1), Z0
	VPCMPEQB Z16, Z0, K1
	VPCMPEQB Z17, Z0, K2
	KMOVQ K2, R11
	KMOVQ K1, R10
	TESTQ R11, R11
	JS whole
	LEAQ (R11)(R11*1), R12
	ORQ R14, R12
	SUBQ R11, R12
	XORQ R14, R12
	XORQ R11, R12                 // what is escaped
	ANDNQ R10, R12, R12
	JNZ whole
	ADDQ $64, DI
	SUBQ $64, AX
	TESTQ R10, R10
	JZ plain
	CMPQ AX, $64
	JGE text
	JMP next

	// Where one has no quote at all the next two are likely to have none.
plain:
	CMPQ AX, $128
	JLT behindPlain
	VPCMPEQB (SI)(DI*1), Z16, K1
	VPCMPEQB 64(SI)(DI*1), Z16, K2
	KORTESTQ K1, K2
	JNZ behindPlain
	ADDQ $128, DI
	SUBQ $128, AX
	JMP plain

behindPlain:                          // backslashes right before it; the quote that begins the string ends them
	MOVQ DI, AX

backslash:
	DECQ AX
	CMPB (SI)(AX*1), $0x5C
	JNE next
	XORQ $1, R8
	JMP backslash

short:                                // what follows the part is escaped
	MOVQ LENGTH, CX
	SHRQ CX, AX
	ANDQ $1, AX
	MOVQ AX, R8
	JMP quoted

part:
	MOVQ AX, LENGTH

	// The rest of the block is blank.
blank:
	MOVQ LENGTH, CX
	MOVQ $-1, AX
	BZHIQ CX, AX, AX
	KMOVQ AX, K1
	VMOVDQA64 Z24, Z0
	VMOVDQU8 (SI)(DI*1), K1, Z0
	JMP block

structure:
	MOVQ R13, BARE
	VMOVDQA64 Z0, Z1
	VPERMI2B Z19, Z18, Z1
	VPTESTNMB Z29, Z0, K3         // ASCII
	VPTESTMB Z25, Z1, K3, K4
	VPTESTMB Z26, Z1, K3, K5
	VPTESTMB Z27, Z1, K3, K6
	VPTESTMB Z28, Z1, K3, K7
	VMOVQ R10, X2
	VPCLMULQDQ $0, X15, X2, X2    // a bit is set if quotes before it and at it are odd in number
	VMOVQ X2, CX
	XORQ R9, CX                   // inside a string, with the quote that begins it
	MOVQ CX, R9
	SARQ $63, R9
	MOVQ R10, R15
	ORQ CX, R15                   // and with the one that ends it
	KMOVQ K4, AX
	ORQ R15, AX
	KMOVQ K5, R11
	ANDNQ R11, R15, R11           // of numbers and words
	LEAQ (R11)(R11*1), R12
	ORQ R13, R12
	ANDQ R11, R12                 // and not the first
	SHRQ $63, R11
	MOVQ R11, R13
	ORQ R12, AX
	NOTQ AX
	ANDQ CX, R10
	ORQ R10, AX                   // AX: the tokens
	KMOVQ K6, R10
	KMOVQ K7, R11
	ANDNQ R10, R15, R10           // R10: those that open
	ANDNQ R11, R15, R11           // R11: those that close
	POPCNTQ R10, R12
	POPCNTQ R11, R15
	MOVQ DEPTH, CX
	ADDQ CX, R12                  // not deeper than this
	CMPQ R12, $(const_maxDepth-16)
	JGE tooDeep
	MOVQ R10, DX                  // nor less deep than without those that close right behind what opens
	ORQ R11, DX
	NOTQ DX
	LEAQ (DX)(R10*2), DX
	ANDQ R11, DX
	POPCNTQ DX, DX
	SUBQ R15, DX
	ADDQ CX, DX
	CMPQ DX, $2
	JLT shallow

gather:
	SUBQ R15, R12
	MOVQ R12, DEPTH
	KMOVQ AX, K1
	VPCOMPRESSB.Z Z0, K1, Z1
	LEAQ TOKENS, CX
	VMOVDQU64 Z1, (CX)(BX*1)
	POPCNTQ AX, AX
	ADDQ AX, BX
	ADDQ LENGTH, DI
	CMPQ BX, ENOUGH
	JGE judgement

gatherOn:
	CMPQ VERDICT, $const_goesOn
	JEQ next
	JMP gathered

	// The value may end in this block: of which bracket?
shallow:
	CMPQ VERDICT, $const_goesOn
	JNE gather
	MOVQ R12, COUNT
	MOVQ DEPTH, CX

closing:
	TZCNTQ R11, DX                // where it is
	BZHIQ DX, R10, R12            // what opens before it
	POPCNTQ R12, R12
	ADDQ CX, R12                  // less those that close before it, which CX has
	CMPQ R12, $2
	JEQ ends
	DECQ CX
	BLSRQ R11, R11
	JNZ closing
	MOVQ COUNT, R12
	JMP gather

ends:
	INCQ DX
	MOVQ DX, LENGTH
	MOVQ $const_valueEnds, VERDICT
	MOVQ ESCAPED, R8
	MOVQ INSIDE, R9
	MOVQ BARE, R13
	JMP blank                     // and again

tooDeep:
	MOVQ $const_deep, VERDICT
	MOVQ ESCAPED, R8
	MOVQ INSIDE, R9
	MOVQ BARE, R13

gathered:
	LEAQ TOKENS, CX
	MOVWQZX -2(CX)(BX*1), AX
	MOVQ AX, LAST
	VMOVDQU64 Z31, (CX)(BX*1)
	VMOVDQU64 Z31, 64(CX)(BX*1)
	MOVQ $1, ENDING

judgement:
	MOVQ BX, COUNT
	MOVQ $0, AT
	MOVQ $-1, PAIRS
	MOVQ $-1, TRIPLES
	CMPQ BX, $66
	JGE judgeTokens

judgeLast:
	MOVQ $-1, AX
	DECQ BX
	BZHIQ BX, AX, DX
	MOVQ DX, PAIRS
	SHRQ $1, DX
	MOVQ DX, TRIPLES

	// What may follow what, as far as that does not depend on what is open. Then of what kind things are, and at which depth they are: at each
	// one, brackets and commas are to be of the same kind, from what opens to what closes. A comma is of an object if a string and a colon
	// follow it.
judgeTokens:
	LEAQ TOKENS, CX
	ADDQ AT, CX
	VMOVDQU64 (CX), Z0
	VMOVDQU64 1(CX), Z1
	VMOVDQU64 2(CX), Z2
	VMOVDQA64 Z0, Z3
	VPERMI2B Z21, Z20, Z3         // what it is
	VMOVDQA64 Z1, Z4
	VPERMI2B Z21, Z20, Z4         // what follows
	VMOVDQA64 Z0, Z5
	VPERMI2B Z23, Z22, Z5         // what may follow
	VPTESTNMB Z5, Z4, K1
	VPMOVB2M Z0, K2               // not ASCII
	VPCMPEQB Z12, Z5, K3
	VPCMPEQB Z10, Z0, K4
	VPCMPEQB Z11, Z2, K5
	VPCMPEQB Z16, Z1, K6
	KMOVQ K1, AX
	ANDQ PAIRS, AX
	KMOVQ K2, CX
	ORQ CX, AX
	KMOVQ K3, R10                 // R10: objects open
	KMOVQ K4, R11                 // R11: commas
	KMOVQ K5, R12                 // R12: a colon follows what follows
	KMOVQ K6, R15                 // R15: a string follows
	MOVQ R10, CX
	ORQ R11, CX
	ANDNQ R12, CX, CX             // a colon behind what is no name
	ANDQ R15, R10
	ANDNQ R10, R12, R10           // no colon behind a name
	ORQ R10, CX
	ANDQ TRIPLES, CX
	MOVQ CX, R14                  // R14: what is wrong
	ORQ AX, R14
	JNZ malformed
	ANDNQ PAIRS, R15, CX
	ORQ TRIPLES, CX
	ANDQ CX, R11                  // of which it is known what follows
	ANDQ R11, R12
	VPTESTMB Z13, Z3, K1
	KMOVQ K1, R15
	ORQ R15, R12                  // R12: tokens of objects
	VPTESTMB Z14, Z3, K2
	KMOVQ K2, R10                 // R10: that open
	VPTESTMB Z30, Z3, K3
	KMOVQ K3, R15                 // R15: that close
	ORQ R10, R11
	ORQ R15, R11                  // R11: all of them
	JZ levelled
	POPCNTQ R10, AX
	POPCNTQ R15, DX
	SUBQ DX, AX
	LEAQ (R15)(R15*1), CX
	KMOVQ CX, K4
	VMOVDQU8.Z Z25, K2, Z6        // the sum of these up to each token is its depth, from what was judged before
	VPADDB Z15, Z6, K4, Z6
	VPSLLDQ $1, Z6, Z7
	VPADDB Z7, Z6, Z6
	VPSLLDQ $2, Z6, Z7
	VPADDB Z7, Z6, Z6
	VPSLLDQ $4, Z6, Z7
	VPADDB Z7, Z6, Z6
	VPSLLDQ $8, Z6, Z7
	VPADDB Z7, Z6, Z6
	VPSHUFB Z9, Z6, Z7
	VALIGNQ $6, Z31, Z7, Z8
	VPADDB Z8, Z6, Z6
	VALIGNQ $4, Z31, Z7, Z8
	VPADDB Z8, Z6, Z6
	VALIGNQ $2, Z31, Z7, Z8
	VPADDB Z8, Z6, Z6
	VPADDB Z29, Z6, Z6            // none is negative
	VEXTRACTI64X4 $1, Z6, Y7
	VPMINUB Y6, Y7, Y7
	VEXTRACTI128 $1, Y7, X8
	VPMINUB X7, X8, X7
	VPSRLW $8, X7, X8
	VPMINUB X7, X8, X7
	VPHMINPOSUW X7, X7            // the least
	VPBROADCASTB X7, Z8
	VPSUBB Z8, Z6, Z6             // the depth from there
	VMOVD X7, DX
	MOVBLZX DX, DX
	MOVQ kinds+8(FP), R15
	ADDQ JUDGED, R15
	LEAQ -129(R15)(DX*1), R15     // its kind
	ADDQ AX, JUDGED
	KMOVQ R11, K1
	LEVEL
	LEVEL
	LEVEL
	TESTQ R11, R11                // a conversation is no deeper
	JZ levelled
	LEVEL
	LEVEL
	LEVEL
	TESTQ R11, R11
	JNZ deeper

levelled:
	TESTQ R14, R14
	JNZ malformed
	MOVQ AT, CX
	ADDQ $64, CX
	MOVQ CX, AT
	MOVQ COUNT, BX
	SUBQ CX, BX
	CMPQ BX, $66
	JGE judgeTokens
	CMPQ ENDING, $0
	JNE ending
	LEAQ TOKENS, AX
	VMOVDQU64 (AX)(CX*1), Z0
	VMOVDQU64 64(AX)(CX*1), X1
	VMOVDQU64 Z0, (AX)
	VMOVDQU64 X1, 64(AX)
	MOVQ $0xAAAAAAAAAAAAAAAA, R14
	JMP gatherOn

ending:
	TESTQ BX, BX
	JG judgeLast
	JMP finished

deeper:
	LEVEL
	LEVEL
	TESTQ R11, R11
	JNZ deeper
	JMP levelled

malformed:
	MOVQ $const_misshapen, VERDICT

finished:
	VZEROUPPER
	MOVQ j+0(FP), AX
	MOVQ LAST, CX
	MOVW CX, judged_tokens(AX)
	MOVQ VERDICT, CX
	MOVL CX, judged_verdict(AX)
	MOVQ JUDGED, CX
	MOVQ CX, judged_depth(AX)
	MOVQ R9, judged_open(AX)
	MOVQ R8, judged_escaped(AX)
	MOVQ DI, read+32(FP)
	RET
