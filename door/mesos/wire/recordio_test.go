package wire

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// TestRecords: what is written is read, however it is cut.
func TestRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 1, 300)).Draw(t, "records")
		var stream []byte
		for _, r := range records {
			record := EndRecord(append(BeginRecord(rapid.IntRange(0, 300).Draw(t, "size")), r...))
			if !bytes.Equal(record, AppendRecord(nil, r)) {
				t.Fatalf("in its room %q is %q", r, record)
			}
			stream = append(stream, record...)
		}
		in := NewRecordReader(iotest.OneByteReader(bytes.NewReader(stream)), 300)
		for _, want := range records {
			if got, err := in.Next(); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
		}
		if _, err := in.Next(); err != io.EOF {
			t.Fatalf("at the end: %v", err)
		}
		if cut := rapid.IntRange(0, len(stream)).Draw(t, "cut"); cut > 0 {
			torn := NewRecordReader(bytes.NewReader(stream[:cut]), 300)
			for i := 0; ; i++ {
				got, err := torn.Next()
				if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
					break
				}
				if err != nil || !bytes.Equal(got, records[i]) {
					t.Fatalf("torn at %d: record %d is %q, %v", cut, i, got, err)
				}
			}
		}
	})
}

// TestLyingLengths: lengths that are none, too long, or not true.
func TestLyingLengths(t *testing.T) {
	for _, in := range []string{"x\n", "\n", "-1\na", "0\n", "1", "99999999999999999999\n", "101\n", "5\nabc", " 1\na", "1 \na", strings.Repeat("0", 40) + "1\na"} {
		if r, err := NewRecordReader(strings.NewReader(in), 100).Next(); !errors.Is(err, ErrRecord) {
			t.Errorf("%q is %q, %v", in, r, err)
		}
	}
}

// FuzzRecords: no stream makes the reader panic, wait, or hold more than it may.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("3\nabc1\nx"))
	f.Add([]byte("1000000\nabc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := NewRecordReader(bytes.NewReader(data), 1<<20)
		for {
			r, err := in.Next()
			if err != nil {
				return
			}
			if len(r) == 0 || len(r) > 1<<20 {
				t.Fatalf("a record of %d bytes", len(r))
			}
		}
	})
}

// TestMedia: what is negotiated.
func TestMedia(t *testing.T) {
	for header, want := range map[string]Media{
		"application/json": JSON, "Application/JSON; charset=utf-8": JSON, "application/x-protobuf": Protobuf, "text/plain": "", "application/recordio": "",
	} {
		if got, err := RequestMedia(http.Header{"Content-Type": {header}}); got != want || (err == nil) != (want != "") {
			t.Errorf("a body of %s is %q, %v", header, got, err)
		}
	}
	if _, err := RequestMedia(http.Header{}); !errors.Is(err, ErrNoMedia) {
		t.Errorf("without a type: %v", err)
	}
	for header, want := range map[string]Media{
		"*/*": JSON, "application/x-protobuf": Protobuf, "application/x-protobuf, application/json": JSON, "application/*;q=0.5": JSON,
		"application/json;q=0, application/x-protobuf": Protobuf, "text/html": "",
	} {
		if got, err := AnswerMedia(http.Header{"Accept": {header}}); got != want || (err == nil) != (want != "") {
			t.Errorf("accepting %s is %q, %v", header, got, err)
		}
	}
	if got, err := AnswerMedia(http.Header{}); got != JSON || err != nil {
		t.Errorf("accepting anything is %q, %v", got, err)
	}
}
