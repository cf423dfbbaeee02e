package wire

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"
)

// Media is a way to write messages.
type Media string

// The two ways Mesos' APIs know. Mesos compares content types byte by byte; parameters and capitals are fine here.
const (
	JSON     Media = "application/json"
	Protobuf Media = "application/x-protobuf"
)

// Kinds of errors of headers, each with the status Mesos answers.
var (
	ErrNoMedia       = errors.New("Expecting 'Content-Type' to be present")                                                //nolint:staticcheck // Mesos' words
	ErrOtherMedia    = errors.New("Expecting 'Content-Type' of application/json or application/x-protobuf")                //nolint:staticcheck // Mesos' words
	ErrNotAcceptable = errors.New("Expecting 'Accept' to allow application/json or application/x-protobuf or its streams") //nolint:staticcheck // Mesos' words
)

// RequestMedia is how the body of a request is written.
func RequestMedia(h http.Header) (Media, error) {
	text := h.Get("Content-Type")
	if text == "" {
		return "", ErrNoMedia
	}
	name, _, err := mime.ParseMediaType(text)
	if m := Media(name); err == nil && (m == JSON || m == Protobuf) {
		return m, nil
	}
	return "", fmt.Errorf("%w, not %.80q", ErrOtherMedia, text)
}

// AnswerMedia is how an answer is to be written: as JSON if that is acceptable, or nothing is said.
func AnswerMedia(h http.Header) (Media, error) {
	accept := h.Values("Accept")
	if len(accept) == 0 {
		return JSON, nil
	}
	found := map[string]bool{}
	for item := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, err := mime.ParseMediaType(item)
		if err == nil && params["q"] != "0" {
			found[name] = true
		}
	}
	switch {
	case found["*/*"] || found["application/*"] || found[string(JSON)]:
		return JSON, nil
	case found[string(Protobuf)]:
		return Protobuf, nil
	}
	return "", fmt.Errorf("%w, not %.80q", ErrNotAcceptable, accept)
}

// recordIO is the media type of streams between tools and agents; what the records are is said in headers of their own. Streams of events
// go without it.
const recordIO = "application/recordio"

// RequestStream is how the records of a request's body are written; ok is false when it is no stream of records.
func RequestStream(h http.Header) (m Media, ok bool, err error) {
	if name, _, err := mime.ParseMediaType(h.Get("Content-Type")); err != nil || name != recordIO {
		return "", false, nil
	}
	m, err = RequestMedia(http.Header{"Content-Type": h.Values("Message-Content-Type")})
	if err != nil {
		err = fmt.Errorf("in 'Message-Content-Type': %w", err)
	}
	return m, true, err
}

// AnswerStream is how the records of an answer are to be written, by which headers that are then part of it.
func AnswerStream(h http.Header) (Media, http.Header, error) {
	accepts := len(h.Values("Accept")) == 0
	for item := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		name, _, err := mime.ParseMediaType(item)
		accepts = accepts || err == nil && (name == recordIO || name == "*/*" || name == "application/*")
	}
	if !accepts {
		return "", nil, fmt.Errorf("%w: the answer is a stream of 'application/recordio'", ErrNotAcceptable)
	}
	m, err := AnswerMedia(http.Header{"Accept": h.Values("Message-Accept")})
	return m, http.Header{"Content-Type": {recordIO}, "Message-Content-Type": {string(m)}}, err
}

// Append appends a message.
func (m Media) Append(dst []byte, msg proto.Message) ([]byte, error) {
	if m == JSON {
		return AppendJSON(dst, msg), nil
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, msg)
}

// Unmarshal reads a message; a missing required field is an error.
func (m Media) Unmarshal(data []byte, msg proto.Message) error {
	if m == JSON {
		return UnmarshalJSON(data, msg)
	}
	return proto.Unmarshal(data, msg)
}
