package remote

import (
	"bytes"
	"context"
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

// patching is the upload of content whose digest is learnt while it is sent:
// POST, PATCH, PUT. A PATCH that is cut goes on in another one, from the offset
// that the registry confirms.
type patching struct {
	*repository
	blob store.Blob

	s     *session
	at    int64    // what the registry has; the next PATCH begins here
	sent  *hashing // what the last PATCH read; nil before the first
	read  prefix   // what all of them read so far
	puts  int      // how often the session was closed in vain
	doubt bool     // the registry went on, and came to no good end: from zero only
}

// prefix is the beginning of some content.
type prefix struct {
	size int64
	sum  []byte // sha256
}

// stream sends content of unknown digest. Only tries without progress count.
func (r *repository) stream(ctx context.Context, b store.Blob) (store.Descriptor, error) {
	p := &patching{repository: r, blob: b}
	var furthest int64
	for try := 0; ; try++ {
		d, own, err := p.once(ctx)
		if err == nil {
			return d, nil
		}
		if own || r.retries() == 0 || !p.mayGoOn(ctx, err) {
			r.cancel(ctx, p.s)
			return store.Descriptor{}, err
		}
		if d.Digest != "" { // all was sent, and the PUT failed
			if found, lost := r.hasBlob(ctx, d); lost != nil || found {
				r.cancel(ctx, p.s)
				return d, lost
			}
		}
		// First the pause: what is still on its way to the registry counts.
		if err := pause(ctx, try); err != nil {
			r.cancel(ctx, p.s)
			return store.Descriptor{}, err
		}
		if p.goOn(ctx, err); p.at > furthest {
			try, furthest = -1, p.at
		}
		if try >= r.retries() {
			r.cancel(ctx, p.s)
			return store.Descriptor{}, err
		}
		text := err.Error()
		if p.at > 0 {
			text = fmt.Sprintf("%s; going on after %d bytes", text, p.at)
		}
		r.client.opts.Events.Emit(store.Event{Kind: store.Retrying, Desc: b.Descriptor, Name: store.NameOf(b.Descriptor), Text: text})
	}
}

// mayGoOn says whether the upload may succeed after err, in this session or
// another. A refusal of what was gone on with is one of going on: from zero it
// may be taken. Else it is one of the request, or of the content.
func (p *patching) mayGoOn(ctx context.Context, err error) bool {
	if p.at > 0 {
		return mayTryAgain(ctx, err) || ctx.Err() == nil && !p.doubt && errors.Is(err, store.ErrRefused)
	}
	choice, _ := chooseChunked(err)
	return choice == "" && mayTryAgain(ctx, err)
}

// goOn prepares the next try after err: from what the registry has, as far as
// that is clear and of use, else from zero.
func (p *patching) goOn(ctx context.Context, err error) {
	if p.sent != nil {
		p.read = p.sent.stop()
	}
	misplaced := p.at > 0 && statusOf(err, http.StatusRequestedRangeNotSatisfiable) != nil
	if !misplaced && !errors.Is(err, store.ErrUnavailable) {
		p.doubt = p.doubt || p.at > 0 && statusOf(err, http.StatusNotFound) == nil // a session may get lost
		p.restart(ctx)
		return
	}
	if p.doubt || p.puts > 1 {
		p.restart(ctx)
		return
	}
	n, err := p.progress(ctx)
	p.doubt = misplaced && n == p.at
	if err != nil || p.doubt || n < p.at || n > p.read.size {
		p.restart(ctx)
		return
	}
	p.at = n
}

// restart gives the session up: the next try begins with a new one.
func (p *patching) restart(ctx context.Context) {
	p.cancel(ctx, p.s)
	p.s, p.at, p.sent, p.read, p.puts = nil, 0, nil, prefix{}, 0
}

// progress is how many bytes the registry says it has. The session is gone, or
// says too little, where that is an error.
func (p *patching) progress(ctx context.Context) (int64, error) {
	if p.s == nil {
		return 0, fmt.Errorf("%w: no upload is open", store.ErrNotFound)
	}
	req := p.request(wire.UploadStatus)
	resp, err := p.client.do(ctx, call{
		Request: req, Location: p.s.url, Want: []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted},
	})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, ok := parseUploadRange(resp.Header.Get("Range"))
	if !ok {
		return 0, fmt.Errorf("%w: the registry does not say how much it has", store.ErrInvalid)
	}
	if err := p.move(resp); err != nil {
		return 0, err
	}
	p.known.learn(store.AbilityUploadResume, store.Yes, answered(req, resp, "Range"))
	return n, nil
}

