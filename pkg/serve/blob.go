package serve

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

const octetStream = "application/octet-stream"

// named is what a request knows of content: its digest.
func named(d digest.Digest) store.Descriptor {
	return store.Descriptor{MediaType: octetStream, Digest: d, Size: store.UnknownSize}
}

func isAbsent(err error) bool { return errors.Is(err, store.ErrNotFound) }

// blobGet is distribution-spec "Pulling blobs" and "Checking if content
// exists" (end-2), with one range of bytes where it is asked for.
func (s *Server) blobGet(w http.ResponseWriter, c *call) error {
	if s.opts.Quirks.RedirectBlobs && c.wire.Kind == wire.BlobGet {
		if _, err := c.store.Blob(c.Context(), named(c.wire.Digest)); err != nil {
			return err
		}
		return s.redirectBlob(w, c)
	}
	return s.sendBlob(w, c)
}

// sendBlob sends a blob or its part, or for HEAD what it would be.
func (s *Server) sendBlob(w http.ResponseWriter, c *call) error {
	b, err := c.store.Blob(c.Context(), named(c.wire.Digest))
	if err != nil {
		return err
	}
	h := w.Header()
	etag := `"` + b.Digest.String() + `"`
	part := span{0, b.Size}
	if s.opts.Quirks.NoRange {
		h.Set("Accept-Ranges", "none")
	} else {
		if !s.opts.Quirks.NoAcceptRanges {
			h.Set("Accept-Ranges", "bytes")
		}
		// RFC 9110 §14.2: Range has no meaning but for GET, nor where If-Range names other content.
		if v := c.Header.Get("If-Range"); c.wire.Kind == wire.BlobGet && (v == "" || v == etag) {
			part, err = s.rangeOf(c, b.Size)
		}
	}
	if err != nil {
		a := s.opts.Quirks.BadRange.or(http.StatusRequestedRangeNotSatisfiable, "SIZE_INVALID")
		return &apiError{
			status: a.Status, code: a.Code, message: err.Error(),
			header: http.Header{"Content-Range": {fmt.Sprintf("bytes */%d", b.Size)}},
		}
	}
	if c.wire.Kind == wire.BlobHead {
		s.blobHeader(w, c, b, part)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	rc, err := b.Open(c.Context(), part.from)
	if err != nil {
		return err
	}
	defer rc.Close()
	s.blobHeader(w, c, b, part)
	if part.to-part.from < b.Size {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.from, part.to-1, b.Size))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.WriteHeader(http.StatusOK)
	}
	in := &body{Reader: io.LimitReader(rc, part.to-part.from)}
	n, err := io.CopyBuffer(onlyWriter{w}, in, make([]byte, copyBuffer))
	if err == nil && n < part.to-part.from {
		in.err = fmt.Errorf("%w: %s ends before its size", store.ErrMismatch, b.Digest)
	}
	return in.err // not that of a client that is gone
}

// rangeOf is the part that a request asks for.
func (s *Server) rangeOf(c *call, size int64) (span, error) {
	field := c.Header.Get("Range")
	if s.opts.Quirks.NoOpenRange && strings.HasPrefix(field, "bytes=") && strings.HasSuffix(field, "-") {
		return span{}, fmt.Errorf("%w: %s has no end", store.ErrRange, field)
	}
	return parseRange(field, size)
}

func (s *Server) blobHeader(w http.ResponseWriter, c *call, b store.Blob, part span) {
	h := w.Header()
	h.Set("Content-Type", octetStream)
	h.Set("Content-Length", strconv.FormatInt(part.to-part.from, 10))
	h.Set("ETag", `"`+b.Digest.String()+`"`)
	if !c.aside {
		s.setDigest(w, b.Digest)
	}
}

// onlyWriter hides ReadFrom, so that io.CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

// blobDelete is distribution-spec "Deleting Blobs" (end-10).
func (s *Server) blobDelete(w http.ResponseWriter, c *call) error {
	if err := c.store.DeleteBlob(c.Context(), named(c.wire.Digest)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// span is the bytes from `from` up to but not including `to`.
type span struct{ from, to int64 }

// parseRange reads the field Range for content of this size. What is no single
// range of bytes is ignored, as RFC 9110 §14.2 allows: the span is everything.
// A range behind the end is ErrRange.
func parseRange(field string, size int64) (span, error) {
	all := span{0, size}
	spec, ok := strings.CutPrefix(field, "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !dash || strings.Contains(spec, ",") {
		return all, nil
	}
	if first == "" { // the last n bytes
		n, ok := decimal(last)
		if !ok {
			return all, nil
		}
		if n == 0 || size == 0 {
			return all, fmt.Errorf("%w: the last %d of %d bytes", store.ErrRange, n, size)
		}
		return span{size - min(n, size), size}, nil
	}
	from, ok := decimal(first)
	if !ok {
		return all, nil
	}
	to := size
	if last != "" {
		end, ok := decimal(last)
		if !ok || end < from {
			return all, nil
		}
		to = min(size-1, end) + 1
	}
	if from >= size {
		return all, fmt.Errorf("%w: byte %d of %d", store.ErrRange, from, size)
	}
	return span{from, to}, nil
}

// decimal reads digits alone; strconv takes signs as well.
func decimal(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
