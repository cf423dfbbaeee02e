package server

import (
	"crypto/rand"
	"regexp"
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

var askName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// newAskID makes an id that no ask ever had: the name its submitter chose and 40 random bits.
func newAskID(name string) string {
	if name == "" {
		name = "ask"
	}
	return name + "-" + randomName(8)
}