// parseUploadRange reads how many bytes an upload has out of "0-LAST"; Quay
// writes "bytes=0-LAST". The specification has no way to write an empty range,
// and registries write "0-0" for it: that one is not clear.
func parseUploadRange(s string) (n int64, ok bool) {
	last, ok := strings.CutPrefix(strings.TrimPrefix(s, "bytes="), "0-")
	if !ok {
		return 0, false
	}
	u, err := strconv.ParseUint(last, 10, 62)
	return int64(u) + 1, err == nil && u > 0
}

// move takes the Location of an answer for what follows: registries keep their
// state in it (distribution-spec "Pushing a blob in chunks").
func (p *patching) move(resp *http.Response) error {
	if resp.Header.Get("Location") == "" {
		return nil
	}
	next, err := p.session(resp)
	if err == nil {
		p.s = next
	}
	return err
}

// once sends what the registry does not have yet. The descriptor has a digest
// once everything was sent; own says that the error is the source's, not the
// registry's.
func (p *patching) once(ctx context.Context) (d store.Descriptor, own bool, err error) {
	if p.s == nil {
		if p.s, err = p.start(ctx, digest.Canonical); err != nil {
			return d, false, err
		}
	}
	if p.sent == nil || !p.sent.wholeAt(p.at) {
		if own, err := p.patch(ctx); err != nil {
			return d, own, err
		}
	}
	d = p.blob.Descriptor
	if d.Digest, d.Size, err = p.sent.sum(); err != nil {
		return store.Descriptor{}, false, err
	}
	p.puts++
	return d, false, p.finish(ctx, p.s, d, nil)
}

// patch sends the content from p.at on. All of it is one chunk, which as the
// last may be shorter than OCI-Chunk-Min-Length (distribution-spec "Pushing a
// blob in chunks").
func (p *patching) patch(ctx context.Context) (own bool, err error) {
	patch := call{
		Request: p.request(wire.UploadChunk), Location: p.s.url, Header: octets(), Length: p.blob.Size, Once: true,
		Want: []int{http.StatusAccepted, http.StatusCreated, http.StatusNoContent},
	}
	// With its range the PATCH is a chunk as the spec has it; without a size it
	// is a stream, which registries take too.
	if p.blob.Size > 0 {
		patch.Length -= p.at
		patch.Header.Set("Content-Range", fmt.Sprintf("%d-%d", p.at, p.blob.Size-1))
	}
	src := &content{open: p.open}
	resp, err := p.client.do(ctx, src.call(ctx, patch))
	if err == nil {
		resp.Body.Close()
		err = p.sent.wait(ctx)
	}
	if e := src.failed(); e != nil {
		return true, e
	}
	if err != nil {
		return false, err
	}
	p.known.learn(store.AbilityChunked, store.Yes, answered(patch.Request, resp, ""))
	return false, p.move(resp)
}

// open opens the content at p.at. What comes before is read for its hash, from
// the source and not from where an earlier try stood: what the registry confirms
// ends anywhere. It is read before the request begins.
func (p *patching) open(ctx context.Context) (io.ReadCloser, error) {
	rc, err := p.blob.Open(ctx, 0)
	if err != nil {
		return nil, err
	}
	p.sent = newHashing(rc, p.blob.Descriptor)
	p.sent.before = p.read
	if _, err := io.CopyN(io.Discard, p.sent, p.at); err != nil {
		rc.Close()
		if errors.Is(err, io.EOF) {
			err = errOtherContent
		}
		return nil, err
	}
	return p.sent, nil
}

// errOtherContent: the registry has the beginning of one content, and the
// source now holds another.
var errOtherContent = fmt.Errorf("%w: another content than at the try before", store.ErrChanged)

// check compares what was read with what an earlier try read: the digest would
// else be of content that the registry does not have.
func (b prefix) check(n int64, sum func([]byte) []byte) error {
	if b.size > 0 && n == b.size && !bytes.Equal(sum(nil), b.sum) {
		return errOtherContent
	}
	return nil
}
