package remote

import (
	"crypto/sha256"
	"net/url"
	"os"
	"testing"
)

// However large the content is, there are a few dozen marks, and what has to be
// read again from one is a part of what is not there yet.
func TestMarks(t *testing.T) {
	for _, size := range []int64{5 << 20, 100 << 20, 1 << 30, 1 << 40} {
		m, h := newMarks(size), sha256.New()
		for at := int64(0); at <= size; at = m.next() {
			m.note(at, h)
			if n := len(m.all); n > 50 {
				t.Fatalf("%d marks at %d of %d", n, at, size)
			}
			before := int64(0)
			for _, k := range append(m.all, mark{At: at}) {
				if gap := k.At - before; gap > max(2*m.every, (at-before)/markSpread) {
					t.Fatalf("at %d of %d there is no mark between %d and %d", at, size, before, k.At)
				}
				before = k.At
			}
		}
		if n := m.last().At; n < size-m.every {
			t.Errorf("the last mark of %d is at %d", size, n)
		}
	}
}

// To write the journal waits for a disk that may be busy: however large the
// content is, it is done a few times only, and never so seldom that much is read again.
func TestJournalIsWrittenSeldom(t *testing.T) {
	const size = 1 << 30
	e := openNoted(t.TempDir(), "key")
	e.at(&url.URL{Path: "/upload"})
	m, h := newMarks(size), sha256.New()
	var last os.FileInfo
	writes, at := 0, int64(0)
	for n := int64(0); n <= size; n += markDistance {
		if !m.note(n, h) {
			continue
		}
		e.keep(size, m)
		now, err := os.Stat(e.path)
		if err != nil {
			t.Fatal(err)
		}
		if last == nil || !os.SameFile(last, now) || !last.ModTime().Equal(now.ModTime()) {
			writes++
			at = n
		}
		last = now
		if left := size - n; n-at > max(left/20, markDistance) {
			t.Errorf("%d bytes of the %d before the %d that are left would be read again", n-at, n, left)
		}
	}
	if writes > 150 {
		t.Errorf("written %d times", writes)
	}
}
