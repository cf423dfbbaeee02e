package docker

import (
	"errors"
	"net/http"
	"testing"
)

// TestBecause: a container that gets no lease says why it cannot be elsewhere, and other errors stay what they are.
func TestBecause(t *testing.T) {
	var p pins
	full, other := fail(http.StatusConflict, "n1 is full"), errors.New("gone")
	if err := p.because(full); err != error(full) {
		t.Errorf("without a reason: %v", err)
	}
	p.at([]string{"n1"}, "network net is there")
	p.at([]string{"n1"}, "network net is there")
	p.at([]string{"n1"}, "volume data is there")
	if err := p.because(full); err.Error() != "n1 is full; it can be nowhere else, because network net is there, and volume data is there" || statusIn(err) != http.StatusConflict {
		t.Errorf("it says %v", err)
	}
	if p.because(nil) != nil || p.because(other) != other {
		t.Error("other outcomes are changed")
	}
}
