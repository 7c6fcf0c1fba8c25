package remote

import (
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// An upload is noted a thousand times on its way. What that leaves behind must not
// be so much that a large blob takes more memory than a small one.
func TestNotesLeaveLittleBehind(t *testing.T) {
	const size = 256 << 20
	note := openNoted(filepath.Join(t.TempDir(), uploadsDir), "key")
	note.rec.URL = "http://localhost/v2/app/blobs/uploads/1"
	defer note.end(false)
	in, err := newHashing(io.NopCloser(io.LimitReader(zeros{}, size)), store.Descriptor{Size: size, Digest: digest.FromBytes(nil)}, newMarks(size))
	if err != nil {
		t.Fatal(err)
	}
	times := 0
	in.marked = func(m *marks) {
		times++
		note.keep(size, m)
	}
	var stats runtime.MemStats
	buf, each := make([]byte, 1<<20), []uint64{}
	for range size>>20 - 1 { // the last byte would be refused for the digest
		runtime.ReadMemStats(&stats)
		before := stats.TotalAlloc
		if _, err := io.ReadFull(in, buf); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&stats)
		each = append(each, stats.TotalAlloc-before)
	}
	slices.Sort(each) // the race detector throws some buffers away
	if middle := each[len(each)/2]; times < 200 || middle > 2000 {
		t.Errorf("noted %d times, with %d bytes for half of them", times, middle)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
