package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// PutBlob uploads or mounts a blob. The same digest is uploaded once, also by
// several goroutines. What the bytes are is proven while they are sent, so
// that content which is not what it claims never completes.
func (r *repository) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	if b.Digest == "" {
		return r.putUnnamed(ctx, b)
	}
	if err := store.CheckDigest(b.Digest); err != nil {
		return store.Put{}, err
	}
	unlock, err := r.flights.lock(ctx, b.Digest)
	if err != nil {
		return store.Put{}, err
	}
	defer unlock()
	put := store.Put{Descriptor: b.Descriptor, How: store.Present}
	// Another size than the one that was put is a lie, which reading will show.
	if size, done := r.flights.has(b.Digest); done && (b.Size == size || b.Size < 0) {
		put.Size = size
		return put, nil
	}
	if b.Size < 0 {
		if b, err = measure(ctx, b); err != nil {
			return store.Put{}, err
		}
		put.Size = b.Size
	}
	if put.How, err = r.putNamed(ctx, b); err != nil {
		return store.Put{}, err
	}
	r.flights.add(b.Descriptor)
	r.client.homes.add(b.Digest, b.Size, r.name)
	return put, nil
}

// flights are the uploads under way, locked by digest, and those done.
type flights struct {
	locks
	mu   sync.Mutex
	done map[digest.Digest]int64 // with their sizes
}

func (f *flights) has(d digest.Digest) (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size, ok := f.done[d]
	return size, ok
}

func (f *flights) add(d store.Descriptor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done == nil {
		f.done = map[digest.Digest]int64{}
	}
	f.done[d.Digest] = d.Size
}

func (f *flights) forget(d digest.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.done, d)
}

// putNamed brings a blob of known digest and size into the repository with as
// few requests as the registry allows.
func (r *repository) putNamed(ctx context.Context, b store.Blob) (store.How, error) {
	from, given := r.homeOf(b)
	var s *session
	other := from != "" && from != r.name && r.claims.believed()
	if other {
		mounted, opened, err := r.mount(ctx, b.Digest, from, given)
		if err != nil {
			return "", err
		}
		if mounted {
			r.claims.add(b)
			return store.Mounted, nil
		}
		s = opened
	}
	if b.Size <= smallBlob {
		if from == r.name {
			if found, err := r.looksFor(ctx, b.Descriptor); err != nil || found {
				return store.Present, err
			}
		}
		// A registry that refuses to mount would refuse the question as well.
		return r.putSmall(ctx, b, s, func() (bool, error) {
			if s != nil || from != "" || !r.claims.believed() {
				return false, nil
			}
			return r.asksFirst(ctx)
		})
	}
	// Many bytes are worth a question. After a mount that was not done the blob
	// may still be here.
	if found, err := r.hasBlob(ctx, b.Descriptor); err != nil || found {
		r.cancel(ctx, s)
		return store.Present, err
	}
	return store.Sent, r.deliver(ctx, b, s)
}

// putSmall puts a blob that fits into memory. In memory the bytes are proven
// before the first of them is sent, and can be sent again.
func (r *repository) putSmall(ctx context.Context, b store.Blob, s *session, asks func() (bool, error)) (store.How, error) {
	first, err := asks()
	if err != nil {
		return "", err
	}
	if !first { // whatever comes of it, others may be waiting for that
		defer r.asks.change(func() { r.asks.tried = true })
	}
	if first {
		found, opened, err := r.ask(ctx, b.Digest)
		if err != nil {
			return "", err
		}
		if found {
			r.claims.add(b)
			return store.Present, nil
		}
		s = opened
	}
	raw, err := store.ReadBlob(ctx, b, smallBlob)
	if err != nil {
		r.cancel(ctx, s)
		return "", err
	}
	small := store.NewBlob(b.MediaType, raw)
	small.Descriptor = b.Descriptor
	pinned := r.client.opts.ChunkSize > 0 && b.Size > r.client.opts.ChunkSize
	if s != nil || pinned || r.singlePost() == store.No {
		return store.Sent, r.deliver(ctx, small, s)
	}
	return store.Sent, r.post(ctx, small)
}

// post sends bytes in memory: one POST where the registry takes that, else POST
// and PUT.
func (r *repository) post(ctx context.Context, b store.Blob) error {
	src := &content{open: func(ctx context.Context) (io.ReadCloser, error) { return b.Open(ctx, 0) }}
	req := r.request(wire.UploadSingle)
	req.Digest = b.Digest
	resp, err := r.client.do(ctx, src.call(ctx, call{
		Request: req, Header: octets(), Length: b.Size, Want: []int{http.StatusCreated, http.StatusAccepted},
	}))
	var s *session
	evidence := store.Evidence{}
	if err == nil {
		defer resp.Body.Close()
		evidence = answered(req, resp, "")
		if resp.StatusCode == http.StatusCreated {
			r.learnPost(store.Yes, evidence)
			return checkDigestHeader(resp, b.Digest)
		}
		if s, err = r.session(resp); err != nil {
			return err
		}
	} else if e := statusOf(err); e != nil {
		evidence = refused(req, e)
	}
	choice, reason := chooseUpload(err)
	if choice == "" {
		return err
	}
	r.learnPost(store.No, evidence)
	r.fallback(choice, reason)
	return r.deliver(ctx, b, s)
}

// chooseUpload decides what follows a POST with digest and body that did not
// store the blob (distribution-spec "Single POST"); "" is to fail.
func chooseUpload(err error) (choice, reason string) {
	if err == nil {
		return "post-put", "the registry does not store a blob by one POST: it answered 202 and opened an upload"
	}
	e := statusOf(err, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusLengthRequired,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusNotImplemented)
	if e != nil {
		return "post-put", fmt.Sprintf("the registry does not store a blob by one POST: it answered %d", e.Status)
	}
	return "", ""
}

