package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	runtime "polder.dev/polder/agent/runtime/docker"
)

// Lists of thousands of containers are cut into their parts and put together again, not decoded: most of what an engine says about a
// container is passed on as it came.

var errCut = errors.New("it is not the JSON of a list")

// blank is what may stand between the parts of JSON.
const blank = " \t\r\n"

// eachElement gives every element of a JSON array to each.
func eachElement(b []byte, each func(raw []byte) error) error {
	return eachPart(b, '[', ']', func(rest []byte) (after []byte, err error) {
		raw, after, err := cut(rest)
		if err != nil {
			return nil, err
		}
		return after, each(raw)
	})
}

// eachMember gives every member of a JSON object to each; the name is without its quotes, as it was written.
func eachMember(b []byte, each func(name, raw []byte) error) error {
	return eachPart(b, '{', '}', func(rest []byte) (after []byte, err error) {
		name, rest, err := cut(rest)
		if err != nil || name[0] != '"' {
			return nil, errCut
		}
		rest, ok := bytes.CutPrefix(bytes.TrimLeft(rest, blank), []byte{':'})
		if !ok {
			return nil, errCut
		}
		raw, after, err := cut(rest)
		if err != nil {
			return nil, err
		}
		return after, each(name[1:len(name)-1], raw)
	})
}

// eachPart calls next with what follows, for every part between two brackets; null has none.
func eachPart(b []byte, open, closing byte, next func(rest []byte) (after []byte, err error)) error {
	b = bytes.Trim(b, blank)
	if string(b) == "null" {
		return nil
	}
	if len(b) < 2 || b[0] != open || b[len(b)-1] != closing {
		return errCut
	}
	b = b[1 : len(b)-1]
	if len(bytes.TrimLeft(b, blank)) == 0 {
		return nil
	}
	for {
		after, err := next(b)
		if err != nil {
			return err
		}
		if after = bytes.TrimLeft(after, blank); len(after) == 0 {
			return nil
		}
		if after[0] != ',' {
			return errCut
		}
		b = after[1:]
	}
}

// cut takes the first value off the front.
func cut(b []byte) (raw, rest []byte, err error) {
	b = bytes.TrimLeft(b, blank)
	n := 0
	switch {
	case len(b) == 0:
		return nil, nil, errCut
	case b[0] == '"':
		n = textEnd(b)
	case b[0] == '{' || b[0] == '[':
		n = nestedEnd(b)
	default:
		if n = bytes.IndexAny(b, ",:]}\""+blank); n < 0 {
			n = len(b)
		}
		if !json.Valid(b[:n]) {
			return nil, nil, errCut
		}
	}
	if n <= 0 {
		return nil, nil, errCut
	}
	return b[:n], b[n:], nil
}

// textEnd is where a text ends that b begins with, zero when it does not.
func textEnd(b []byte) int {
	for i := 1; ; {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			return 0
		}
		i += j + 1
		slashes := 0
		for k := i - 2; k > 0 && b[k] == '\\'; k-- {
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
	}
}

// nestedEnd is where an object or array ends that b begins with, zero when it does not.
func nestedEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			n := textEnd(b[i:])
			if n == 0 {
				return 0
			}
			i += n - 1
		}
	}
	return 0
}

// unquoted is a text; what is none is empty.
func unquoted(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // it stays empty
	return s
}

// member is a part of an object, as it came; the name is without its quotes.
type member struct{ name, raw []byte }

// listed is a container of the list.
type listed struct {
	summary
	at     place
	status string
	rest   []member    // what is passed on as it came
	labels []member    // those of its users
	said   [][2]string // labels that the pool adds
}

