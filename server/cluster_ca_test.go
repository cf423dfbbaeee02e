package server

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/auth"
)

// TestAnotherCA: a server whose authority is not the cluster's says so at its start, not when it is to take over.
func TestAnotherCA(t *testing.T) {
	w := newWorld(t, nil)
	other, err := auth.OpenCA(filepath.Join(w.dir, "other"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Store: w.store, CA: other, Audit: w.audit, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Run(ctx, newPipes()); err == nil || !strings.Contains(err.Error(), "copy the directory ca of another server") {
		t.Errorf("the second server ended with %v", err)
	}
}
