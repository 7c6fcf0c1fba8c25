package remote

import (
	"context"
	"errors"
	"io"
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
	hash := r.known.of(store.AbilityChunked) == store.No || r.client.opts.ChunkSize > 0 ||
		b.Size >= 0 && r.client.homes.hasSize(b.Size) || b.Size < 0 && r.chunk.Load() > 0
	if !hash {
		d, err := r.putStream(ctx, b)
		choice, reason := chooseChunked(err, false)
		if choice != hashFirst {
			if err != nil {
				return store.Put{}, err
			}
			r.flights.add(d)
			r.client.homes.add(d.Digest, d.Size, r.name)
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

// putStream sends a blob and learns its digest by that, in one request, or in
// chunks where that is too large. Chunks need a size: what has none is read for it.
func (r *repository) putStream(ctx context.Context, b store.Blob) (store.Descriptor, error) {
	if r.needsChunks(b) {
		return r.inChunks(ctx, b, nil, nil)
	}
	d, err := r.patched(ctx, b, 0, nil)
	choice, reason := chooseChunked(err, false)
	if choice != inChunks {
		return d, err
	}
	r.fallback(choice, reason)
	if b.Size < 0 {
		var lost error
		if b, lost = measure(ctx, b); lost != nil {
			return store.Descriptor{}, lost
		}
	}
	return r.inChunks(ctx, b, nil, err)
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
