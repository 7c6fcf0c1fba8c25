package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Blob gives a blob to read. With a size nothing is asked of the registry.
// Its reader goes on by itself where a connection breaks; what the bytes are
// is for store.Verify to prove.
func (r *repository) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	if err := store.CheckDigest(d.Digest); err != nil {
		return store.Blob{}, err
	}
	if d.Size < 0 {
		size, err := r.blobSize(ctx, d)
		if err != nil {
			return store.Blob{}, err
		}
		d.Size = size
	}
	return store.Blob{
		Descriptor: d,
		Home:       r.client.host + "/" + r.name,
		Open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			return r.openBlob(ctx, d, offset)
		},
	}, nil
}

// blobSize asks with HEAD, with GET where that gives no size, and counts where
// that does not either.
func (r *repository) blobSize(ctx context.Context, d store.Descriptor) (int64, error) {
	req := r.request(wire.BlobHead)
	req.Digest = d.Digest
	resp, err := r.client.do(ctx, call{Request: req, Want: []int{http.StatusOK}})
	if err == nil {
		resp.Body.Close()
		if err := checkDigestHeader(resp, d.Digest); err != nil {
			return 0, err
		}
		if resp.ContentLength >= 0 {
			return resp.ContentLength, nil
		}
	} else if statusOf(err, http.StatusMethodNotAllowed, http.StatusNotImplemented) == nil {
		return 0, err
	}
	req.Kind = wire.BlobGet
	get, size := call{Request: req, Want: []int{http.StatusOK}}, int64(-1)
	t := newTrip(get)
	t.read = func(resp *http.Response) (err error) {
		if size = resp.ContentLength; size < 0 { // counted, the bytes may as well be proven
			size, err = io.Copy(io.Discard, store.NewVerifier(resp.Body, d))
		}
		return err
	}
	_, err = r.client.send(ctx, get, t)
	return size, err
}

// openBlob opens a blob of known size at an offset.
func (r *repository) openBlob(ctx context.Context, d store.Descriptor, offset int64) (io.ReadCloser, error) {
	switch {
	case offset < 0 || offset > d.Size:
		return nil, fmt.Errorf("%w: blob %s: offset %d of %d bytes", store.ErrRange, d.Digest, offset, d.Size)
	case offset == d.Size && d.Size > 0:
		return http.NoBody, nil // a Range behind the last byte is 416
	}
	if rc, err := r.openRanged(ctx, d, offset); rc != nil || err != nil {
		return rc, err
	}
	rc, skip, err := r.getFrom(ctx, d, offset)
	if err != nil {
		return nil, err
	}
	return &resuming{ctx: ctx, repo: r, desc: d, rc: rc, skip: skip, at: offset}, nil
}

