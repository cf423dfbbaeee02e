package role

import "strconv"

// JoinKey returns the path of the value under a key of the object at path, as problems and changes write it:
// roles["corp/search"].guarantee.cpu. Keys that are plain words follow a dot, others stand in brackets.
func JoinKey(path, key string) string {
	if !plainWord(key) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// JoinIndex returns the path of element i of the list at path: windows[2].
func JoinIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func plainWord(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-') {
			return false
		}
	}
	return s != ""
}
