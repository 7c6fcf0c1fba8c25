package remote

import (
	"context"
	"errors"
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

// deliver sends a blob of known digest: in one PUT, or in chunks where one is
// refused for its size or where Options.ChunkSize says so.
func (r *repository) deliver(ctx context.Context, d store.Descriptor, src *content, s *session) error {
	if pinned := r.client.opts.ChunkSize; pinned > 0 && d.Size > pinned {
		return r.sendChunks(ctx, d, src, s, pinned)
	}
	err := r.send(ctx, d, src, s)
	choice, reason := chooseChunked(err)
	if choice != inChunks || d.Size <= leastChunk {
		return err
	}
	r.fallback(choice, reason)
	for size := int64(firstChunk); size >= leastChunk; size /= 4 {
		if size >= d.Size {
			continue
		}
		err = r.sendChunks(ctx, d, src, nil, size)
		if statusOf(err, http.StatusRequestEntityTooLarge) == nil {
			return err
		}
	}
	return err
}

// sendChunks sends a blob in PATCHes of size bytes, or of what the registry
// wants at least (distribution-spec "Pushing a blob in chunks"), in order. The
// source is read once, and proves itself before its last bytes are sent.
func (r *repository) sendChunks(ctx context.Context, d store.Descriptor, src *content, s *session, size int64) (err error) {
	if s == nil {
		if s, err = r.start(ctx, d.Digest.Algorithm()); err != nil {
			return err
		}
	}
	rc, err := src.open(ctx)
	if err != nil {
		r.cancel(ctx, s)
		return err
	}
	defer rc.Close()
	size = max(size, s.least)
	for at := int64(0); at < d.Size && err == nil; at += size {
		err = r.sendChunk(ctx, s, rc, at, min(size, d.Size-at))
	}
	if err == nil {
		err = r.finish(ctx, s, d, nil)
	}
	if err != nil {
		r.cancel(ctx, s)
	}
	return err
}

var errSentOnce = errors.New("a chunk cannot be read again")

// sendChunk sends the next n bytes of rc, which belong at the offset at.
func (r *repository) sendChunk(ctx context.Context, s *session, rc io.Reader, at, n int64) error {
	header := octets()
	header.Set("Content-Range", fmt.Sprintf("%d-%d", at, at+n-1))
	opened := false
	body := func() (io.ReadCloser, error) {
		if opened {
			return nil, errSentOnce
		}
		opened = true
		return io.NopCloser(io.LimitReader(rc, n)), nil
	}
	resp, err := r.client.do(ctx, call{
		Request: r.request(wire.UploadChunk), Location: s.url, Header: header, Body: body, Length: n, Once: true,
		Want: []int{http.StatusAccepted, http.StatusCreated, http.StatusNoContent},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Header.Get("Location") == "" {
		return nil
	}
	next, err := r.session(resp)
	if err == nil {
		s.url = next.url
	}
	return err
}