// session is an upload that the registry opened.
type session struct {
	url   *url.URL // Location, to be used as it is
	least int64    // OCI-Chunk-Min-Length: what a chunk must have, but for the last
}

// session reads the Location of an answer (distribution-spec "Pushing blobs").
func (r *repository) session(resp *http.Response) (*session, error) {
	u, err := r.client.resolve(resp.Header.Get("Location"), resp)
	if err != nil {
		return nil, err
	}
	least, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64)
	if err != nil {
		least = 0 // absent, or no number
	}
	return &session{u, least}, nil
}

// start opens an upload.
func (r *repository) start(ctx context.Context, alg digest.Algorithm) (*session, error) {
	req := r.request(wire.UploadStart)
	if alg != digest.Canonical { // so that the registry hashes with the right one
		req.Algorithm = alg.String()
	}
	resp, err := r.client.do(ctx, call{Request: req, Want: []int{http.StatusAccepted}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return r.session(resp)
}

// send puts the content into an upload: into s, or a new one where that is nil
// or failed. Whether a failed PUT stored the blob after all is asked first, and
// before the upload is given up: the registry may still be at work on it.
func (r *repository) send(ctx context.Context, d store.Descriptor, src *content, s *session) (err error) {
	mute := 0 // tries that were not answered
	for try := 0; ; try++ {
		if s == nil {
			if s, err = r.start(ctx, d.Digest.Algorithm()); err != nil {
				return err
			}
		}
		err = r.finish(ctx, s, d, src)
		if err == nil {
			return nil
		}
		if src.failed() != nil || !mayTryAgain(ctx, err) {
			r.cancel(ctx, s)
			return err
		}
		found, lost := r.hasBlob(ctx, d)
		r.cancel(ctx, s)
		if lost != nil || found {
			return lost
		}
		s = nil
		if silent(err) {
			mute++
		}
		if try >= r.retries() || mute > silentTries {
			return err
		}
		r.client.opts.Events.Emit(store.Event{Kind: store.Retrying, Desc: d, Name: store.NameOf(d), Text: err.Error()})
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// finish closes an upload with PUT; src is what is left to send, nil for nothing.
func (r *repository) finish(ctx context.Context, s *session, d store.Descriptor, src *content) error {
	req := r.request(wire.UploadFinish)
	req.Digest = d.Digest
	// Once: a session that got half of a body cannot be trusted with another.
	put := call{Request: req, Location: s.closing(d.Digest), Once: true, Want: []int{http.StatusCreated, http.StatusNoContent, http.StatusOK}}
	if src != nil {
		put.Header, put.Length = octets(), d.Size
		put = src.call(ctx, put)
	}
	resp, err := r.client.do(ctx, put)
	if src != nil && src.failed() != nil {
		if err == nil {
			resp.Body.Close()
		}
		return src.failed() // the registry's answer is only an echo of it
	}
	if err != nil {
		return err
	}
	resp.Body.Close()
	if d.Digest.Algorithm() == digest.SHA512 && headerDigest(resp) == d.Digest {
		r.known.learn(store.AbilitySHA512, store.Yes, answered(req, resp, "Docker-Content-Digest"))
	}
	return checkDigestHeader(resp, d.Digest)
}

// closing is the Location with the digest after its own query.
func (s *session) closing(d digest.Digest) *url.URL {
	u := *s.url
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += "digest=" + url.QueryEscape(d.String())
	return &u
}

// cancel gives an upload up, nil too. That it fails changes nothing
// (distribution-spec end-14), and it must not hold up an interrupt.
func (r *repository) cancel(ctx context.Context, s *session) {
	if s == nil {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer stop()
	resp, err := r.client.do(ctx, call{Request: r.request(wire.UploadCancel), Location: s.url, Once: true})
	if err == nil {
		resp.Body.Close()
	}
}

const cancelTimeout = time.Second

// hasBlob says whether the blob is in the repository with the size that d says.
// Another size is no answer: the content has to prove itself.
func (r *repository) hasBlob(ctx context.Context, d store.Descriptor) (bool, error) {
	req := r.request(wire.BlobHead)
	req.Digest = d.Digest
	resp, err := r.client.do(ctx, call{Request: req, Want: []int{http.StatusOK}})
	switch {
	case statusOf(err, http.StatusNotFound, http.StatusMethodNotAllowed) != nil:
		return false, nil
	case err != nil:
		return false, err
	}
	resp.Body.Close()
	return resp.ContentLength == d.Size && checkDigestHeader(resp, d.Digest) == nil, nil
}

// mayTryAgain: a new upload may succeed where this one failed. A session that
// is gone is such a case.
func mayTryAgain(ctx context.Context, err error) bool {
	if e := refusalOf(err); e != nil && e.tooLong {
		return false
	}
	return ctx.Err() == nil && (errors.Is(err, store.ErrUnavailable) ||
		statusOf(err, http.StatusNotFound, http.StatusConflict, http.StatusRequestedRangeNotSatisfiable) != nil)
}

// silent says that the registry had all of a request and did not answer it, for as
// long as it may take to store something.
func silent(err error) bool {
	var stall *stallError
	return errors.As(err, &stall) && stall.sent
}

// retries is how often a whole transfer starts anew.
func (r *repository) retries() int { return max(0, r.client.opts.Retries) }

// pause waits as long as between requests: longer with each try, more or less by chance.
func pause(ctx context.Context, try int) error {
	d := min(firstWait<<min(try, 10), maxWait)
	return waitFor(ctx, d/2+rand.N(d/2))
}

func octets() http.Header { return http.Header{"Content-Type": {"application/octet-stream"}} }
