package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// patching is an upload that can be gone on with: POST, PATCH, PUT. Content of
// unknown digest is hashed while it is sent. Where a PATCH is cut, another one
// sends the rest, from the offset that the registry confirms; also in another
// process, where there is a journal.
type patching struct {
	*repository
	blob store.Blob
	step int64 // bytes of a PATCH at most; 0 is all of it in one

	s     *session
	at    int64    // what the registry has; the next PATCH begins here
	in    *hashing // the content; nil before it is opened
	marks *marks   // of its hash
	read  prefix   // what was read so far, where there is no digest to tell
	puts  int      // how often the session was closed in vain

	resumed   bool // the session was gone on with
	doubt     bool // the registry went on, and came to no good end: from zero only
	inherited bool // the session is of another process: nothing about it is sure
	lost      bool // a session was gone before it had anything
	note      *noted
}

// patched sends a blob by PATCH, in steps of so many bytes; 0 is in one. Only
// tries without progress count.
func (r *repository) patched(ctx context.Context, b store.Blob, step int64, s *session) (d store.Descriptor, err error) {
	p := &patching{repository: r, blob: b, step: step, s: s, marks: newMarks(b.Size)}
	p.recall(ctx)
	defer func() { p.leave(ctx, err) }()
	furthest, mute := p.at, 0 // and tries that were not answered since
	for try := 0; ; try++ {
		var own bool
		d, own, err = p.once(ctx)
		if err == nil {
			return d, nil
		}
		if p.inherited && ctx.Err() == nil && !outside(err) {
			furthest = p.again(ctx, err, try)
			continue
		}
		if own || r.retries() == 0 || !p.mayGoOn(ctx, err) {
			return store.Descriptor{}, err
		}
		if p.at > furthest {
			mute = 0
		}
		if silent(err) {
			mute++
		}
		if d.Digest != "" { // all was sent, and the PUT failed
			found, lost := r.hasBlob(ctx, d)
			if lost != nil {
				return store.Descriptor{}, lost
			}
			if found {
				r.cancel(ctx, p.s)
				return d, nil
			}
		}
		if mute > silentTries {
			return store.Descriptor{}, err
		}
		// First the pause: what is still on its way to the registry counts.
		if err := pause(ctx, try); err != nil {
			return store.Descriptor{}, err
		}
		// One that has said that it has everything, and is silent at the end, would
		// be as silent had it everything again: it is only asked to end once more.
		if d.Digest == "" || !silent(err) {
			n := p.at
			if p.goOn(ctx, err); p.at > n {
				mute = 0
			}
		}
		if p.at > furthest {
			try, furthest = -1, p.at
		}
		if try >= r.retries() {
			return store.Descriptor{}, err
		}
		text := err.Error()
		if p.at > 0 {
			text = fmt.Sprintf("%s; going on after %d bytes", text, p.at)
		}
		r.client.opts.Events.Emit(store.Event{Kind: store.Retrying, Desc: b.Descriptor, Name: store.NameOf(b.Descriptor), Text: text})
	}
}

// leave ends the upload with the error that it came to. What another process can
// go on with stays at the registry; anything else is given up.
func (p *patching) leave(ctx context.Context, err error) {
	if p.in != nil {
		p.in.stop()
		p.in.Close()
	}
	stays := err != nil && (ctx.Err() != nil || outside(err))
	if p.note.end(stays) {
		return
	}
	if err != nil {
		p.cancel(ctx, p.s)
	}
}

// outside says that err is not about the upload or its content, but about the way to
// the registry, about who asks, or about the disk that the content is read from: when
// that is mended, the upload can be gone on with.
func outside(err error) bool {
	var disk *fs.PathError
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnauthorized) ||
		errors.Is(err, store.ErrDenied) || errors.As(err, &disk)
}

