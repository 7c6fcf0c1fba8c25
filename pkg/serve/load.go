package serve

import (
	"net/http"
	"sync"
	"time"
)

// load is how much a registry has to do, for the quirks of one that says when
// it is too much.
type load struct {
	mu    sync.Mutex
	seen  int         // requests that Busy has refused
	under int         // requests under way
	last  []time.Time // of requests in the last second
}

// retryAfter is what a busy registry asks for, in seconds.
const retryAfter = "1"

// enter counts a request in until leave is called, or refuses it.
func (s *Server) enter() (leave func(), err error) {
	q, l := s.opts.Quirks, &s.load
	now := s.opts.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.last) > 0 && now.Sub(l.last[0]) >= time.Second {
		l.last = l.last[1:]
	}
	switch {
	case l.seen < q.Busy:
		l.seen++
		return nil, tooMany("busy", retryAfter)
	case q.Rate > 0 && len(l.last) >= q.Rate:
		return nil, tooMany("too many requests in a second", retryAfter)
	case q.AtOnce > 0 && l.under >= q.AtOnce:
		return nil, tooMany("too many requests at once", "")
	}
	if q.Rate > 0 {
		l.last = append(l.last, now)
	}
	l.under++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.under--
	}, nil
}

// tooMany is distribution-spec "Error Codes": TOOMANYREQUESTS.
func tooMany(message, after string) error {
	e := &apiError{status: http.StatusTooManyRequests, code: "TOOMANYREQUESTS", message: message}
	if after != "" {
		e.header = http.Header{"Retry-After": {after}}
	}
	return e
}
