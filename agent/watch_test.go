package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestWatchDirSeesAnAnswer(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	for range watchDir(ctx, dir) {
		switch data, err := readAnswer(dir); {
		case err != nil:
			t.Fatal(err)
		case data != nil:
			cancel()
		case seen == 0:
			if err := os.WriteFile(filepath.Join(dir, answerFile), []byte(`{"done":true}`), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		seen++
	}
	if seen < 2 {
		t.Errorf("the directory was looked at %d times", seen)
	}
}
