package server

import (
	"crypto/rand"
	"strings"
)

// alphabet of ids that people read to each other: no two characters look alike.
const alphabet = "abcdefghijkmnpqrstuvwxyz23456789"

// randomName returns n random characters, five bits each.
func randomName(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: the runtime aborts when there is no entropy
	for i := range b {
		b[i] = alphabet[b[i]%32]
	}
	return string(b)
}

// Kinds of characters in names.
const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// word reports whether s has 1 to most characters, the first of first and the others of rest. Names are checked for each task that comes in.
func word(s string, most int, first, rest *charset) bool {
	if len(s) == 0 || len(s) > most || !first[s[0]] {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !rest[s[i]] {
			return false
		}
	}
	return true
}

// charset is a set of bytes.
type charset [256]bool

func chars(list string) *charset {
	out := &charset{}
	for i := range len(list) {
		out[list[i]] = true
	}
	return out
}

var (
	lowerChars    = chars(lower)
	askChars      = chars(lower + digits)
	askRest       = chars(lower + digits + "-")
	portRest      = chars(lower + digits + "_-")
	variableFirst = chars(letters + "_")
	variableRest  = chars(letters + digits + "_.-")
	volumeRest    = chars(letters + digits + "_.-")
	labelFirst    = chars(letters + digits)
	labelRest     = chars(letters + digits + "_./-")
)

// validVolumeName: the names that Docker gives volumes.
func validVolumeName(s string) bool { return word(s, 120, labelFirst, volumeRest) }

func validAskName(s string) bool {
	return word(s, 40, askChars, askRest) && askChars[s[len(s)-1]]
}

func validPortName(s string) bool { return word(s, 32, lowerChars, portRest) }

// validVariable reports whether an environment may hold it.
func validVariable(name, value string) bool {
	return word(name, maxSpecBytes, variableFirst, variableRest) && strings.IndexByte(value, 0) < 0
}

func validLabel(name, value string) bool {
	return word(name, 127, labelFirst, labelRest) && len(value) <= 1024
}

// firstBad is the first name, in order, of an entry that is not valid.
func firstBad(m map[string]string, valid func(name, value string) bool) (first string, found bool) {
	for name, value := range m {
		if !valid(name, value) && (!found || name < first) {
			first, found = name, true
		}
	}
	return first, found
}

// newAskID makes an id that no ask ever had: the name its submitter chose and 40 random bits.
func newAskID(name string) string {
	if name == "" {
		name = "ask"
	}
	return name + "-" + randomName(8)
}
