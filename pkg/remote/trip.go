package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// trip is what the layers of the stack know of one call beyond its HTTP
// request. It travels in the request's context.
type trip struct {
	repo   string // whose credential is used
	scopes scopes // what the call needs to be allowed
	once   bool   // not to be retried
	stores bool   // the registry stores something before it answers
	expect int64  // bytes of the answer's body, as far as known
	part   bool   // it asks for a range that is read into memory

	// read takes in the body of a 2xx as a part of the try; nil leaves it to the caller.
	read func(*http.Response) error

	mu        sync.Mutex
	note      string // why no further try was made
	tooLong   bool   // because the registry asked for a longer wait than may be
	anonymous bool   // the registry asked for credentials and there were none
	maybeDone bool   // an earlier try got no clear answer: it may have done what it should
	source    error  // why the body could not be read on our side
}

// newTrip is the trip of a call. A PUT stores also without a body: it closes an
// upload whose bytes are there.
func newTrip(c call) *trip {
	method := c.Request.Method()
	return &trip{
		repo: c.Request.Repo, scopes: newScopes(c.Request.Scope(), c.Request.MountScope()), once: c.Once,
		stores: method == http.MethodPut || c.Body != nil, expect: c.Expect, part: c.Part,
	}
}

// takeIn reads the answer where that belongs to the try. Its body is closed then.
func (t *trip) takeIn(resp *http.Response) (*http.Response, error) {
	if t.read == nil || resp.StatusCode/100 != 2 {
		return resp, nil
	}
	err := t.read(resp)
	resp.Body.Close()
	resp.Body = http.NoBody
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return nil, fmt.Errorf("the answer broke off: %w", err)
	case err != nil:
		return nil, err
	}
	return resp, nil
}

type tripKey struct{}

func withTrip(ctx context.Context, t *trip) context.Context {
	return context.WithValue(ctx, tripKey{}, t)
}

// tripOf is never nil.
func tripOf(req *http.Request) *trip {
	if t, ok := req.Context().Value(tripKey{}).(*trip); ok {
		return t
	}
	return &trip{}
}

// blame notes that the body could not be read: no fault of the registry, and
// nothing that another try would change.
func (t *trip) blame(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.source = err
}

func (t *trip) blamed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.source
}

func (t *trip) remark(note string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note = note
}

// wontWait notes that the registry asked to wait, and that this is too long.
func (t *trip) wontWait(asked time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tooLong = asked > 0
}

// unclear notes a try that ended in a way which does not tell whether the registry
// did what it was asked for: without an answer, or with a fault of its own.
func (t *trip) unclear(resp *http.Response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.maybeDone = t.maybeDone || resp == nil || resp.StatusCode/100 == 5 && resp.StatusCode != http.StatusServiceUnavailable
}

func (t *trip) lacksCredentials() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.anonymous = true
}

// source is a body that tells its trip when it breaks or has another length
// than was announced, so that this is not taken for a fault of the network.
type source struct {
	body io.ReadCloser
	want int64 // -1 is unknown
	n    int64
	trip *trip
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	s.n += int64(n)
	switch {
	case s.want >= 0 && (s.n > s.want || err == io.EOF && s.n < s.want):
		err = fmt.Errorf("%w: %d bytes were announced, and %d read", store.ErrChanged, s.want, s.n)
		n = 0
		s.trip.blame(err)
	case err != nil && err != io.EOF:
		s.trip.blame(err)
	}
	return n, err
}

func (s *source) Close() error { return s.body.Close() }

// rewound is req with its body opened anew, for another try. The clone shares
// nothing that a layer below writes to.
func rewound(req *http.Request) (*http.Request, error) {
	out := req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return out, nil
	}
	if req.GetBody == nil {
		return nil, fmt.Errorf("%w: the body cannot be sent again", store.ErrUnavailable)
	}
	var err error
	out.Body, err = req.GetBody()
	return out, err
}

// maxDrain is how much of an unwanted body is read to keep its connection.
const maxDrain = 64 << 10

// drain ends an answer that nobody reads.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
	resp.Body.Close()
}
