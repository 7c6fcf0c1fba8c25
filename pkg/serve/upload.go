package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// body is the body of a request that remembers how it ended, so that a broken
// connection is not taken for a broken store.
type body struct {
	io.Reader
	err  error
	over error // the answer where it is longer than the server takes
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// Close leaves the connection to net/http.
func (b *body) Close() error { return nil }

// blame gives an error that came while the body was read to the client, where
// it is the body's.
func (b *body) blame(err error) error {
	if b.err == nil {
		return err
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(b.err, &tooLarge) {
		return b.over
	}
	return &apiError{status: http.StatusBadRequest, code: "BLOB_UPLOAD_INVALID", message: fmt.Sprintf("the body broke off: %v", b.err)}
}

// bodyOf is the body of an upload, bounded where a quirk says so.
func (s *Server) bodyOf(w http.ResponseWriter, c *call) *body {
	q := s.opts.Quirks
	switch {
	case q.ChunkMax > 0 && c.wire.Kind == wire.UploadChunk:
		return &body{Reader: http.MaxBytesReader(w, c.Body, q.ChunkMax), over: chunkTooLarge(q.ChunkMax)}
	case q.MaxBody > 0:
		return &body{Reader: http.MaxBytesReader(w, c.Body, q.MaxBody), over: bodyTooLarge(q.MaxBody)}
	}
	return &body{Reader: c.Body}
}

// uploadStart is the POST of "POST then PUT" and of chunks (end-4a, 4c).
func (s *Server) uploadStart(w http.ResponseWriter, c *call) error {
	alg := digest.Canonical
	if c.wire.Algorithm != "" {
		alg = digest.Algorithm(c.wire.Algorithm)
	}
	if !alg.Available() {
		return &apiError{status: http.StatusBadRequest, code: "DIGEST_INVALID", message: fmt.Sprintf("unsupported digest algorithm %q", alg)}
	}
	up, err := s.uploads.start(c.wire.Repo, alg)
	if err != nil {
		return err
	}
	if n := s.opts.Quirks.ChunkMin; n > 0 {
		w.Header().Set("OCI-Chunk-Min-Length", strconv.FormatInt(n, 10))
	}
	s.progress(w.Header(), c, up)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// progress tells where to go on and how much has come. The spec has no way to
// write an empty range: nothing is "0-0" as well.
func (s *Server) progress(h http.Header, c *call, up *session) {
	u := wire.Request{Kind: wire.UploadStatus, Repo: up.repo, Session: up.id}.URL()
	h.Set("Location", s.location(c.Request, u))
	last := max(0, up.size.Load()-1)
	if s.opts.Quirks.NoProgress {
		last = 0
	}
	unit := ""
	if s.opts.Quirks.RangeUnit {
		unit = "bytes="
	}
	h.Set("Range", fmt.Sprintf("%s0-%d", unit, last))
}

// uploadSingle is "Single POST" (end-4b).
func (s *Server) uploadSingle(w http.ResponseWriter, c *call) error {
	if s.opts.Quirks.NoSinglePost {
		return s.uploadStart(w, c)
	}
	return s.putWhole(w, c)
}

// putWhole stores a blob that is the whole body, under the digest that the
// request names. The store hashes and proves it.
func (s *Server) putWhole(w http.ResponseWriter, c *call) error {
	in := s.bodyOf(w, c)
	d := named(c.wire.Digest)
	d.Size = c.ContentLength // -1, where it is not known, is UnknownSize
	if _, err := c.store.PutBlob(c.Context(), store.Blob{Descriptor: d, Open: once(in)}); err != nil {
		return in.blame(err)
	}
	// A store that has the blob does not read it; a client that is still
	// sending would take an early answer for a broken connection.
	if _, err := io.CopyBuffer(onlyWriter{io.Discard}, in, make([]byte, copyBuffer)); err != nil {
		return in.blame(err)
	}
	return s.stored(w, c)
}

// stored answers that the blob of the request is there; with a quirk by the
// digest that the registry prefers, under which it is as well.
func (s *Server) stored(w http.ResponseWriter, c *call) error {
	d := c.wire.Digest
	if s.opts.Quirks.CanonicalSHA256 && d.Algorithm() != digest.Canonical {
		b, err := c.store.Blob(c.Context(), named(d))
		if err != nil {
			return err
		}
		b.Digest, b.Home = "", ""
		put, err := c.store.PutBlob(c.Context(), b)
		if err != nil {
			return err
		}
		d = put.Digest
	}
	s.created(w, c, d)
	return nil
}

// created answers that the blob is there.
func (s *Server) created(w http.ResponseWriter, c *call, d digest.Digest) {
	w.Header().Set("Location", s.location(c.Request, wire.Request{Kind: wire.BlobGet, Repo: c.wire.Repo, Digest: d}.URL()))
	s.setDigest(w, d)
	w.WriteHeader(http.StatusCreated)
}

// uploadMount is "Mounting a blob from another repository" (end-11). What
// cannot be mounted is an upload that begins.
func (s *Server) uploadMount(w http.ResponseWriter, c *call) error {
	if q := s.opts.Quirks; q.NoMount || q.MountNeedsFrom && c.wire.From == "" {
		return s.uploadStart(w, c)
	}
	for _, name := range s.sources(c) {
		err := s.mount(c, name)
		if err == nil {
			s.created(w, c, c.wire.Digest)
			return nil
		}
		if err := context.Cause(c.Context()); err != nil {
			return err
		}
	}
	if a := s.opts.Quirks.MountAbsent; a.Status != 0 && c.wire.From != "" {
		return a.err("there is no %s in %s", c.wire.Digest, c.wire.From)
	}
	return s.uploadStart(w, c)
}

// sources are the repositories that a mount may read from: the one it names,
// or without a name its own, or with the quirk any.
func (s *Server) sources(c *call) []string {
	switch {
	case c.wire.From != "" && (!isRepository(c.wire.From) || !s.mayRead(c.Request, c.wire.From)):
		return nil
	case c.wire.From != "":
		return []string{c.wire.From}
	case !s.opts.Quirks.MountAnywhere:
		return []string{c.wire.Repo}
	}
	var all []string
	for name, err := range s.reg.Repositories(c.Context(), "") {
		if err == nil && s.mayRead(c.Request, name) {
			all = append(all, name)
		}
	}
	return all
}

func (s *Server) mount(c *call, from string) error {
	source, err := s.reg.Repository(c.Context(), from)
	if err != nil {
		return err
	}
	defer source.Close()
	b, err := source.Blob(c.Context(), named(c.wire.Digest))
	if err != nil {
		return err
	}
	_, err = c.store.PutBlob(c.Context(), b)
	return err
}

// uploadChunk is the PATCH of "Pushing a blob in chunks" (end-5), with a
// Content-Range or as one stream.
func (s *Server) uploadChunk(w http.ResponseWriter, c *call) error {
	up, err := s.uploads.take(c.Context(), c.wire.Repo, c.wire.Session)
	if err != nil {
		return err
	}
	defer s.uploads.release(up)
	if err := s.appendChunk(w, c, up); err != nil {
		return err
	}
	s.progress(w.Header(), c, up)
	if s.opts.Quirks.ChunkCreated {
		w.WriteHeader(http.StatusCreated)
	} else {
		w.WriteHeader(http.StatusAccepted)
	}
	return nil
}

// appendChunk adds the body to the upload. After an error of the store the
// upload is gone; after a broken body it goes on from what arrived.
func (s *Server) appendChunk(w http.ResponseWriter, c *call, up *session) error {
	in := s.bodyOf(w, c)
	want, err := s.chunkLength(c, up.size.Load())
	if err == nil && up.short && want != 0 {
		err = &apiError{
			status: http.StatusBadRequest, code: "SIZE_INVALID",
			message: fmt.Sprintf("the chunk before this one has less than %d bytes", s.opts.Quirks.ChunkMin),
		}
	}
	if err != nil {
		return s.withProgress(c, up, err)
	}
	if up.pipe == nil {
		st, err := s.reg.Repository(up.ctx, up.repo)
		if err == nil {
			err = s.uploads.begin(up, st)
		}
		if err != nil {
			return err
		}
	}
	before := up.size.Load()
	whole := in.Reader
	if want >= 0 {
		in.Reader = io.LimitReader(whole, want)
	}
	cut := func() { _ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) }
	up.interrupt.Store(&cut)
	err = up.write(in)
	up.interrupt.Store(nil)
	came := up.size.Load() - before
	if err == nil && want >= 0 {
		// A body without Content-Length may go on after its range.
		if n, _ := io.ReadFull(whole, make([]byte, 1)); n > 0 {
			want = 0
		}
	}
	up.short = came < s.opts.Quirks.ChunkMin
	switch {
	case err != nil && in.err == nil:
		s.uploads.end(up, err)
		return err
	case err != nil:
		return err
	case want >= 0 && came != want:
		return s.withProgress(c, up, &apiError{
			status: http.StatusBadRequest, code: "SIZE_INVALID",
			message: "the body does not have the length of Content-Range",
		})
	}
	return nil
}

// chunkLength is how many bytes the chunk says it has, or -1. A chunk that
// does not begin where the upload stands is 416.
func (s *Server) chunkLength(c *call, at int64) (int64, error) {
	field := c.Header.Get("Content-Range")
	if field == "" {
		return c.ContentLength, nil
	}
	first, last, _ := strings.Cut(field, "-")
	from, ok1 := decimal(first)
	to, ok2 := decimal(last)
	n := to - from + 1
	switch {
	case !ok1 || !ok2 || n < 1:
		return 0, &apiError{status: http.StatusBadRequest, code: "BLOB_UPLOAD_INVALID", message: fmt.Sprintf("Content-Range %q is not FIRST-LAST", field)}
	case from != at && !s.opts.Quirks.ChunkAnywhere:
		code := s.opts.Quirks.ChunkOrderCode
		if code == "" {
			code = "BLOB_UPLOAD_INVALID"
		}
		return 0, &apiError{
			status: http.StatusRequestedRangeNotSatisfiable, code: code,
			message: fmt.Sprintf("the chunk begins at %d, the upload stands at %d", from, at),
		}
	case c.ContentLength >= 0 && c.ContentLength != n:
		return 0, &apiError{
			status: http.StatusBadRequest, code: "SIZE_INVALID",
			message: fmt.Sprintf("Content-Range says %d bytes, Content-Length %d", n, c.ContentLength),
		}
	}
	return n, nil
}

// withProgress adds to a refusal where the upload stands.
func (s *Server) withProgress(c *call, up *session, err error) error {
	var api *apiError
	if errors.As(err, &api) {
		api.header = http.Header{}
		s.progress(api.header, c, up)
	}
	return err
}

// uploadFinish is the closing PUT (end-6), with the whole blob, the last chunk
// or nothing as its body.
func (s *Server) uploadFinish(w http.ResponseWriter, c *call) error {
	up, err := s.uploads.take(c.Context(), c.wire.Repo, c.wire.Session)
	if err != nil {
		return err
	}
	defer s.uploads.release(up)
	if up.pipe == nil {
		if _, err := s.chunkLength(c, 0); err != nil {
			return s.withProgress(c, up, err)
		}
		if err := s.putWhole(w, c); err != nil {
			return err
		}
		s.uploads.end(up, errCanceled)
		return nil
	}
	if c.ContentLength != 0 {
		if err := s.appendChunk(w, c, up); err != nil {
			return err
		}
	}
	put, err := up.finish(c.wire.Digest)
	s.uploads.end(up, errCanceled) // to drop what has come to its end changes nothing
	if err == nil && put.Digest != c.wire.Digest {
		err = s.rename(c, put)
	}
	if err != nil {
		return err
	}
	return s.stored(w, c)
}

// rename stores what came in chunks and was learnt to be put.Digest under the
// digest of another algorithm, which the store proves. The copy under sha256
// stays where that succeeds: it may be somebody else's by now.
func (s *Server) rename(c *call, put store.Put) error {
	b, err := c.store.Blob(c.Context(), put.Descriptor)
	if err != nil {
		return err
	}
	b.Digest, b.Home = c.wire.Digest, ""
	_, err = c.store.PutBlob(c.Context(), b)
	if errors.Is(err, store.ErrMismatch) && put.How == store.Sent {
		return errors.Join(err, c.store.DeleteBlob(c.Context(), put.Descriptor))
	}
	return err
}

// uploadStatus is the GET of an upload (end-13). It does not wait for a chunk
// under way.
func (s *Server) uploadStatus(w http.ResponseWriter, c *call) error {
	up, err := s.uploads.find(c.wire.Repo, c.wire.Session)
	if err != nil {
		return err
	}
	s.progress(w.Header(), c, up)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// uploadCancel is "Cancel a blob upload" (end-14).
func (s *Server) uploadCancel(w http.ResponseWriter, c *call) error {
	up, err := s.uploads.find(c.wire.Repo, c.wire.Session)
	if err != nil {
		return err
	}
	s.uploads.end(up, errCanceled)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
