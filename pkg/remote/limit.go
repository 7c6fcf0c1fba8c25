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
//
// A registry that has all of a body may be silent for longer: it answers when
// the content is hashed and moved, and to give up means to send it all again,
// which ends the same way.
type limit struct {
	next   http.RoundTripper
	stall  time.Duration // below 0 is for ever
	commit time.Duration // instead of stall while the registry stores; below 0 is for ever

	secrets *secrets // which errors of the connection may repeat
}

func (l *limit) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watch{ctx: ctx, cancel: cancel, stall: l.stall, commit: l.stall}
	if tripOf(req).stores && l.stall >= 0 && (l.commit < 0 || l.commit > l.stall) {
		w.commit = l.commit
	}
	out := req.Clone(ctx)
	if out.Body != nil && out.Body != http.NoBody {
		out.Body = &sending{body: req.Body, w: w}
		if open := req.GetBody; open != nil { // net/http sends again what a connection that died took nothing of
			out.GetBody = func() (io.ReadCloser, error) {
				body, err := open()
				if err != nil {
					return nil, err
				}
				return &sending{body: body, w: w}, nil
			}
		}
	} else {
		w.sent = true
	}
	w.arm(true)
	resp, err := l.next.RoundTrip(out)
	w.answer()
	if err != nil {
		err = clean(l.secrets.with(req.URL), w.cause(err))
		cancel(nil)
		return nil, err
	}
	if resp.Body == nil || resp.Body == http.NoBody {
		cancel(nil)
		return resp, nil
	}
	resp.Body = &receiving{body: resp.Body, w: w, clean: func(err error) error { return clean(l.secrets.with(req.URL), err) }}
	return resp, nil
}

// watch cancels a request when its timer, armed while the other side has the
// word, runs out.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration // while bytes flow; below 0 is for ever
	commit time.Duration // from the last byte of the request to the answer; the same

	mu       sync.Mutex
	timer    *time.Timer
	late     stallError // what the timer, when it runs out, says
	sent     bool       // the request was read to its end
	answered bool
}

// arm starts the timer; sending says that this is about the request, which is
// over once the answer has begun.
func (w *watch) arm(sending bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if sending && w.answered {
		return
	}
	w.late = stallError{after: w.stall}
	if sending && w.sent {
		w.late = stallError{after: w.commit, sent: true}
	}
	switch {
	case w.late.after < 0:
		if w.timer != nil {
			w.timer.Stop()
		}
	case w.timer == nil:
		w.timer = time.AfterFunc(w.late.after, w.expire)
	default:
		w.timer.Reset(w.late.after)
	}
}

func (w *watch) expire() {
	w.mu.Lock()
	late := w.late
	w.mu.Unlock()
	w.cancel(&late)
}

// end notes that the request was read to its end: what follows is the other
// side's work.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = true
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

// stallError is a connection that was silent for too long.
type stallError struct {
	after time.Duration
	sent  bool // the other side had all of the request
}

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
	n, err := s.body.Read(p)
	if err != nil {
		s.w.end() // the last bytes are on their way: the transport reads ahead by no more than its buffer
	}
	return n, err
}

func (s *sending) Close() error { return s.body.Close() }

// receiving is an answer's body. A break is ErrUnavailable: the rest may be
// had with another request.
type receiving struct {
	body  io.ReadCloser
	w     *watch
	clean func(error) error
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
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, r.clean(err))
	}
	return n, err
}

func (r *receiving) Close() error {
	err := r.body.Close()
	r.w.disarm(false)
	r.w.cancel(nil)
	return err
}
