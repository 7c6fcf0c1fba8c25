package remote

import (
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sort"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// mark is what a hash knew after so many bytes of some content, so that hashing
// can go on from there.
type mark struct {
	At    int64  `json:"at"`
	State []byte `json:"state,omitempty"` // as its encoding.BinaryMarshaler has it
}

// The marks of one content: first so far apart, then with the doubled distance
// whenever there are so many, so that they take no more room in a large blob.
const (
	markDistance = 1 << 20
	mostMarks    = 128
)

// marks are the marks of one content, in order.
type marks struct {
	every int64
	all   []mark
}

// next is where the next mark belongs.
func (m *marks) next() int64 {
	return m.last().At + max(m.every, markDistance)
}

// note adds the mark at n, and says whether there is one.
func (m *marks) note(n int64, h hash.Hash) bool {
	if n < m.next() {
		return false
	}
	c, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return false
	}
	state, err := c.MarshalBinary()
	if err != nil {
		return false
	}
	m.all = append(m.all, mark{n, state})
	if len(m.all) > mostMarks { // every other one goes, the first and the last stay
		kept := m.all[:0]
		for i, k := range m.all {
			if i%2 == 0 {
				kept = append(kept, k)
			}
		}
		m.all, m.every = kept, 2*max(m.every, markDistance)
	}
	return true
}

// upTo are the marks that are not behind an offset: what comes there is read anew.
func (m *marks) upTo(at int64) *marks {
	if m == nil {
		return &marks{}
	}
	n := sort.Search(len(m.all), func(i int) bool { return m.all[i].At > at })
	return &marks{every: m.every, all: slices.Clone(m.all[:n])}
}

// last is the last mark, the zero mark where there is none.
func (m *marks) last() mark {
	if len(m.all) == 0 {
		return mark{}
	}
	return m.all[len(m.all)-1]
}

// restore is a hash that goes on at a mark.
func (k mark) restore(alg digest.Algorithm) (hash.Hash, error) {
	h := alg.Hash()
	if k.At == 0 {
		return h, nil
	}
	c, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, fmt.Errorf("%w: %s cannot go on from a mark", store.ErrUnsupported, alg)
	}
	return h, c.UnmarshalBinary(k.State)
}

// prefix is the beginning of some content.
type prefix struct {
	size int64
	sum  []byte
}

// hashing hashes what is read through it. It says ErrMismatch where that has not
// the size it should have, and before the last bytes where it has not the digest
// that it should have, if that is known.
type hashing struct {
	io.ReadCloser
	want   store.Descriptor
	before prefix // what an earlier try read; it has to come again
	marks  *marks
	marked func(*marks) // is told of each mark; may be nil

	mu      sync.Mutex
	hash    hash.Hash
	n       int64
	end     bool
	stopped bool
}

// newHashing reads rc, which is the content from the last of the marks on.
func newHashing(rc io.ReadCloser, want store.Descriptor, m *marks) (*hashing, error) {
	from := m.last()
	h, err := from.restore(algorithmOf(want))
	return &hashing{ReadCloser: rc, want: want, marks: m, hash: h, n: from.At}, err
}

// algorithmOf is the algorithm of a digest; what has none gets the usual one.
func algorithmOf(d store.Descriptor) digest.Algorithm {
	if d.Digest == "" {
		return digest.Canonical
	}
	return d.Digest.Algorithm()
}

func (h *hashing) Read(p []byte) (int, error) {
	// One reads at a time, so that n does not change until it is added to.
	for _, stop := range []int64{h.before.size, h.marks.next()} {
		if left := stop - h.n; left > 0 && left < int64(len(p)) {
			p = p[:left]
		}
	}
	n, err := h.ReadCloser.Read(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return 0, io.ErrClosedPipe
	}
	h.hash.Write(p[:n])
	h.n += int64(n)
	h.end = h.end || errors.Is(err, io.EOF)
	if err := h.check(n); err != nil {
		return 0, err
	}
	if h.marks.note(h.n, h.hash) && h.marked != nil {
		h.marked(h.marks)
	}
	return n, err
}

// check holds what was read, at last n bytes, against what it should be.
func (h *hashing) check(n int) error {
	size := h.want.Size
	switch {
	case size >= 0 && (h.n > size || h.end && h.n < size):
		return wrongSize(h.want, h.n)
	case h.end && h.n < h.before.size:
		return errOtherContent
	case h.before.size > 0 && h.n == h.before.size && !slices.Equal(h.hash.Sum(nil), h.before.sum):
		return errOtherContent
	case n == 0 || h.n != size:
		return nil
	}
	if got := digest.NewDigest(algorithmOf(h.want), h.hash); h.want.Digest != "" && got != h.want.Digest {
		return store.Mismatch("expected %s, got %s", h.want.Digest, got)
	}
	if h.end {
		return nil
	}
	return h.ends()
}

// ends looks whether anything follows content that has its size.
func (h *hashing) ends() error {
	var more [1]byte
	for range 100 { // an io.Reader may give 0, nil now and then
		n, err := h.ReadCloser.Read(more[:])
		switch {
		case n > 0:
			return wrongSize(h.want, h.n+1)
		case errors.Is(err, io.EOF):
			h.end = true
			return nil
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// stop ends the reading, which the transport may go on with for a while after
// the request has failed, and gives what was read.
func (h *hashing) stop() prefix {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	return prefix{h.n, h.hash.Sum(nil)}
}

// openAt says whether reading goes on at an offset.
func (h *hashing) openAt(at int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.stopped && h.n == at
}

// wholeAt says that nothing is left to read after at.
func (h *hashing) wholeAt(at int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n == at && (h.end || h.n == h.want.Size)
}

// read is how much was read.
func (h *hashing) read() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// sum is what was read.
func (h *hashing) sum() (digest.Digest, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return digest.NewDigest(algorithmOf(h.want), h.hash), h.n
}