// mayGoOn says whether the upload may succeed after err, in this session or
// another. A refusal of what was gone on with is one of going on: from zero it
// may be taken. Else it is one of the request, or of the content.
func (p *patching) mayGoOn(ctx context.Context, err error) bool {
	if p.resumed {
		return mayTryAgain(ctx, err) || ctx.Err() == nil && !p.doubt && errors.Is(err, store.ErrRefused)
	}
	if p.at > 0 {
		return mayTryAgain(ctx, err)
	}
	choice, _ := chooseChunked(err, p.blob.Digest != "")
	if !p.lost && statusOf(err, http.StatusNotFound) != nil {
		// A session gets lost now and then. That there is no PATCH shows in a second.
		choice, p.lost = "", true
	}
	return choice == "" && mayTryAgain(ctx, err)
}

// goOn prepares the next try after err: from what the registry has, as far as
// that is clear and of use, else from zero.
func (p *patching) goOn(ctx context.Context, err error) {
	most := p.blob.Size // what another process has sent may still be on its way, and was not read here
	if p.in != nil {
		p.read = p.in.stop()
	}
	if !p.inherited {
		most = p.read.size
	}
	misplaced := p.at > 0 && statusOf(err, http.StatusRequestedRangeNotSatisfiable) != nil
	if !misplaced && !errors.Is(err, store.ErrUnavailable) {
		p.doubt = p.doubt || p.resumed && statusOf(err, http.StatusNotFound) == nil // a session may get lost
		p.restart(ctx)
		return
	}
	if p.doubt || p.puts > 1 {
		p.restart(ctx)
		return
	}
	n, err := p.settled(ctx, most)
	p.doubt = misplaced && n == p.at
	if err != nil || p.doubt || n < p.at || n > most {
		p.restart(ctx)
		return
	}
	p.at, p.resumed = n, true
}

// restart gives the session up: the next try begins with a new one.
func (p *patching) restart(ctx context.Context) {
	p.cancel(ctx, p.s)
	if p.in != nil {
		p.in.stop()
	}
	p.s, p.at, p.marks, p.read, p.puts = nil, 0, newMarks(p.blob.Size), prefix{}, 0
	p.resumed, p.inherited = false, false
	p.note.forget()
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
		return 0, errUnclear
	}
	if err := p.move(resp); err != nil {
		return 0, err
	}
	p.known.learn(store.AbilityUploadResume, store.Yes, answered(req, resp, "Range"))
	return n, nil
}

// errUnclear: the upload may have nothing yet, or be one whose progress is not told.
var errUnclear = fmt.Errorf("%w: the registry does not say how much it has", store.ErrInvalid)

// settled is progress once it grows no more: a connection that broke may have left
// bytes behind that a busy registry still reads. To ask again is cheaper than to send
// them again, and be refused for it. At most so many can come.
func (p *patching) settled(ctx context.Context, most int64) (n int64, err error) {
	for ask, had := 0, int64(-1); ask < mostAsks; ask++ {
		n, err = p.progress(ctx)
		if err != nil && !errors.Is(err, errUnclear) || n == most || n <= had || waitFor(ctx, settleTime) != nil {
			break
		}
		had = n
	}
	return n, err
}

// settled asks again after so long, and so often.
const (
	settleTime = 100 * time.Millisecond
	mostAsks   = 20
)

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
		next.least = max(next.least, p.s.least)
		p.s = next
		p.note.at(next.url)
	}
	return err
}

// once sends what the registry does not have yet. The descriptor has a digest
// once everything was sent; own says that the error is the source's, not the
// registry's, or that the upload was not even opened: that was tried as often as
// it may be.
func (p *patching) once(ctx context.Context) (d store.Descriptor, own bool, err error) {
	if err := p.ready(ctx); err != nil {
		return d, true, err
	}
	for !p.in.wholeAt(p.at) {
		if own, err := p.patch(ctx); err != nil {
			return d, own, err
		}
	}
	d = p.blob.Descriptor
	d.Digest, d.Size = p.in.sum()
	p.puts++
	return d, false, p.finish(ctx, p.s, d, nil)
}

