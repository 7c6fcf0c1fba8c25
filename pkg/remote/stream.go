package remote

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// putUnnamed uploads a blob whose digest is learnt by reading. What fits into
// memory is hashed there; the rest is hashed while it is sent, so that it is
// read once.
func (r *repository) putUnnamed(ctx context.Context, b store.Blob) (store.Put, error) {
	if b.Size <= smallBlob { // or unknown: a directory may pack into little
		raw, whole, err := readSmall(ctx, b)
		if err != nil {
			return store.Put{}, err
		}
		if whole {
			small := store.NewBlob(b.MediaType, raw)
			b.Digest, b.Size, b.Open = small.Digest, small.Size, small.Open
			return r.PutBlob(ctx, b)
		}
	}
	if r.known.of(store.AbilityChunked) != store.No && r.client.opts.ChunkSize == 0 {
		d, err := r.stream(ctx, b)
		choice, reason := chooseChunked(err)
		if choice != "hash-first" {
			if err != nil {
				return store.Put{}, err
			}
			r.flights.add(d)
			return store.Put{Descriptor: d, How: store.Sent}, nil
		}
		r.known.learn(store.AbilityChunked, store.No, refused(r.request(wire.UploadChunk), statusOf(err)))
		r.fallback(choice, reason)
	}
	b, err := measure(ctx, b)
	if err != nil {
		return store.Put{}, err
	}
	return r.PutBlob(ctx, b)
}

// inChunks is the choice of several PATCHes for a blob that is too large for one request.
const inChunks = "chunks"

// chooseChunked decides what follows a PATCH that was refused, or a PUT that was
// too large; "" is to go on with what there is.
func chooseChunked(err error) (choice, reason string) {
	if e := statusOf(err, http.StatusRequestEntityTooLarge); e != nil && e.Method == http.MethodPut {
		return inChunks, fmt.Sprintf("a request with the whole blob is refused for its size (it answered %d)", e.Status)
	}
	e := statusOf(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge,
		http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented)
	if e == nil || e.Method != http.MethodPatch {
		return "", ""
	}
	return "hash-first", fmt.Sprintf("the registry does not take a blob in one stream before its digest is known (it answered %d): "+
		"content is read twice", e.Status)
}

// readSmall reads a blob that may fit into memory; whole says whether it did.
func readSmall(ctx context.Context, b store.Blob) (raw []byte, whole bool, err error) {
	rc, err := b.Open(ctx, 0)
	if err != nil {
		return nil, false, err
	}
	defer rc.Close()
	raw, err = io.ReadAll(io.LimitReader(rc, smallBlob+1))
	if err != nil {
		return nil, false, err
	}
	n := int64(len(raw))
	if b.Size >= 0 && n != b.Size {
		return nil, false, wrongSize(b.Descriptor, n)
	}
	return raw, n <= smallBlob, nil
}

// wrongSize says that content which should have d.Size bytes has n, or more.
func wrongSize(d store.Descriptor, n int64) error {
	return store.Mismatch("%s has %d bytes, expected %d", store.NameOf(d), n, d.Size)
}

// measure reads a blob once to learn its digest and size.
func measure(ctx context.Context, b store.Blob) (store.Blob, error) {
	rc, err := b.Open(ctx, 0)
	if err != nil {
		return b, err
	}
	defer rc.Close()
	hash := digest.Canonical.Digester()
	if b.Digest != "" {
		hash = b.Digest.Algorithm().Digester()
	}
	n, err := io.Copy(hash.Hash(), rc)
	switch {
	case err != nil:
		return b, err
	case b.Size >= 0 && n != b.Size:
		return b, wrongSize(b.Descriptor, n)
	case b.Digest != "" && b.Digest != hash.Digest():
		return b, store.Mismatch("expected %s, got %s", b.Digest, hash.Digest())
	}
	b.Digest, b.Size = hash.Digest(), n
	return b, nil
}

// hashing hashes what is read through it and says ErrMismatch where that has not
// the size it should have. The transport reads and closes it in a goroutine of its own.
type hashing struct {
	io.ReadCloser
	want   store.Descriptor
	closed chan struct{}
	once   sync.Once

	before prefix // what an earlier try read; it has to come again

	mu      sync.Mutex
	hash    hash.Hash
	n       int64
	end     bool
	stopped bool
}

func newHashing(rc io.ReadCloser, want store.Descriptor) *hashing {
	return &hashing{ReadCloser: rc, want: want, hash: digest.Canonical.Hash(), closed: make(chan struct{})}
}

func (h *hashing) Read(p []byte) (int, error) {
	// One reads at a time, so that n does not change until it is added to.
	if left := h.before.size - h.n; left > 0 && left < int64(len(p)) {
		p = p[:left]
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
	if size := h.want.Size; size >= 0 && (h.n > size || h.end && h.n < size) {
		return 0, wrongSize(h.want, h.n)
	}
	if h.end && h.n < h.before.size {
		return 0, errOtherContent
	}
	if err := h.before.check(h.n, h.hash.Sum); err != nil {
		return 0, err
	}
	return n, err
}

// stop ends the reading, which the transport may go on with for a while after
// the request has failed, and gives what was read.
func (h *hashing) stop() prefix {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	return prefix{h.n, h.hash.Sum(nil)}
}

// wholeAt says that nothing is left to read after at.
func (h *hashing) wholeAt(at int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n == at && (h.end || h.n == h.want.Size)
}

func (h *hashing) Close() error {
	defer h.once.Do(func() { close(h.closed) })
	return h.ReadCloser.Close()
}

// wait waits until the transport is done with the body: it may still be
// reading when the answer is there (http.RoundTripper).
func (h *hashing) wait(ctx context.Context) error {
	select {
	case <-h.closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sum is what was sent. An answer that came before everything was read is
// none: the upload has to be done again.
func (h *hashing) sum() (digest.Digest, int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.end && h.n != h.want.Size {
		return "", 0, fmt.Errorf("%w: the registry answered before it had all of the blob", store.ErrUnavailable)
	}
	return digest.NewDigest(digest.Canonical, h.hash), h.n, nil
}

// content is the content of a request's body. It keeps the error with which
// reading ended: that one is reported, not what the registry says of a body
// cut short.
type content struct {
	open func(context.Context) (io.ReadCloser, error)

	mu  sync.Mutex
	err error
}

// call gives the request this body.
func (s *content) call(ctx context.Context, c call) call {
	if c.Length == 0 {
		return c // no body at all: Content-Length: 0
	}
	c.Body = func() (io.ReadCloser, error) {
		s.fail(nil)
		rc, err := s.open(ctx)
		if err != nil {
			s.fail(err)
			return nil, err
		}
		return &contentReader{ReadCloser: rc, ctx: ctx, of: s}, nil
	}
	return c
}

func (s *content) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *content) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

type contentReader struct {
	io.ReadCloser
	ctx    context.Context
	of     *content
	mu     sync.Mutex
	closed bool
}

func (r *contentReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.ctx.Err() != nil {
		// The transport would go on reading for a while, and may send it all:
		// a put that was given up must not succeed.
		return 0, context.Cause(r.ctx)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.mu.Lock()
		closed := r.closed
		r.mu.Unlock()
		if !closed { // else the transport gave up, not the source
			r.of.fail(err)
		}
	}
	return n, err
}

func (r *contentReader) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	return r.ReadCloser.Close()
}
