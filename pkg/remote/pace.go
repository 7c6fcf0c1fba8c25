package remote

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// PaceOptions bound what is sent to one origin: scheme, host and port.
type PaceOptions struct {
	// Concurrency is how many requests may be under way at once. 0 adapts: from
	// few, up while that brings more, down where the registry says so.
	Concurrency int
	// Rate is how many requests are sent in a second, evenly spaced; 0 is as
	// many as there are.
	Rate float64
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Pace decides when a request may be sent. Clients that share one are bounded
// together, as the two sides of a copy within a registry have to be. It is safe
// for use by several goroutines.
type Pace struct {
	opts  PaceOptions
	mu    sync.Mutex
	hosts map[string]*host
}

// NewPace is a Pace for the clients whose Options name it.
func NewPace(opts PaceOptions) *Pace {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Pace{opts: opts, hosts: map[string]*host{}}
}

// host is what is known of one origin.
//
// Requests are in one of four lanes, so that large transfers never take the
// room of small requests. A small request holds its place until its answer
// begins, a large body until it is sent or read to its end. Nobody waits in a
// circle: who reads a large body may wait for any other lane, who sends one only
// for that reader, and a small request for nobody. Of the ranges of a large blob
// one may always be under way, whatever else is: who reads them may be who sends.
// They need nobody to end, because their bytes go to memory.
type host struct {
	now   func() time.Time
	every time.Duration // between two requests; 0 is no matter
	down  int           // large answers at once, in whatever lane; 0 is no matter

	mu    sync.Mutex
	lanes [4]lane
	turn  int       // the lane that is asked first for the next place
	wait  int       // requests without an answer yet
	next  time.Time // when the next request may be sent, by the rate
	quiet time.Time // nothing is sent before: the registry said so
	bound bound
}

// The lanes of a host.
const (
	laneSmall = iota // what moves few bytes
	laneUp           // requests with a large body
	laneDown         // answers with a large body
	laneRange        // ranges of a large blob
)

// bound is how many requests were shown to be too many for the other side, less
// one. It is tried again after a while, each time after a longer one.
type bound struct {
	most  int       // 0 is unknown
	last  time.Time // when it was lowered
	until time.Time
	hold  time.Duration
}

const (
	firstHold = 2 * time.Second
	mostHold  = time.Minute
)

func (p *Pace) host(u *url.URL) *host {
	key := strings.ToLower(u.Scheme + "://" + address(u))
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[key]
	if h == nil {
		n := p.opts.Concurrency
		h = &host{now: p.opts.Now, down: n, lanes: [4]lane{
			laneSmall: newLane(smallFirst, smallMost, n),
			laneUp:    newLane(largeFirst, largeMost, n),
			laneDown:  newLane(largeFirst, largeMost, n),
			laneRange: newLane(rangeBuffers, rangeBuffers, n),
		}}
		h.lanes[laneSmall].counts, h.lanes[laneSmall].steep = true, n == 0
		if p.opts.Rate > 0 {
			h.every = time.Duration(float64(time.Second) / p.opts.Rate)
		}
		p.hosts[key] = h
	}
	return h
}

// pause keeps the origin free of requests for d, and says whether that is news.
func (p *Pace) pause(u *url.URL, d time.Duration) bool {
	h := p.host(u)
	h.mu.Lock()
	defer h.mu.Unlock()
	until := h.now().Add(d)
	news := until.Sub(h.quiet) > time.Second
	if until.After(h.quiet) {
		h.quiet = until
	}
	return news
}

// ranges is how many ranges of a blob the origin may be asked for at once.
func (p *Pace) ranges(u *url.URL) int {
	h := p.host(u)
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &h.lanes[laneRange]
	if l.under == 0 && h.now().Sub(l.cut) > mostHold { // who asks for one alone learns nothing new
		l.limit = l.first
	}
	n := l.limit
	if most := h.bound.allows(h.now()); most > 0 {
		n = min(n, most)
	}
	return n
}

// maxJitter bounds how long after a pause the last of those who waited comes.
const maxJitter = time.Second

// spread is a wait after which not everybody comes at once.
func spread(d time.Duration) time.Duration {
	if most := min(d/4, maxJitter); most > 0 {
		return rand.N(most)
	}
	return 0
}

// paced is the layer of the stack that holds requests back. It stands above
// limit: to wait here is not silence of the other side.
type paced struct {
	next http.RoundTripper
	pace *Pace
}

func (p *paced) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	v := &visit{host: p.pace.host(req.URL), lane: laneOf(req), urgent: isUrgent(ctx)}
	if err := v.enter(ctx); err != nil {
		closeBody(req)
		return nil, err
	}
	if v.lane == laneUp {
		req = req.WithContext(ctx) // a copy
		req.Body = &carried{body: req.Body, visit: v, lane: laneUp}
		// net/http would open the content once more while the place is held. It
		// may have to wait for its own: the layers above do that better.
		req.GetBody = nil
	}
	resp, err := p.next.RoundTrip(req)
	if v.answer(req, resp, err) {
		resp.Body = &carried{body: resp.Body, visit: v, lane: v.lane}
	}
	return resp, err
}

