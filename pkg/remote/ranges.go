package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// ranging says when a blob is fetched in several ranges at a time, and how.
// Many stores and proxies give one connection a share of the link.
type ranging struct {
	from   int64 // blobs with fewer bytes left come in one stream
	first  int64 // bytes of the first range, by which the connection is measured
	size   int64 // bytes of every other
	enough int64 // bytes a second that one stream brings alone: more streams would bring no more
}

// The ranges of a client. All its blobs share the buffers, 12 MiB, so that memory
// does not grow with blobs or their sizes. Of that much room many small ranges make
// more than few large ones: each connection waits a round trip for the next.
const (
	rangesFrom   = 32 << 20
	firstRange   = 1 << 20
	rangeSize    = 3 << 19
	rangeBuffers = 8
	oneIsEnough  = 128 << 20
)

// collectEvery is after how many ranges of a blob Options.Collect is called: each
// leaves some 7 KB.
const collectEvery = 64

func defaultRanging() ranging {
	return ranging{from: rangesFrom, first: firstRange, size: rangeSize, enough: oneIsEnough}
}

// buffers are the room for ranges that arrive before they are read.
type buffers struct {
	size int64
	free chan []byte // nil stands for one that was never used
}

func newBuffers(size int64, n int) *buffers {
	b := &buffers{size: size, free: make(chan []byte, n)}
	for range n {
		b.free <- nil
	}
	return b
}

// take gives a buffer, or false where all are in use.
func (b *buffers) take() ([]byte, bool) {
	select {
	case buf := <-b.free:
		if buf == nil {
			buf = make([]byte, b.size)
		}
		return buf, true
	default:
		return nil, false
	}
}

func (b *buffers) give(buf []byte) { b.free <- buf[:cap(buf)] }

// ranged reads a blob in order from ranges that are fetched ahead of the
// reader. On any doubt about a range it goes on as one stream, from where the
// reader is.
type ranged struct {
	ctx  context.Context
	repo *repository
	desc store.Descriptor

	ranges context.Context // of the requests for ranges; within ctx
	stop   context.CancelFunc

	at      int64  // where the reader is
	current *piece // what it reads; nil between ranges
	unread  []byte // of current

	next  int64    // where the next range to be asked for begins
	done  int      // ranges that were read
	ahead []*piece // ranges under way and arrived, in order

	etag string    // of the first range: the others must be of the same content
	one  *resuming // the rest in one stream; nil while ranges are read

	mu  sync.Mutex
	via *url.URL // where the registry redirected to last; nil is the registry itself
}

// piece is one range of a blob.
type piece struct {
	from, to int64 // to is behind the last byte
	buf      []byte
	arrived  chan struct{} // closed when the part is there, or err is set
	err      error
	took     time.Duration // to read it
}

// openRanged opens a large blob at an offset in ranges. It gives nil where that
// is not worth it, or not possible.
func (r *repository) openRanged(ctx context.Context, d store.Descriptor, offset int64) (io.ReadCloser, error) {
	if d.Size-offset < r.client.ranging.from || r.known.of(store.AbilityRanges) == store.No ||
		r.client.pace.ranges(r.client.base) == 1 {
		return nil, nil
	}
	buf, ok := r.client.buffers.take()
	if !ok {
		return nil, nil
	}
	ranges, stop := context.WithCancel(ctx)
	first := newPiece(offset, offset+r.client.ranging.first, buf)
	resp, err := r.getPart(ranges, d, first.from, first.to, nil)
	if err != nil || !isPart(resp, first.from, first.to, d.Size) {
		r.client.buffers.give(buf)
		if err == nil {
			r.known.learn(store.AbilityRanges, store.No, answered(r.blobGet(d), resp, "Content-Range"))
			if resp.StatusCode == http.StatusOK && resp.ContentLength == d.Size {
				// The whole from its first byte on, which is as good.
				return &resuming{ctx: ctx, repo: r, desc: d, rc: stopping{resp.Body, stop}, skip: offset, at: offset}, nil
			}
			resp.Body.Close()
		}
		stop()
		if err != nil && !aboutRange(err) {
			return nil, err
		}
		return nil, nil // one stream will show what is wrong, if anything is
	}
	r.known.learn(store.AbilityRanges, store.Yes, answered(r.blobGet(d), resp, "Content-Range"))
	b := &ranged{
		ctx: ctx, repo: r, desc: d, ranges: ranges, stop: stop, at: offset,
		next: first.to, ahead: []*piece{first}, etag: resp.Header.Get("ETag"),
	}
	b.cameFrom(resp)
	go b.fill(first, resp)
	return b, nil
}