// ready opens the session and the content, each unless it is open, at once.
func (p *patching) ready(ctx context.Context) (err error) {
	opened := make(chan error, 1)
	if p.in != nil && (p.in.openAt(p.at) || p.in.wholeAt(p.at)) {
		opened <- nil
	} else {
		go func() { opened <- p.open(ctx) }()
	}
	if p.s == nil {
		if p.s, err = p.start(ctx, algorithmOf(p.blob.Descriptor)); err == nil {
			p.note.at(p.s.url)
		}
	}
	if own := <-opened; err == nil {
		err = own
	}
	return err
}

// patch sends content from p.at on: all of it, or a step. The last chunk may be
// shorter than OCI-Chunk-Min-Length (distribution-spec "Pushing a blob in chunks").
func (p *patching) patch(ctx context.Context) (own bool, err error) {
	patch := call{
		Request: p.request(wire.UploadChunk), Location: p.s.url, Header: octets(), Length: p.blob.Size, Once: true,
		Want: []int{http.StatusAccepted, http.StatusCreated, http.StatusNoContent},
	}
	// With its range the PATCH is a chunk as the spec has it; without a size it
	// is a stream, which registries take too.
	if p.blob.Size > 0 {
		patch.Length -= p.at
		if p.step > 0 {
			patch.Length = min(patch.Length, max(p.step, p.s.least))
		}
		patch.Header.Set("Content-Range", fmt.Sprintf("%d-%d", p.at, p.at+patch.Length-1))
	}
	var sent *stretch
	src := &content{open: func(ctx context.Context) (io.ReadCloser, error) {
		if sent != nil { // to be sent again, because the registry wants to know who asks
			// The transport may be reading still, and is not to be blamed for it.
			go sent.closeAfter()
			p.in = nil
			if err := p.open(ctx); err != nil {
				return nil, err
			}
		}
		sent = newStretch(p.in, patch.Length)
		return sent, nil
	}}
	resp, err := p.client.do(ctx, src.call(ctx, patch))
	if err == nil {
		resp.Body.Close()
		err = sent.wait(ctx)
	}
	if e := src.failed(); e != nil {
		return true, e
	}
	if err != nil {
		return false, err
	}
	// An answer that came before everything was read is none: that part has to be sent again.
	if n := p.in.read(); patch.Length >= 0 && n != p.at+patch.Length || patch.Length < 0 && !p.in.wholeAt(n) {
		return false, fmt.Errorf("%w: the registry answered before it had all of the blob", store.ErrUnavailable)
	}
	p.at = p.in.read()
	p.known.learn(store.AbilityChunked, store.Yes, answered(patch.Request, resp, ""))
	return false, p.move(resp)
}

// open opens the content at p.at. For its hash it is read from the last mark
// before that, where a digest proves the whole. Else it is read from its first
// byte on: it must be the same content as before, and no digest would tell.
func (p *patching) open(ctx context.Context) error {
	at := p.at
	if p.blob.Digest == "" {
		at = 0
	}
	p.marks = p.marks.upTo(at)
	from := p.marks.last().At
	if p.in != nil {
		p.in.Close()
	}
	rc, err := p.blob.Open(ctx, from)
	if err != nil {
		return err
	}
	in, err := newHashing(rc, p.blob.Descriptor, p.marks)
	if err != nil {
		rc.Close()
		return err
	}
	if p.blob.Digest == "" {
		in.before = p.read
	}
	if p.note != nil {
		in.marked = func(m *marks) { p.note.keep(p.blob.Size, m) }
	}
	if _, err := io.CopyN(io.Discard, in, p.at-from); err != nil {
		in.Close()
		if errors.Is(err, io.EOF) {
			err = errOtherContent
		}
		return err
	}
	p.in = in
	return nil
}

// errOtherContent: the registry has the beginning of one content, and the
// source now holds another.
var errOtherContent = fmt.Errorf("%w: another content than at the try before", store.ErrChanged)
