package cli

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/stet-oci/stet/pkg/store"
)

// replayed is how much of the beginning of standard input is kept, so that it
// can be read again. Stores read a little to see whether a blob is small, and
// an upload that is refused seldom got further.
const replayed = 4 << 20

// replay reads something that cannot be read twice, and keeps its beginning.
type replay struct {
	in io.Reader

	mu   sync.Mutex
	kept []byte
	lost bool // something was read that is not kept
	turn int  // who reads; others have been replaced
}

// open gives a reader from the first byte on, in place of an earlier one. It is
// false where the beginning is lost.
func (r *replay) open() (io.ReadCloser, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn++
	return &replayReader{of: r, turn: r.turn}, !r.lost
}

type replayReader struct {
	of   *replay
	turn int
	at   int // in what is kept
}

// Read gives what is kept and then what comes. The lock is held meanwhile: the
// transport may still read a body that was given up.
func (r *replayReader) Read(p []byte) (int, error) {
	s := r.of
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.turn != s.turn {
		return 0, io.ErrClosedPipe
	}
	if r.at < len(s.kept) && !s.lost {
		n := copy(p, s.kept[r.at:])
		r.at += n
		return n, nil
	}
	n, err := s.in.Read(p)
	if s.lost = s.lost || len(s.kept)+n > replayed; s.lost {
		s.kept = nil
	} else {
		s.kept = append(s.kept, p[:n]...)
		r.at += n
	}
	return n, err
}

func (r *replayReader) Close() error { return nil }

// openOnce opens what can be read once. It may be asked for again where a
// transfer begins anew, or where a registry wants to know the digest first.
func (s *blobSource) openOnce(_ context.Context, offset int64) (io.ReadCloser, error) {
	if rc, ok := s.begin.open(); ok && offset == 0 {
		return rc, nil
	}
	s.again.Store(true)
	name := "standard input"
	if s.name != "-" {
		name = s.name + ", which is no regular file,"
	}
	if s.cut.Load() {
		return nil, fmt.Errorf("%w: the transfer was cut, and %s cannot be read again", store.ErrUnavailable, name)
	}
	return nil, fmt.Errorf("%w: the content would have to be read twice, and %s cannot be read again", store.ErrUnsupported, name)
}