// aboutRange says whether the whole may be had although a range was refused. Where
// nobody answered, or there was too much to do, as many tries were made as may be.
func aboutRange(err error) bool {
	refusal := statusOf(err)
	switch {
	case refusal == nil, errors.Is(err, store.ErrUnauthorized):
		return false
	case refusal.Status == http.StatusInternalServerError: // who stumbles over a Range says this
		return true
	}
	return !errors.Is(err, store.ErrUnavailable)
}

// stopping is a body that ends the context of its request when it is closed.
type stopping struct {
	io.ReadCloser
	stop context.CancelFunc
}

func (s stopping) Close() error {
	defer s.stop()
	return s.ReadCloser.Close()
}

func newPiece(from, to int64, buf []byte) *piece {
	return &piece{from: from, to: to, buf: buf[:to-from], arrived: make(chan struct{})}
}

func (r *repository) blobGet(d store.Descriptor) wire.Request {
	req := r.request(wire.BlobGet)
	req.Digest = d.Digest
	return req
}

// getPart asks for the bytes from `from` to before `to`: of the registry, or of
// the place that it redirected an earlier request to.
func (r *repository) getPart(ctx context.Context, d store.Descriptor, from, to int64, via *url.URL) (*http.Response, error) {
	return r.client.do(ctx, call{
		Request: r.blobGet(d), Location: via, Expect: to - from, Part: true,
		Header: http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", from, to-1)}},
		Want:   []int{http.StatusOK, http.StatusPartialContent},
	})
}

// isPart says whether an answer holds exactly the bytes that were asked for
// (RFC 9110 §14.4 and §15.3.7).
func isPart(resp *http.Response, from, to, size int64) bool {
	if resp.StatusCode != http.StatusPartialContent || resp.ContentLength >= 0 && resp.ContentLength != to-from {
		return false
	}
	first, last, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	return ok && first == from && last == to-1 && (total == size || total < 0)
}

func (b *ranged) Read(p []byte) (int, error) {
	for len(b.unread) == 0 {
		if b.one != nil {
			return b.one.Read(p)
		}
		b.release()
		if b.at == b.desc.Size {
			return 0, io.EOF
		}
		if err := b.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.unread)
	b.unread = b.unread[n:]
	b.at += int64(n)
	return n, nil
}

// release gives the buffer of what was read back.
func (b *ranged) release() {
	if b.current == nil {
		return
	}
	b.repo.client.buffers.give(b.current.buf)
	b.current = nil
	b.done++
	if collect := b.repo.client.opts.Collect; collect != nil && b.done%collectEvery == 0 {
		collect()
	}
}

// advance goes to the next range, or to one stream for the rest.
func (b *ranged) advance() error {
	if len(b.ahead) == 0 {
		b.askAhead()
	}
	if len(b.ahead) == 0 { // other blobs have all the buffers
		b.asOne()
		return nil
	}
	head := b.ahead[0]
	<-head.arrived
	switch {
	case b.ctx.Err() != nil:
		return context.Cause(b.ctx)
	case head.err != nil:
		b.asOne()
		return nil
	}
	b.ahead = b.ahead[1:]
	b.current, b.unread = head, head.buf
	if len(b.ahead) == 0 && head.to < b.desc.Size && (b.fast(head) || b.most() == 1) {
		b.one = &resuming{ctx: b.ctx, repo: b.repo, desc: b.desc, at: head.to}
		return nil
	}
	b.askAhead() // before the reader is at work on this one
	return nil
}

