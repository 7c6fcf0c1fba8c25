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

// limit ends a request whose connection is silent for too long: while the body
// is sent, before the answer's headers, and while its body is read. Time that
// our own side takes, to make bytes or to use them, does not count.
type limit struct {
	next  http.RoundTripper
	stall time.Duration // below 0 is for ever
}

func (l *limit) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watch{ctx: ctx, cancel: cancel, stall: l.stall}
	out := req.Clone(ctx)
	if out.Body != nil && out.Body != http.NoBody {
		out.Body = &sending{body: req.Body, w: w}
	}
	w.arm(true)
	resp, err := l.next.RoundTrip(out)
	w.answer()
	if err != nil {
		err = w.cause(err)
		cancel(nil)
		return nil, err
	}
	if resp.Body == nil || resp.Body == http.NoBody {
		cancel(nil)
		return resp, nil
	}
	resp.Body = &receiving{body: resp.Body, w: w}
	return resp, nil
}

// watch cancels a request when its timer, armed while the other side has the
// word, runs out.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration

	mu       sync.Mutex
	timer    *time.Timer
	answered bool
}

// arm starts the timer; sending says that this is about the request, which is
// over once the answer has begun.
func (w *watch) arm(sending bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stall < 0 || sending && w.answered:
	case w.timer == nil:
		w.timer = time.AfterFunc(w.stall, func() { w.cancel(&stallError{w.stall}) })
	default:
		w.timer.Reset(w.stall)
	}
}

func (w *watch) disarm(sending bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil && !(sending && w.answered) {
		w.timer.Stop()
	}
}

func (w *watch) answer() {
	w.disarm(false)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = true
}

// cause is why the connection broke: a stall shows as a cancelled context.
func (w *watch) cause(err error) error {
	var stall *stallError
	if errors.As(context.Cause(w.ctx), &stall) {
		return stall
	}
	return err
}

type stallError struct{ after time.Duration }

func (e *stallError) Error() string {
	return fmt.Sprintf("%v: no byte for %v", store.ErrUnavailable, e.after)
}
func (e *stallError) Unwrap() error { return store.ErrUnavailable }

// sending is a request's body. The transport reads it when it can send more,
// so from one read to the next the other side must take what was read.
type sending struct {
	body io.ReadCloser
	w    *watch
}

func (s *sending) Read(p []byte) (int, error) {
	s.w.disarm(true)
	defer s.w.arm(true)
	return s.body.Read(p)
}

func (s *sending) Close() error { return s.body.Close() }

// receiving is an answer's body. A break is ErrUnavailable: the rest may be
// had with another request.
type receiving struct {
	body io.ReadCloser
	w    *watch
}

func (r *receiving) Read(p []byte) (int, error) {
	r.w.arm(false)
	n, err := r.body.Read(p)
	r.w.disarm(false)
	if err == nil || err == io.EOF {
		return n, err
	}
	var stall *stallError
	switch cause := r.w.cause(err); {
	case errors.As(cause, &stall):
		err = cause
	case r.w.ctx.Err() != nil:
		err = context.Cause(r.w.ctx)
	default:
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return n, err
}

func (r *receiving) Close() error {
	err := r.body.Close()
	r.w.disarm(false)
	r.w.cancel(nil)
	return err
}
