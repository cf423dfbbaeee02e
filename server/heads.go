package server

import (
	"encoding/json"
	"strconv"
	"time"
)

// The heads of the records that are written for each task that starts are written here by hand, as [json.Marshal] writes them: it would look
// at each field anew every time. A test compares.

// About how many bytes the head of a record has, with the lengths of the parts.
const (
	askHeadSize  = 320
	taskHeadSize = 96
)

// appendTaskHead appends a taskRecord that names its node.
func appendTaskHead(b []byte, node string) []byte {
	return append(appendJSONText(append(b, `{"node":`...), node), '}')
}

// appendHead appends the record without its spec. One with instances that wait again is rare.
func (r *askRecord) appendHead(b []byte) ([]byte, error) {
	if len(r.State.Returned) > 0 || r.Spec != nil || r.Submitted.Year() < 0 || r.Submitted.Year() > 9999 {
		data, err := json.Marshal(r)
		return append(b, data...), err
	}
	b = appendJSONText(append(b, `{"id":`...), r.ID)
	b = appendJSONText(append(b, `,"role":`...), r.Role)
	b = strconv.AppendInt(append(b, `,"count":`...), int64(r.Count), 10)
	b = appendJSONFlag(b, `,"gang":true`, r.Gang)
	b = appendJSONFlag(b, `,"earmark":true`, r.Earmark)
	b = r.Submitted.AppendFormat(append(b, `,"submitted":"`...), time.RFC3339Nano)
	b = strconv.AppendInt(append(b, `","state":{"Next":`...), int64(r.State.Next), 10)
	b = strconv.AppendInt(append(b, `,"Returned":null,"Succeeded":`...), int64(r.State.Succeeded), 10)
	b = strconv.AppendInt(append(b, `,"Failed":`...), int64(r.State.Failed), 10)
	b = strconv.AppendInt(append(b, `,"Killed":`...), int64(r.State.Killed), 10)
	b = strconv.AppendBool(append(b, `,"Cancelled":`...), r.State.Cancelled)
	b = strconv.AppendInt(append(b, `,"Restarts":`...), int64(r.State.Restarts), 10)
	b = append(b, '}')
	if r.Name != "" {
		b = appendJSONText(append(b, `,"name":`...), r.Name)
	}
	if r.By != "" {
		b = appendJSONText(append(b, `,"by":`...), r.By)
	}
	return append(b, '}'), nil
}

func appendJSONFlag(b []byte, field string, set bool) []byte {
	if !set {
		return b
	}
	return append(b, field...)
}

// appendJSONText appends a text in JSON.
func appendJSONText(b []byte, text string) []byte {
	if !plain(text) {
		quoted, _ := json.Marshal(text) // text always has a form in JSON
		return append(b, quoted...)
	}
	return append(append(append(b, '"'), text...), '"')
}

// plain reports whether a text is its own form in JSON, between quotes.
func plain(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
