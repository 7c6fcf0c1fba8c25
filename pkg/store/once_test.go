package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"
)

func TestReadOnce(t *testing.T) {
	small := bytes.Repeat([]byte("0123456789"), 100_000)
	open := ReadOnce(iotest.HalfReader(bytes.NewReader(small)))
	for _, offset := range []int64{0, 5, 0, int64(len(small)), 999_999} { // as often as one likes, in any order
		rc, err := open(t.Context(), offset)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if err != nil || !bytes.Equal(got, small[offset:]) {
			t.Errorf("from %d: %d bytes, %v", offset, len(got), err)
		}
	}
	for _, offset := range []int64{-1, int64(len(small)) + 1} {
		if _, err := open(t.Context(), offset); !errors.Is(err, ErrRange) {
			t.Errorf("from %d: %v, want ErrRange", offset, err)
		}
	}
}

// Content that is not kept can be read to its end, and looked at before.
func TestReadOnceLarge(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 3*onceKept/16)
	open := ReadOnce(bytes.NewReader(large))
	first, err := open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, first, onceKept/2); err != nil {
		t.Fatal(err)
	}
	second, err := open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(second)
	if err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n, err := first.Read(make([]byte, 1)); n > 0 || !errors.Is(err, ErrOnce) {
		t.Errorf("a reader that was overtaken: %d, %v, want ErrOnce", n, err)
	}
	if _, err := open(t.Context(), 0); !errors.Is(err, ErrOnce) {
		t.Errorf("opened again: %v, want ErrOnce", err)
	}
}

// A reader that waits for ever ends with its context, and what then comes is
// for the next one. An error of the source is told each time.
func TestReadOnceWaits(t *testing.T) {
	pr, pw := io.Pipe()
	open := ReadOnce(pr)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	rc, err := open(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rc.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want DeadlineExceeded", err)
	}
	broken := errors.New("broken")
	go func() {
		_, _ = pw.Write([]byte("late"))
		pw.CloseWithError(broken)
	}()
	for range 2 {
		rc, err = open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if string(got) != "late" || !errors.Is(err, broken) {
			t.Errorf("%q, %v", got, err)
		}
	}
}
