package controlplane

import (
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
)

// TestCancelEndsTheWriter: a watch whose request is cancelled ends, also where nobody reads or closes what it has written.
func TestCancelEndsTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		client := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			defer func() { ended = true }()
			w.(http.Flusher).Flush()
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, mostUnread+1)); err != nil {
					return
				}
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:1/api/v1/pods?watch=true", nil)
		r, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !ended {
			t.Error("its writer still waits for a reader")
		}
		if _, err := io.ReadAll(r.Body); err == nil {
			t.Error("the answer looks whole")
		}
		r.Body.Close()
		synctest.Wait()
	})
}
