package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// The sizes of chunks that are tried where a registry, or a proxy before it,
// refuses a request for its size: nginx stops at 1 MiB unless told otherwise.
const (
	firstChunk = 16 << 20
	leastChunk = 256 << 10
)

// resumeFrom is the size from which on a blob is sent so that it can be gone on
// with, which costs a request more.
const resumeFrom = 4 << 20

// deliver sends a blob of known digest: in one PUT, a large one in a PATCH that
// can be gone on with; or in chunks where that is refused for its size, or was
// before, or where Options.ChunkSize says so.
func (r *repository) deliver(ctx context.Context, b store.Blob, s *session) (err error) {
	if pinned := r.client.opts.ChunkSize; pinned > 0 && b.Size > pinned {
		_, err := r.patched(ctx, b, pinned, s)
		return err
	}
	if r.needsChunks(b) {
		_, err := r.inChunks(ctx, b, s, nil)
		return err
	}
	inPatch := b.Size > resumeFrom && r.known.of(store.AbilityChunked) != store.No
	if inPatch {
		_, err = r.patched(ctx, b, 0, s)
		if choice, reason := chooseChunked(err, true); choice == inOne {
			r.known.learn(store.AbilityChunked, store.No, refused(r.request(wire.UploadChunk), statusOf(err)))
			r.fallback(choice, reason)
			inPatch, s = false, nil
		}
	}
	if !inPatch {
		src := &content{open: func(ctx context.Context) (io.ReadCloser, error) { return store.VerifyBlob(b).Open(ctx, 0) }}
		err = r.send(ctx, b.Descriptor, src, s)
	}
	choice, reason := chooseChunked(err, true)
	if choice != inChunks || b.Size <= leastChunk {
		return err
	}
	r.fallback(choice, reason)
	_, err = r.inChunks(ctx, b, nil, err)
	return err
}

// needsChunks says whether the blob is larger than what this registry takes in one
// request, as far as larger ones have shown.
func (r *repository) needsChunks(b store.Blob) bool {
	size := r.chunk.Load()
	return size > 0 && b.Size > size
}

// inChunks sends a blob of known size in chunks of the size that was taken before,
// or else in ever smaller ones until one is: that is kept, so that no other blob
// is sent to find it out. err is what comes of it where there is no smaller size.
func (r *repository) inChunks(ctx context.Context, b store.Blob, s *session, err error) (store.Descriptor, error) {
	size := r.chunk.Load()
	if size == 0 {
		size = firstChunk
	}
	for ; size >= leastChunk; size /= 4 {
		if size >= b.Size {
			continue
		}
		var d store.Descriptor
		d, err = r.patched(ctx, b, size, s)
		if err == nil {
			r.chunk.Store(size)
		}
		if statusOf(err, http.StatusRequestEntityTooLarge) == nil {
			return d, err
		}
		s = nil
	}
	return store.Descriptor{}, err
}

// The choices: several PATCHes for a blob that is too large for one request, and
// one PUT for a blob that no PATCH may bring, which has to be read for its digest
// before that where this is not known.
const (
	inChunks  = "chunks"
	inOne     = "one-put"
	hashFirst = "hash-first"
)

// chooseChunked decides what follows a PATCH that was refused, or a request that
// was too large; "" is to go on with what there is.
func chooseChunked(err error, named bool) (choice, reason string) {
	if e := statusOf(err, http.StatusRequestEntityTooLarge); e != nil && (e.Method == http.MethodPut || e.Method == http.MethodPatch) {
		return inChunks, fmt.Sprintf("a request with the whole blob is refused for its size (it answered %d)", e.Status)
	}
	e := statusOf(err, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented)
	switch {
	case e == nil || e.Method != http.MethodPatch:
		return "", ""
	case named:
		return inOne, fmt.Sprintf("the registry does not take a blob in one stream of its own (it answered %d): "+
			"an upload that breaks off begins anew", e.Status)
	}
	return hashFirst, fmt.Sprintf("the registry does not take a blob in one stream before its digest is known (it answered %d): "+
		"content is read twice", e.Status)
}
