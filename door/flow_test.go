package door

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// TestFlow: what is written in any pieces is read in any pieces, in order and to the end, which comes after it.
func TestFlow(t *testing.T) {
	errEnd := errors.New("cut off")
	rapid.Check(t, func(t *rapid.T) {
		f, want := newFlow(), []byte{}
		pieces := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 5, 1000, flowSize - 1, flowSize, flowSize + 1, 3 * flowSize}), 0, 8).Draw(t, "pieces")
		end := rapid.SampledFrom([]error{nil, errEnd}).Draw(t, "end")
		for i, n := range pieces {
			want = append(want, bytes.Repeat([]byte{byte(i)}, n)...)
		}
		go func() {
			for i, n := range pieces {
				if m, err := f.Write(bytes.Repeat([]byte{byte(i)}, n)); m != n || err != nil {
					panic(err)
				}
			}
			f.end(end)
			f.end(io.ErrUnexpectedEOF) // the first end counts
		}()
		var got []byte
		buf := make([]byte, rapid.SampledFrom([]int{1000, flowSize, 100_000}).Draw(t, "reads"))
		for {
			n, err := f.Read(buf)
			if got = append(got, buf[:n]...); err != nil {
				if end == nil && err != io.EOF || end != nil && err != end {
					t.Fatalf("it ends with %v, want %v", err, end)
				}
				break
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came, not the %d that were written", len(got), len(want))
		}
	})
}

// TestFlowIsBounded: who writes much waits until it is read, or until the reader is gone, or the time is up.
func TestFlowIsBounded(t *testing.T) {
	for name, free := range map[string]struct {
		how  func(*flow)
		want error
	}{
		"read": {func(f *flow) { _, _ = f.Read(make([]byte, 1)) }, nil},
		"left": {func(f *flow) { f.Close() }, io.ErrClosedPipe},
		"cut":  {func(f *flow) { f.end(errBroken) }, errBroken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, wrote := newFlow(), make(chan error, 1)
				go func() {
					_, err := f.Write(make([]byte, flowSize+1))
					wrote <- err
				}()
				synctest.Wait()
				if len(wrote) > 0 || len(f.held) != flowSize {
					t.Fatalf("%d bytes are held, and the writer goes on", len(f.held))
				}
				free.how(f)
				if err := <-wrote; err != free.want {
					t.Errorf("the writer is told %v, want %v", err, free.want)
				}
			})
		})
	}
}

var errBroken = errors.New("broken")
