package cli

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestReplay: what was read of the beginning can be read again; a reader that
// was replaced reads nothing more.
func TestReplay(t *testing.T) {
	text := strings.Repeat("0123456789", replayed/10+100)
	r := &replay{in: strings.NewReader(text)}
	first, ok := r.open()
	if !ok {
		t.Fatal("nothing was read yet")
	}
	if _, err := io.CopyN(io.Discard, first, replayed); err != nil {
		t.Fatal(err)
	}
	second, ok := r.open()
	if !ok {
		t.Fatal("all that was read is kept")
	}
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the first reader: %v, want ErrClosedPipe", err)
	}
	if got, err := io.ReadAll(second); err != nil || string(got) != text {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(text))
	}
	if _, ok := r.open(); ok {
		t.Error("the beginning is lost, and was given out")
	}
}
