package remote

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stet-oci/stet/internal/wire"
)

// Where everybody may read, the answer to a reader shows nothing of writers:
// one of them goes ahead again.
func TestWritersLearnFromWriters(t *testing.T) {
	t.Parallel()
	var refused atomic.Int32
	s := hear(t, false, func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok && r.Method == http.MethodPut {
			refused.Add(1)
			time.Sleep(50 * time.Millisecond) // so that the others come
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(401)
		}
	})
	c, _ := clientOf(t, s, Options{Credentials: Static(user)})
	must(t, c, get("a"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { must(t, c, put("a", "hello")) })
	}
	wg.Wait()
	if n := refused.Load(); n != 1 {
		t.Errorf("%d bodies were refused, want 1", n)
	}
}

// Who goes ahead may be given up, or fail: neither holds up the others.
func TestNobodyWaitsForWhoIsGone(t *testing.T) {
	t.Parallel()
	came := make(chan bool, 1)
	var n atomic.Int32
	s := hear(t, false, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 1:
			came <- true
			<-r.Context().Done()
		case 2:
			time.Sleep(20 * time.Millisecond)
			if n.Load() != 2 {
				t.Error("who was given up has shown something")
			}
		}
	})
	c, _ := clientOf(t, s, Options{Retries: -1})
	ctx, cancel := context.WithCancel(t.Context())
	first, second, third := make(chan error), make(chan error), make(chan error)
	send := func(ctx context.Context, done chan error) {
		resp, err := c.do(ctx, get("a"))
		if err == nil {
			drain(resp)
		}
		done <- err
	}
	go send(ctx, first)
	<-came
	waiting, stop := context.WithCancel(t.Context())
	go send(waiting, second)
	time.Sleep(20 * time.Millisecond)
	stop()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("who waits and is given up: %v", err)
	}
	go send(t.Context(), second)
	go send(t.Context(), third)
	time.Sleep(20 * time.Millisecond)
	if n.Load() != 1 {
		t.Errorf("%d requests before the first answer, want 1", n.Load())
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v", err)
	}
	for _, done := range []chan error{second, third} {
		if err := <-done; err != nil {
			t.Errorf("another: %v", err)
		}
	}
}

// A question that is not answered well is no reason to fail.
func TestGreetingIsNoCondition(t *testing.T) {
	t.Parallel()
	for _, status := range []int{403, 404, 500} {
		s := hear(t, false, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == (wire.Request{Kind: wire.Ping}).URL().Path {
				w.WriteHeader(status)
				return
			}
			if _, _, ok := r.BasicAuth(); !ok {
				w.Header().Set("WWW-Authenticate", "Basic")
				w.WriteHeader(401)
			}
		})
		c, _ := clientOf(t, s, Options{Credentials: Static(user)})
		must(t, c, put("a", "hello"))
		if n := len(s.all()); n != 3 {
			t.Errorf("%d: %d requests, want 3", status, n)
		}
	}
}