// fast says that a single connection brings as much as can be used.
func (b *ranged) fast(p *piece) bool {
	return float64(p.to-p.from) >= p.took.Seconds()*float64(b.repo.client.ranging.enough)
}

// most is how many ranges may be asked for at once where they come from.
func (b *ranged) most() int {
	if via := b.place(); via != nil {
		return b.repo.client.pace.ranges(via)
	}
	return b.repo.client.pace.ranges(b.repo.client.base)
}

// askAhead asks for as many ranges as there may be and are buffers for.
func (b *ranged) askAhead() {
	for most := b.most(); b.next < b.desc.Size && len(b.ahead) < most; {
		buf, ok := b.repo.client.buffers.take()
		if !ok {
			return
		}
		p := newPiece(b.next, min(b.next+b.repo.client.ranging.size, b.desc.Size), buf)
		b.next = p.to
		b.ahead = append(b.ahead, p)
		go b.fill(p, nil)
	}
}

// asOne gives the ranges up and goes on in one stream, which has retries and
// doubts of its own.
func (b *ranged) asOne() {
	b.drop()
	b.one = &resuming{ctx: b.ctx, repo: b.repo, desc: b.desc, at: b.at}
}

// drop ends the requests, waits until nothing writes to the buffers any more,
// and gives them back.
func (b *ranged) drop() {
	b.stop()
	for _, p := range b.ahead {
		<-p.arrived
		b.repo.client.buffers.give(p.buf)
	}
	b.ahead = nil
}

// Close ends all requests.
func (b *ranged) Close() error {
	b.drop()
	b.unread = nil
	b.release()
	if b.one != nil {
		return b.one.Close()
	}
	b.one = &resuming{err: io.ErrClosedPipe}
	return nil
}

// fill reads a range into its buffer, and goes on where a connection breaks.
// resp is the answer to the first request, nil where there was none.
func (b *ranged) fill(p *piece, resp *http.Response) {
	defer close(p.arrived)
	from := p.from
	var cuts cuts
	for {
		if resp == nil {
			if resp, p.err = b.ask(from, p.to); p.err != nil {
				return
			}
		}
		begun := b.repo.client.opts.Now()
		n, err := io.ReadFull(resp.Body, p.buf[from-p.from:])
		took := b.repo.client.opts.Now().Sub(begun)
		p.took += took
		resp.Body.Close()
		resp = nil
		from += int64(n)
		if from == p.to {
			return
		}
		cuts.note(int64(n), took)
		if b.ranges.Err() != nil || cuts.empty > b.repo.retries() {
			p.err = broken(err)
			return
		}
		b.repo.client.opts.Events.Emit(store.Event{
			Kind: store.Retrying, Desc: b.desc, Name: store.NameOf(b.desc),
			Text: fmt.Sprintf("the transfer of the bytes %d to %d broke off after %d: %s", p.from, p.to-1, from-p.from, err),
		})
		if p.err = cuts.wait(b.ranges); p.err != nil {
			return
		}
	}
}

// ask asks for a range and takes no other. Where the registry redirects to may
// be known for a while only: what is refused there is asked for anew.
func (b *ranged) ask(from, to int64) (*http.Response, error) {
	via := b.place()
	resp, err := b.repo.getPart(b.ranges, b.desc, from, to, via)
	if via != nil && statusOf(err) != nil {
		if resp, err = b.repo.getPart(b.ranges, b.desc, from, to, nil); err == nil {
			b.cameFrom(resp)
		}
	}
	if err != nil {
		return nil, err
	}
	if !isPart(resp, from, to, b.desc.Size) || resp.Header.Get("ETag") != b.etag {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: %s did not answer with the range that was asked for", store.ErrRange, b.repo.client.host)
	}
	return resp, nil
}

// cameFrom notes where the registry redirected to, if it did.
func (b *ranged) cameFrom(resp *http.Response) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.via = nil
	if !sameOrigin(resp.Request.URL, b.repo.client.base) {
		b.via = resp.Request.URL
	}
}

// place is where ranges are asked for, nil for the registry itself.
func (b *ranged) place() *url.URL {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.via
}
