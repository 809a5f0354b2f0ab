package simulator

import "unicode"

// tokenBytes bounds a token, give or take one rune, so that text without spaces has tokens too.
const tokenBytes = 16

// tokenize splits text as byte-pair encoders roughly do: each word is a token together with the space before it. The tokens
// joined are the text.
func tokenize(text string) []string {
	var tokens []string
	start, word := 0, false // word: the token has more than space in it
	for i, r := range text {
		space := unicode.IsSpace(r)
		if i > start && (space && word || i-start >= tokenBytes) {
			tokens = append(tokens, text[start:i])
			start, word = i, false
		}
		word = word || !space
	}
	if start < len(text) {
		tokens = append(tokens, text[start:])
	}
	return tokens
}
