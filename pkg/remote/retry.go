package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/stet-oci/stet/pkg/store"
)

// The schedule of tries: 250 ms, doubling, never over 8 s, with jitter so that
// many clients do not come back at once.
const (
	firstWait = 250 * time.Millisecond
	maxWait   = 8 * time.Second
	jitter    = 0.25
	// refusedTries is how often a connection that nobody takes is tried
	// again: a wrong port should be told soon.
	refusedTries = 2
	// silentTries is how often a request is sent again that was received, and
	// not answered for as long as a registry may take to store something.
	silentTries = 1
)

// retry sends a request again where that may help. Every request that reaches
// it may be repeated: a second upload session is harmless, PUT and DELETE name
// what they change; callers mark the rest as once.
type retry struct {
	next    http.RoundTripper
	pace    *Pace
	tries   int           // further tries; 0 or less is none
	maxWait time.Duration // of all waiting
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	events  store.Sink
}

func (c *client) retry(next http.RoundTripper) *retry {
	return &retry{
		next: next, pace: c.pace, tries: c.opts.Retries, maxWait: c.opts.MaxWait,
		now: c.opts.Now, sleep: waitFor, events: c.opts.Events,
	}
}

func (r *retry) RoundTrip(req *http.Request) (*http.Response, error) {
	schedule := &backoff.ExponentialBackOff{
		InitialInterval: firstWait, RandomizationFactor: jitter, Multiplier: 2, MaxInterval: maxWait,
	}
	schedule.Reset()
	trip, send := tripOf(req), req
	var waited time.Duration
	for try := 1; ; try++ {
		resp, err := r.next.RoundTrip(send)
		if err == nil {
			resp, err = trip.takeIn(resp)
		}
		if trip.blamed() != nil {
			return nil, errors.Join(trip.blamed(), discard(resp))
		}
		why, limit := reason(req, resp, err)
		if why == "" || r.tries <= 0 || try > min(r.tries, limit) && !trip.once {
			if try > 1 && why != "" {
				trip.remark(fmt.Sprintf("tried %d times", try))
			}
			return resp, err
		}
		asked := retryAfter(resp, r.now())
		wait := max(asked, min(schedule.NextBackOff(), maxWait))
		if waited+wait > r.maxWait {
			trip.remark(fmt.Sprintf("the next try would be in %v, which is over the limit of %v", wait.Round(time.Second), max(0, r.maxWait)))
			trip.wontWait(asked)
			return resp, err
		}
		switch {
		// Who answered is not always who was asked: a redirect led there. What
		// another request was told already is no news.
		case asked > 0 && r.pace.pause(resp.Request.URL, wait):
			r.tell(req, fmt.Sprintf("%s: waiting %v (asked by the registry)", why, wait.Round(10*time.Millisecond)))
		case asked == 0 && !trip.once:
			r.tell(req, fmt.Sprintf("%s; try %d in %v", why, try+1, wait.Round(10*time.Millisecond)))
		}
		if trip.once {
			return resp, err
		}
		if asked > 0 {
			wait += spread(wait)
		}
		trip.unclear(resp)
		_ = discard(resp)
		if err := r.sleep(req.Context(), wait); err != nil {
			return nil, err
		}
		waited += wait
		if send, err = rewound(req); err != nil {
			return nil, err
		}
	}
}

func (r *retry) tell(req *http.Request, text string) {
	r.events.Emit(store.Event{Kind: store.Retrying, Name: req.Method + " " + redactURL(req.URL), Text: text})
}

func discard(resp *http.Response) error {
	if resp != nil {
		drain(resp)
	}
	return nil
}

func waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reason says why a request should be sent again, "" where it should not, and
// how often at most.
func reason(req *http.Request, resp *http.Response, err error) (why string, limit int) {
	const often = int(^uint(0) >> 1)
	var stall *stallError
	switch {
	case req.Context().Err() != nil:
		return "", 0
	case err != nil && final(err):
		return "", 0
	case errors.Is(err, syscall.ECONNREFUSED):
		return err.Error(), refusedTries
	case errors.As(err, &stall) && stall.sent && tripOf(req).stores:
		return err.Error(), silentTries
	case err != nil:
		return err.Error(), often
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)), often
	}
	return "", 0
}

// final says that another try would end the same way. All else that a
// connection can die of is worth one: net/http hides most of its HTTP/2 errors
// behind types of its own.
func final(err error) bool {
	var (
		alert  tls.AlertError
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		name   *net.DNSError
		addr   *net.AddrError
		proxy  *ProxyError
	)
	switch {
	case errors.As(err, &alert), errors.As(err, &verify), errors.As(err, &record),
		errors.As(err, &addr), errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, context.Canceled):
		return true
	case errors.As(err, &name):
		return name.IsNotFound
	case errors.As(err, &proxy):
		return proxy.Status < 500
	}
	return classed(err) && !errors.Is(err, store.ErrUnavailable)
}

// maxRetryAfter stands for every longer time that a registry can name.
const maxRetryAfter = 365 * 24 * time.Hour

// retryAfter is the wait that a 429 or 503 asks for, in seconds or as a date
// (RFC 9110 section 10.2.3); 0 is none. A date is compared with the registry's
// own, so that a wrong clock on either side does no harm.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp == nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	value := resp.Header.Get("Retry-After")
	if s, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(s, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