// getFrom opens the rest of a blob. A part is taken only when it is exactly the
// one that was asked for; a registry that sends another is asked for all.
// skip is how many bytes come before the offset.
func (r *repository) getFrom(ctx context.Context, d store.Descriptor, offset int64) (rc io.ReadCloser, skip int64, err error) {
	req := r.request(wire.BlobGet)
	req.Digest = d.Digest
	get := call{Request: req, Expect: d.Size - offset, Want: []int{http.StatusOK}}
	var resp *http.Response
	if offset > 0 {
		part := get
		// 416 for a part that exists: go-containerregistry reads no open range.
		part.Want = append(part.Want, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
		part.Header = http.Header{"Range": {"bytes=" + strconv.FormatInt(offset, 10) + "-"}}
		if resp, err = r.client.do(ctx, part); err != nil {
			return nil, 0, err
		}
		answer := store.No
		isWhole := resp.StatusCode == http.StatusOK
		if resp.StatusCode == http.StatusPartialContent && isRest(resp, d.Size, offset) {
			answer = store.Yes
		}
		r.known.learn(store.AbilityRanges, answer, answered(req, resp, "Content-Range"))
		if answer == store.Yes {
			return resp.Body, 0, nil
		}
		if !isWhole {
			resp.Body.Close()
			resp = nil
		}
	}
	if resp == nil {
		if resp, err = r.client.do(ctx, get); err != nil {
			return nil, 0, err
		}
	}
	if n := resp.ContentLength; n >= 0 && n != d.Size {
		resp.Body.Close()
		return nil, 0, fmt.Errorf("%w: blob %s: expected %d bytes, the registry has %d", store.ErrMismatch, d.Digest, d.Size, n)
	}
	return resp.Body, offset, nil
}

// isRest says whether a 206 holds exactly the bytes from offset to the end of
// size bytes (RFC 9110 §14.4).
func isRest(resp *http.Response, size, offset int64) bool {
	if n := resp.ContentLength; n >= 0 && n != size-offset {
		return false
	}
	first, last, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	return ok && first == offset && last == size-1 && (total == size || total < 0)
}

// parseContentRange reads "bytes FIRST-LAST/TOTAL"; total is -1 for "*".
func parseContentRange(s string) (first, last, total int64, ok bool) {
	unit, s, ok := strings.Cut(strings.TrimSpace(s), " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return 0, 0, 0, false
	}
	span, of, ok := strings.Cut(s, "/")
	from, to, dash := strings.Cut(span, "-")
	if !ok || !dash {
		return 0, 0, 0, false
	}
	total = -1
	for _, f := range []struct {
		text string
		to   *int64
	}{{from, &first}, {to, &last}, {of, &total}} {
		if f.to == &total && f.text == "*" {
			continue
		}
		n, err := strconv.ParseUint(f.text, 10, 63)
		if err != nil {
			return 0, 0, 0, false
		}
		*f.to = int64(n)
	}
	return first, last, total, first <= last && (total < 0 || last < total)
}

// resuming reads a blob and goes on at its offset where the connection breaks.
type resuming struct {
	ctx  context.Context
	repo *repository
	desc store.Descriptor
	rc   io.ReadCloser // nil after a break
	skip int64         // bytes of rc that come before at
	at   int64
	err  error // final

	cuts   cuts
	from   int64     // where rc was opened, 0 for the first
	opened time.Time // when; zero is long ago
}

// cuts counts how often connections broke off in a row. As long as bytes come
// nothing is given up, but who sends a few and breaks off is not asked as fast as
// it answers.
type cuts struct {
	empty int // without a byte
	short int // after little
}

// What is not little: so many bytes of a connection, or any in so long a time.
const (
	muchBytes = 1 << 20
	muchTime  = time.Second
)

// shortPauses is after how many pauses they grow no more as long as bytes come,
// which is at a second.
const shortPauses = 2

// note counts a break after n bytes that came in a time.
func (c *cuts) note(n int64, took time.Duration) {
	if n > 0 {
		c.empty = 0
	}
	if n >= muchBytes || n > 0 && took >= muchTime {
		c.short = 0
	}
	c.empty++
	c.short++
}

// wait waits before the next try: not after the first break, which may happen to
// any connection.
func (c *cuts) wait(ctx context.Context) error {
	if n := max(min(c.short-2, shortPauses), c.empty-2); n >= 0 {
		return pause(ctx, n)
	}
	return nil
}

func (b *resuming) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.rc == nil {
			if b.err = b.reopen(); b.err != nil {
				break
			}
		}
		if b.skip > 0 {
			n, err := io.CopyN(io.Discard, b.rc, b.skip)
			if b.skip -= n; err != nil {
				b.lose(err)
			}
			continue
		}
		n, err := b.rc.Read(p)
		b.at += int64(n)
		switch {
		case b.at > b.desc.Size:
			b.err = fmt.Errorf("%w: %s is longer than %d bytes", store.ErrMismatch, b.desc.Digest, b.desc.Size)
			return 0, b.err
		case err != nil && b.at == b.desc.Size:
			b.err = io.EOF // all is there, whatever became of the connection
		case err != nil:
			b.lose(err)
		}
		if n > 0 || err == nil { // an error waits for the next Read
			return n, nil
		}
	}
	return 0, b.err
}

// lose gives up the connection and decides whether to go on with another.
func (b *resuming) lose(err error) {
	b.rc.Close()
	b.rc = nil
	b.cuts.note(b.at-b.from, b.repo.client.opts.Now().Sub(b.opened))
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	switch {
	case b.ctx.Err() != nil:
		b.err = context.Cause(b.ctx)
	case b.cuts.empty > b.repo.retries():
		b.err = fmt.Errorf("%s broke off after %d of %d bytes: %w", b.desc.Digest, b.at, b.desc.Size, broken(err))
	default:
		b.repo.client.opts.Events.Emit(store.Event{
			Kind: store.Retrying, Desc: b.desc, Name: store.NameOf(b.desc),
			Text: fmt.Sprintf("the transfer broke off after %d of %d bytes: %s", b.at, b.desc.Size, err),
		})
	}
}

// reopen asks for the rest: at once after progress, later and later without.
func (b *resuming) reopen() (err error) {
	if err := b.cuts.wait(b.ctx); err != nil {
		return err
	}
	b.rc, b.skip, err = b.repo.getFrom(urgent(b.ctx), b.desc, b.at) // whoever takes the bytes may have its place already
	if err != nil {
		b.rc = nil
		return fmt.Errorf("going on after %d of %d bytes: %w", b.at, b.desc.Size, err)
	}
	b.from, b.opened = b.at, b.repo.client.opts.Now()
	return nil
}

func (b *resuming) Close() error {
	b.err = io.ErrClosedPipe
	if b.rc == nil {
		return nil
	}
	return b.rc.Close()
}

// broken is the class of an error of a connection in the middle of a body.
func broken(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