// listedIn reads of an element of an engine's list what the door reads and changes.
func listedIn(raw []byte, engine string) (l listed, err error) {
	l.Labels = make(map[string]string, 3)
	l.rest = make([]member, 0, 16)
	err = eachMember(raw, func(name, raw []byte) (err error) {
		switch string(name) {
		case "Id":
			l.ID = unquoted(raw)
		case "Names":
			err = eachElement(raw, func(raw []byte) error { l.Names = append(l.Names, unquoted(raw)); return nil })
		case "Labels":
			err = eachMember(raw, l.label)
		case "Status":
			l.status = unquoted(raw)
		case "Mounts":
			raw, err = l.sandboxless(raw)
			l.rest = append(l.rest, member{name, raw})
		default:
			l.number(string(name), raw)
			l.rest = append(l.rest, member{name, raw})
		}
		return err
	})
	l.at = l.place(engine)
	return l, err
}

// number reads what is passed on all the same.
func (l *listed) number(name string, raw []byte) {
	switch name {
	case "State":
		l.State = unquoted(raw)
	case "Created":
		l.Created, _ = strconv.ParseInt(string(raw), 10, 64) // an engine writes whole seconds
	case "SizeRw":
		l.SizeRw, _ = strconv.ParseInt(string(raw), 10, 64) // and bytes
	}
}

// label reads a label.
func (l *listed) label(name, raw []byte) error {
	switch n := string(name); n {
	case runtime.LabelContainer, runtime.LabelRole, runtime.LabelAgent:
		l.Labels[n] = unquoted(raw)
	}
	if !slices.ContainsFunc(hidden, func(h string) bool { return h == string(name) }) {
		l.labels = append(l.labels, member{name, raw})
	}
	return nil
}

// sandboxless leaves out the mount that the agent adds, and notes that it is there.
func (l *listed) sandboxless(raw []byte) ([]byte, error) {
	if !bytes.Contains(raw, []byte(runtime.SandboxPath)) {
		return raw, nil
	}
	out := []byte{'['}
	err := eachElement(raw, func(raw []byte) error {
		var m mounted
		err := eachMember(raw, func(name, raw []byte) error {
			switch string(name) {
			case "Destination":
				m.Destination = unquoted(raw)
			case "Type":
				m.Type = unquoted(raw)
			}
			return nil
		})
		if m.Destination == runtime.SandboxPath {
			l.Mounts = append(l.Mounts, m)
		} else {
			out = append(separated(out), raw...)
		}
		return err
	})
	return append(out, ']'), err
}

// inJSON is a list as the door's clients get it.
func inJSON(list []listed) []byte {
	size := 2
	for _, l := range list {
		size += 512
		for _, m := range l.rest {
			size += len(m.name) + len(m.raw) + 4
		}
	}
	out := append(make([]byte, 0, size), '[')
	for _, l := range list {
		out = l.append(separated(out))
	}
	return append(out, ']', '\n')
}

func (l *listed) append(b []byte) []byte {
	b = appendText(append(b, `{"Id":`...), l.at.id)
	b = appendText(append(b, `,"Names":[`...), "/"+l.at.name)
	b = appendText(append(b, ','), "/"+l.at.node+"/"+l.at.name)
	b = appendText(append(b, `],"Status":`...), l.status)
	b = append(b, `,"Labels":{`...)
	for _, m := range l.labels {
		if !slices.ContainsFunc(l.said, func(w [2]string) bool { return w[0] == string(m.name) }) {
			b = m.append(separated(b))
		}
	}
	for _, w := range l.said {
		b = appendText(append(appendText(separated(b), w[0]), ':'), w[1])
	}
	b = append(b, '}')
	for _, m := range l.rest {
		b = m.append(separated(b))
	}
	return append(b, '}')
}

func (m member) append(b []byte) []byte {
	b = append(append(append(b, '"'), m.name...), `":`...)
	return append(b, m.raw...)
}

// separated is what was written so far, ready for the next part.
func separated(b []byte) []byte {
	if last := b[len(b)-1]; last == '[' || last == '{' {
		return b
	}
	return append(b, ',')
}

// appendText appends a text as JSON.
func appendText(b []byte, s string) []byte {
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return append(b, encode(s)...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
