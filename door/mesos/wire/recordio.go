package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxDigits is the longest length line: enough for any record that fits, and a liar's line is not read for ever.
const maxDigits = 10

// ErrRecord is the kind of everything that is wrong with a stream of records.
var ErrRecord = errors.New("not a stream of records")

// AppendRecord appends a record: its length in bytes, a line feed, and its bytes.
func AppendRecord(dst, record []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(record)), 10)
	return append(append(dst, '\n'), record...)
}

// recordRoom is how many bytes a record's length takes with its line feed, at most.
const recordRoom = 20

// BeginRecord is room for a record of about so many bytes, to which its bytes are appended.
func BeginRecord(size int) []byte { return make([]byte, recordRoom, recordRoom+size) }

// EndRecord is the record that [BeginRecord] began, with its length before it: nothing was copied.
func EndRecord(b []byte) []byte {
	var line [recordRoom]byte
	head := append(strconv.AppendInt(line[:0], int64(len(b)-recordRoom), 10), '\n')
	from := recordRoom - len(head)
	copy(b[from:], head)
	return b[from:]
}

// RecordReader reads records of a bounded length.
type RecordReader struct {
	r    *bufio.Reader
	most int
}

// NewRecordReader reads records of at most so many bytes.
func NewRecordReader(r io.Reader, most int) *RecordReader {
	return &RecordReader{bufio.NewReader(r), most}
}

// Next returns the next record; it is the caller's. At the end of the stream, between two records, it returns [io.EOF].
func (r *RecordReader) Next() ([]byte, error) {
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	// A lying length costs no more memory than what comes.
	var out []byte
	for len(out) < n {
		part := min(n-len(out), 64<<10)
		at := len(out)
		out = append(out, make([]byte, part)...)
		if _, err := io.ReadFull(r.r, out[at:]); err != nil {
			return nil, fmt.Errorf("%w: a record of %d bytes ends early: %w", ErrRecord, n, io.ErrUnexpectedEOF)
		}
	}
	return out, nil
}

// length reads the line before a record.
func (r *RecordReader) length() (int, error) {
	n := 0
	for digits := 0; ; digits++ {
		c, err := r.r.ReadByte()
		switch {
		case err == io.EOF && digits == 0:
			return 0, io.EOF
		case err == io.EOF:
			return 0, fmt.Errorf("%w: it ends in a length: %w", ErrRecord, io.ErrUnexpectedEOF)
		case err != nil:
			return 0, err
		case c == '\n' && digits > 0:
			if n == 0 {
				return 0, fmt.Errorf("%w: a record of no bytes", ErrRecord)
			}
			return n, nil
		case c < '0' || c > '9':
			return 0, fmt.Errorf("%w: %q in a length", ErrRecord, c)
		case digits == maxDigits:
			return 0, fmt.Errorf("%w: a length of more than %d digits", ErrRecord, maxDigits)
		}
		if n = n*10 + int(c-'0'); n > r.most {
			return 0, fmt.Errorf("%w: a record of more than %d bytes", ErrRecord, r.most)
		}
	}
}
