package proxy

import (
	"bytes"
)

// What a request is hashed by, as configured.
const (
	byClient = "client"
	byHeader = "header"
	byQuery  = "query"
	byPath   = "path"
)

var question = []byte("?")

// parameter is the value of a query's parameter as it stands there, nil if there is none.
func parameter(target []byte, name string) []byte {
	_, query, _ := bytes.Cut(target, question)
	for len(query) > 0 {
		var one []byte
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			one, query = query[:i], query[i+1:]
		} else {
			one, query = query, nil
		}
		if len(one) > len(name) && string(one[:len(name)]) == name && one[len(name)] == '=' {
			return one[len(name)+1:]
		}
	}
	return nil
}

// hashOf is FNV-1a, mixed. It has no seed: all replicas of a gateway send a key to the same upstream. Who
// makes keys collide gets a hot key, which spills over.
func hashOf[T string | []byte](b T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * 1099511628211
	}
	return max(1, mix(h))
}

// mix is the finalizer of SplitMix64: every bit of x changes half of the result's.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
