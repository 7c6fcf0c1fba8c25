package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// visit is one request on its way to a host.
type visit struct {
	host   *host
	lane   int
	urgent bool // it takes a place without waiting for one

	sent         time.Time
	asked, mates int // requests without an answer, and under way in the lane, when it was sent
}

// enter waits until the request may be sent.
func (v *visit) enter(ctx context.Context) error {
	h := v.host
	if v.urgent {
		h.mu.Lock()
		h.admit(v.lane)
		h.mu.Unlock()
	} else if err := h.enter(ctx, v.lane); err != nil {
		return err
	}
	err := h.ready(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.wait--
		h.leave(v.lane)
		h.serve()
		return err
	}
	v.sent, v.asked, v.mates = h.now(), h.wait, h.lanes[v.lane].under
	return nil
}

// answer notes what came of the request, and says whether its answer has a large
// body: that keeps its place until it is read, or takes one where nobody knew
// that it would be large, or that it would be more than a range.
func (v *visit) answer(req *http.Request, resp *http.Response, err error) (large bool) {
	h := v.host
	h.mu.Lock()
	defer h.mu.Unlock()
	large = err == nil && req.Method == http.MethodGet && resp.StatusCode/100 == 2 &&
		(v.lane >= laneDown || resp.ContentLength > smallBlob)
	h.wait--
	h.learn(v, req, resp, err)
	stays := v.lane == laneDown || v.lane == laneRange && large && resp.StatusCode == http.StatusPartialContent
	if !large || !stays {
		h.leave(v.lane)
	}
	if large && !stays {
		v.lane = laneDown
		h.lanes[laneDown].take(h.now())
	}
	h.serve()
	return large
}

// learn judges the host by an answer.
func (h *host) learn(v *visit, req *http.Request, resp *http.Response, err error) {
	now, l := h.now(), &h.lanes[v.lane]
	switch {
	case req.Context().Err() != nil: // given up on our side
	case err != nil, overloaded(resp.StatusCode):
		if err == nil && resp.StatusCode == http.StatusTooManyRequests {
			h.bound.lower(now, v.sent, v.asked)
		}
		l.fall(now, v.sent, v.mates)
		if v.lane == laneRange && err == nil {
			// They are sent in a burst: the first to be refused in it says how many are
			// too many.
			l.limit = max(1, min(l.limit, v.mates-1))
		}
	case v.lane == laneSmall:
		l.work(now, 1+float64(max(0, req.ContentLength)+max(0, resp.ContentLength))/unitBytes)
	}
}

// overloaded says whether a status means that there is too much to do.
func overloaded(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// carried is a large body: its bytes are the work that is done, and the place of
// one that is read is free at its end.
type carried struct {
	body  io.ReadCloser
	visit *visit
	lane  int // laneUp, laneDown or laneRange
	once  sync.Once
}

func (c *carried) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	h := c.visit.host
	h.mu.Lock()
	l := &h.lanes[c.lane]
	l.work(h.now(), float64(n)/unitBytes)
	if c.lane == laneDown && errors.Is(err, store.ErrUnavailable) { // the other side broke off
		l.fall(h.now(), c.visit.sent, l.under)
	}
	h.mu.Unlock()
	if err != nil {
		c.done()
	}
	return n, err
}

func (c *carried) Close() error {
	err := c.body.Close()
	c.done()
	return err
}

func (c *carried) done() {
	if c.lane == laneUp {
		return // its place is held until the answer
	}
	c.once.Do(func() {
		h := c.visit.host
		h.mu.Lock()
		defer h.mu.Unlock()
		h.leave(c.lane)
		h.serve()
	})
}
