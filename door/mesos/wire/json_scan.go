package wire

import (
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep values may be nested; no message of Mesos needs a quarter of it.
const maxDepth = 64

// scanner reads JSON values one after the other.
type scanner struct {
	data []byte
	at   int
}

var errEnd = errors.New("it ends in the middle")

func (s *scanner) fail(format string, args ...any) error {
	return fmt.Errorf("at byte %d: %s", s.at, fmt.Sprintf(format, args...))
}

// peek skips white space and returns the next byte, zero at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take reads one byte that must come next.
func (s *scanner) take(c byte) error {
	switch got := s.peek(); got {
	case c:
		s.at++
		return nil
	case 0:
		return s.fail("%v", errEnd)
	default:
		return s.fail("%q where %q belongs", got, c)
	}
}

// word reads true, false or null.
func (s *scanner) word(w string) error {
	if len(s.data)-s.at < len(w) || string(s.data[s.at:s.at+len(w)]) != w {
		return s.fail("neither a value nor %s", w)
	}
	s.at += len(w)
	return nil
}

// each reads an object or a list and calls f before each value; key is empty in a list. f must read the value.
func (s *scanner) each(open byte, f func(key string) error) error {
	end := byte('}')
	if open == '[' {
		end = ']'
	}
	if err := s.take(open); err != nil {
		return err
	}
	if s.peek() == end {
		s.at++
		return nil
	}
	for {
		key := ""
		if open == '{' {
			var err error
			if key, err = s.text(); err != nil {
				return err
			}
			if err := s.take(':'); err != nil {
				return err
			}
		}
		if err := f(key); err != nil {
			return err
		}
		switch c := s.peek(); c {
		case ',':
			s.at++
		case end:
			s.at++
			return nil
		case 0:
			return s.fail("%v", errEnd)
		default:
			return s.fail("%q where ',' or %q belongs", c, end)
		}
	}
}

// skip reads a value and forgets it.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return s.fail("nested more than %d deep", maxDepth)
	}
	switch c := s.peek(); c {
	case '{', '[':
		return s.each(c, func(string) error { return s.skip(depth + 1) })
	case '"':
		_, err := s.text()
		return err
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	_, err := s.number()
	return err
}

// number reads the text of a number.
func (s *scanner) number() (string, error) {
	s.peek()
	start := s.at
	for ; s.at < len(s.data); s.at++ {
		c := s.data[s.at]
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			break
		}
	}
	if s.at == start {
		if s.at == len(s.data) {
			return "", s.fail("%v", errEnd)
		}
		return "", s.fail("%q starts no value", s.data[s.at])
	}
	return string(s.data[start:s.at]), nil
}

// text reads a string.
func (s *scanner) text() (string, error) {
	if err := s.take('"'); err != nil {
		return "", err
	}
	start := s.at
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; {
		case c == '"':
			out := string(s.data[start:s.at])
			s.at++
			return valid(out), nil
		case c == '\\':
			return s.escaped(append([]byte(nil), s.data[start:s.at]...))
		case c < ' ':
			return "", s.fail("a control character in a string")
		}
	}
	return "", s.fail("%v", errEnd)
}

// escaped goes on reading a string at its first backslash.
func (s *scanner) escaped(out []byte) (string, error) {
	for s.at < len(s.data) {
		c := s.data[s.at]
		s.at++
		switch {
		case c == '"':
			return valid(string(out)), nil
		case c < ' ':
			return "", s.fail("a control character in a string")
		case c != '\\':
			out = append(out, c)
		default:
			var err error
			if out, err = s.escape(out); err != nil {
				return "", err
			}
		}
	}
	return "", s.fail("%v", errEnd)
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads what follows a backslash.
func (s *scanner) escape(out []byte) ([]byte, error) {
	if s.at == len(s.data) {
		return nil, s.fail("%v", errEnd)
	}
	c := s.data[s.at]
	s.at++
	if c != 'u' {
		if escapes[c] == 0 {
			return nil, s.fail("\\%c is no escape", c)
		}
		return append(out, escapes[c]), nil
	}
	r, err := s.hex4()
	if err != nil {
		return nil, err
	}
	if utf16.IsSurrogate(r) && s.at+6 <= len(s.data) && s.data[s.at] == '\\' && s.data[s.at+1] == 'u' {
		back := s.at
		s.at += 2
		low, err := s.hex4()
		if err != nil {
			return nil, err
		}
		if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
			return utf8.AppendRune(out, both), nil
		}
		s.at = back
	}
	return utf8.AppendRune(out, r), nil
}

func (s *scanner) hex4() (rune, error) {
	if s.at+4 > len(s.data) {
		return 0, s.fail("%v", errEnd)
	}
	var r rune
	for _, c := range s.data[s.at : s.at+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, s.fail("%q is no hexadecimal digit", c)
		}
		r = r<<4 | rune(c)
	}
	s.at += 4
	return r, nil
}

// valid replaces what is not UTF-8: protobuf's strings cannot carry it.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}