// laneOf is the lane of a request, as far as that is known before its answer.
func laneOf(req *http.Request) int {
	switch {
	case req.Body != nil && req.Body != http.NoBody && (req.ContentLength < 0 || req.ContentLength > smallBlob):
		return laneUp
	case tripOf(req).part:
		return laneRange
	case tripOf(req).expect > smallBlob:
		return laneDown
	}
	return laneSmall
}

// closeBody ends a request that is not sent, as a RoundTripper has to.
func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

type urgentKey struct{}

// urgent marks requests for which another waits that has its place already, such
// as the rest of a blob that is being sent on. They wait for no place, and are
// counted like others.
func urgent(ctx context.Context) context.Context { return context.WithValue(ctx, urgentKey{}, true) }

func isUrgent(ctx context.Context) bool { return ctx.Value(urgentKey{}) != nil }

// enter waits for a place in a lane, in the order of arrival.
func (h *host) enter(ctx context.Context, which int) error {
	h.mu.Lock()
	l := &h.lanes[which]
	if len(l.queue) == 0 && h.room(which) {
		h.admit(which)
		h.mu.Unlock()
		return nil
	}
	l.felt = true
	w := &waiter{turn: make(chan struct{})}
	l.queue = append(l.queue, w)
	h.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !l.forgo(w) { // it was its turn meanwhile
		h.wait--
		h.leave(which)
		h.serve()
	}
	return context.Cause(ctx)
}

// leave gives a place in a lane back.
func (h *host) leave(which int) { h.lanes[which].under-- }

// admit counts a request in.
func (h *host) admit(which int) {
	h.lanes[which].take(h.now())
	h.wait++
}

// room says whether a request of a lane may go. Of a bound that the origin has
// for everything, large bodies leave one place.
func (h *host) room(which int) bool {
	l := &h.lanes[which]
	most := h.bound.allows(h.now())
	switch {
	case which == laneRange && l.under == 0:
		return true
	case l.full(), which >= laneDown && h.down > 0 && h.lanes[laneDown].under+h.lanes[laneRange].under >= h.down:
		return false
	case most == 0:
		return true
	case which == laneUp && l.under >= max(1, most-1):
		return false
	}
	return h.wait < most
}

// allows is the bound at this time, 0 for none.
func (b *bound) allows(now time.Time) int {
	if b.most > 0 && now.After(b.until) {
		b.most += max(1, b.most/4)
		b.until = now.Add(b.hold)
		if b.most >= smallMost {
			b.most, b.hold = 0, 0
		}
	}
	return b.most
}

// lower sets the bound below a number that was refused. Of requests that were
// sent before the last refusal only the smaller number is news.
func (b *bound) lower(now, sent time.Time, refused int) {
	most := max(1, refused-1)
	if b.most > 0 && sent.Before(b.last) {
		b.most = min(b.most, most)
		return
	}
	b.most, b.last = most, now
	b.hold = min(max(2*b.hold, firstHold), mostHold)
	b.until = now.Add(b.hold)
}

// serve gives free places to those who wait: to each lane in turn, so that
// none keeps another out.
func (h *host) serve() {
	for idle := 0; idle < len(h.lanes); {
		which := h.turn
		h.turn = (h.turn + 1) % len(h.lanes)
		l := &h.lanes[which]
		if len(l.queue) == 0 || !h.room(which) {
			idle++
			continue
		}
		idle = 0
		w := l.queue[0]
		l.queue = l.queue[1:]
		h.admit(which)
		close(w.turn)
	}
}

// ready waits until the origin may be asked: after a pause, and when the rate
// allows it.
func (h *host) ready(ctx context.Context) error {
	for {
		h.mu.Lock()
		now := h.now()
		rest := h.quiet.Sub(now)
		paused := rest > 0
		if paused {
			rest += spread(rest)
		} else if rest = 0; h.every > 0 {
			if h.next.Before(now) {
				h.next = now
			}
			rest = h.next.Sub(now)
			h.next = h.next.Add(h.every)
		}
		h.mu.Unlock()
		if rest == 0 {
			return nil
		}
		if err := waitFor(ctx, rest); err != nil {
			return err
		}
		h.mu.Lock()
		paused = paused || h.quiet.After(h.now())
		h.mu.Unlock()
		if !paused {
			return nil
		}
	}
}
