package inference

import "golang.org/x/sys/cpu"

// hasJudge tells whether the processor has what judge needs: Intel's since Ice Lake, AMD's since Zen 4.
var hasJudge = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VBMI && cpu.X86.HasAVX512VBMI2 &&
	cpu.X86.HasBMI1 && cpu.X86.HasBMI2 && cpu.X86.HasPOPCNT && cpu.X86.HasPCLMULQDQ

// judge reads on inside a value of the top level, for at most n bytes from p, not 0, until that value ends, and judges its structure as nested
// does. It returns how many bytes it has read. kinds are the scanner's.
//
//go:noescape
func judge(j *judged, kinds *[maxDepth]uint8, p *byte, n int) (read int)

// judgeTables are what judge looks bytes up in.
//
//lint:ignore U1000 judge_amd64.s reads them
var judgeTables = func() (t struct{ kind, class, next [128]byte }) {
	const white, bare, open, closing = 1, 2, 4, 8
	for _, c := range " \t\r\n" {
		t.kind[c] = white
	}
	for c := range t.kind {
		if isBare[c] {
			t.kind[c] = bare
		}
	}
	t.kind['{'], t.kind['['], t.kind['}'], t.kind[']'] = open, open, closing, closing

	const object, array, comma, colon, text, number, objectEnd, arrayEnd = 1, 2, 4, 8, 16, 32, 64, 128
	const value, end = object | array | text | number, comma | objectEnd | arrayEnd
	f := func(tokens string, class, next byte) {
		for _, c := range tokens {
			t.class[c], t.next[c] = class, next
		}
	}
	f("-0123456789tfn", number, end)
	f("{", object, text|objectEnd)
	f("[", array, value|arrayEnd)
	f(",", comma, value)
	f(":", colon, value)
	f(`"`, text, end|colon)
	f("}", objectEnd, end)
	f("]", arrayEnd, end)
	f(string(openedObject), 0, text|objectEnd)
	f(string(openedArray), 0, value|arrayEnd)
	return t
}()
