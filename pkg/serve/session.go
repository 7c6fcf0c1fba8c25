package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// uploads are the upload sessions of a server.
type uploads struct {
	idle time.Duration
	max  int

	mu     sync.Mutex
	open   map[string]*session
	closed bool
	wg     sync.WaitGroup // the goroutines that feed stores
}

// session is one upload between its POST and its PUT. Chunks flow through a
// pipe into PutBlob of the store, which runs in a goroutine from the first
// chunk to the last: nothing is kept in memory or in a file of the server's.
// The store learns the digest by reading; the session hashes as well, because
// only a claim that holds may end the pipe well.
type session struct {
	id, repo string
	alg      digest.Algorithm // of hash
	ctx      context.Context  // ends when the session is dropped
	drop     context.CancelCauseFunc
	timer    *time.Timer
	busy     chan struct{} // holds one token while a request uses the session

	size atomic.Int64 // bytes that the store has taken
	// interrupt ends the body that is being read; nil while none is.
	interrupt atomic.Pointer[func()]

	// Used by the holder of the token only.
	hash  hash.Hash
	pipe  *io.PipeWriter // nil before the first chunk
	done  chan struct{}  // closed when put and err are set
	put   store.Put
	err   error
	short bool // the last chunk was under the minimum, so it has to be the last
}

// The reasons for which a session ends without a blob.
var (
	errExpired   = &apiError{status: http.StatusNotFound, code: "BLOB_UPLOAD_UNKNOWN", message: "the upload was idle for too long"}
	errCanceled  = &apiError{status: http.StatusNotFound, code: "BLOB_UPLOAD_UNKNOWN", message: "the upload was cancelled"}
	errClosing   = fmt.Errorf("%w: the server is shutting down", store.ErrUnavailable)
	errOpenTwice = fmt.Errorf("%w: the body of an upload is read once, from its beginning", store.ErrUnsupported)
)

func newUploads(idle time.Duration, limit int) *uploads {
	return &uploads{idle: idle, max: limit, open: map[string]*session{}}
}

// start opens a session.
func (u *uploads) start(repo string, alg digest.Algorithm) (*session, error) {
	ctx, drop := context.WithCancelCause(context.Background())
	s := &session{id: uuid(), repo: repo, alg: alg, ctx: ctx, drop: drop, hash: alg.Hash(), busy: make(chan struct{}, 1)}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.closed:
		return nil, errClosing
	case len(u.open) >= u.max:
		return nil, &apiError{
			status: http.StatusTooManyRequests, code: "TOOMANYREQUESTS", message: fmt.Sprintf("%d uploads are open", u.max),
			header: http.Header{"Retry-After": {"1"}},
		}
	}
	u.open[s.id] = s
	s.timer = time.AfterFunc(u.idle, func() { u.end(s, errExpired) })
	return s, nil
}

// uuid is a random UUID (RFC 9562, version 4), which the spec wants in the
// location of an upload.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// find gives an open session of the repository.
func (u *uploads) find(repo, id string) (*session, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s, ok := u.open[id]; ok && s.repo == repo {
		return s, nil
	}
	return nil, &apiError{status: http.StatusNotFound, code: "BLOB_UPLOAD_UNKNOWN", message: "no such upload"}
}

// take gives the session to one request at a time; release gives it back. A
// chunk that still comes in is cut short: a client that sends another has given
// up the connection of the first, and the server might not learn of that for
// hours.
func (u *uploads) take(ctx context.Context, repo, id string) (*session, error) {
	s, err := u.find(repo, id)
	if err != nil {
		return nil, err
	}
	if f := s.interrupt.Load(); f != nil {
		(*f)()
	}
	select {
	case s.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if _, err := u.find(repo, id); err != nil { // it ended meanwhile
		<-s.busy
		return nil, err
	}
	s.timer.Stop()
	return s, nil
}

func (u *uploads) release(s *session) {
	u.mu.Lock()
	if u.open[s.id] == s {
		s.timer.Reset(u.idle)
	}
	u.mu.Unlock()
	<-s.busy
}

// end takes the session away. What it had sent is not stored.
func (u *uploads) end(s *session, why error) {
	u.mu.Lock()
	delete(u.open, s.id)
	u.mu.Unlock()
	s.timer.Stop()
	s.drop(why)
}

func (u *uploads) close() {
	u.mu.Lock()
	u.closed = true
	all := make([]*session, 0, len(u.open))
	for _, s := range u.open {
		all = append(all, s)
	}
	u.mu.Unlock()
	for _, s := range all {
		u.end(s, errClosing)
	}
	u.wg.Wait()
}

// begin starts to feed st, which it closes in the end.
func (u *uploads) begin(s *session, st store.Store) error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return errors.Join(errClosing, st.Close())
	}
	u.wg.Add(1)
	u.mu.Unlock()
	pr, pw := io.Pipe()
	s.pipe, s.done = pw, make(chan struct{})
	// A session that is dropped ends its pipe with an error, so that the store
	// never takes what came so far for the whole.
	unwatch := context.AfterFunc(s.ctx, func() { pw.CloseWithError(context.Cause(s.ctx)) })
	go func() {
		defer u.wg.Done()
		defer close(s.done)
		defer unwatch()
		s.put, s.err = st.PutBlob(s.ctx, store.Blob{
			Descriptor: store.Descriptor{MediaType: octetStream, Size: store.UnknownSize},
			Open:       once(pr),
		})
		err := s.err
		if err == nil {
			err = io.ErrClosedPipe // a store that did not read to the end
		}
		pr.CloseWithError(err)
		s.err = errors.Join(s.err, st.Close())
	}()
	return nil
}

// once is the Open of content that cannot be read again.
func once(rc io.ReadCloser) func(context.Context, int64) (io.ReadCloser, error) {
	var used atomic.Bool
	return func(_ context.Context, offset int64) (io.ReadCloser, error) {
		if offset != 0 || used.Swap(true) {
			return nil, errOpenTwice
		}
		return rc, nil
	}
}

// write feeds the store from a request's body. What the store took counts,
// however the body ends: the client may go on from there.
func (s *session) write(r *body) error {
	buf := make([]byte, copyBuffer)
	for {
		n, err := r.Read(buf)
		m, stored := s.pipe.Write(buf[:n])
		s.hash.Write(buf[:m])
		s.size.Add(int64(m))
		switch {
		case stored != nil:
			return stored
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return r.blame(err)
		}
	}
}

// finish ends the upload under the digest that the client claims. The session
// is of no use afterwards. The store has hashed with sha256: only that and
// the session's own algorithm are proven here.
func (s *session) finish(claim digest.Digest) (store.Put, error) {
	if got := digest.NewDigest(s.alg, s.hash); claim.Algorithm() == s.alg && got != claim {
		err := fmt.Errorf("%w: expected %s, got %s", store.ErrMismatch, claim, got)
		s.pipe.CloseWithError(err)
		<-s.done
		return store.Put{}, err
	}
	s.pipe.Close()
	<-s.done
	return s.put, s.err
}
