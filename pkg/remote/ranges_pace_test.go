package remote

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// crowd counts requests that are under way at a time, and refuses those above a
// bound; 0 is none.
type crowd struct {
	bound int

	mu      sync.Mutex
	now     int
	peak    int
	refused int
}

func (c *crowd) fault(_ int, _, _ int64, w http.ResponseWriter, _ *http.Request) bool {
	c.mu.Lock()
	c.now++
	c.peak = max(c.peak, c.now)
	full := c.bound > 0 && c.now > c.bound
	if full {
		c.refused++
	}
	c.mu.Unlock()
	if full {
		w.WriteHeader(http.StatusTooManyRequests)
	} else {
		time.Sleep(20 * time.Millisecond)
	}
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	return full
}

// TestRangesPinned: of one blob no more is asked for at a time than was allowed.
func TestRangesPinned(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		c := &crowd{}
		s := &ranger{content: testContent(9999), fault: c.fault, pace: NewPace(PaceOptions{Concurrency: n})}
		if got, err := readRanged(t, s.blob(t, neverEnough), 0); err != nil || !bytes.Equal(got, s.content) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if c.peak > n {
			t.Errorf("%d ranges at a time, want %d", c.peak, n)
		}
		if n == 1 && len(s.requests()) != 1 {
			t.Errorf("one at a time is one stream: %q", s.requests())
		}
	}
}

// TestRangesLearn: a place that takes few requests at a time is not asked for more
// again and again, and all of the blob comes.
func TestRangesLearn(t *testing.T) {
	t.Parallel()
	for _, bound := range []int{1, 2} {
		c := &crowd{bound: bound}
		s := &ranger{content: testContent(40_000), fault: c.fault}
		begun := time.Now()
		if got, err := readRanged(t, s.blob(t, neverEnough), 0); err != nil || !bytes.Equal(got, s.content) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		t.Logf("a bound of %d: %d refusals, %v", bound, c.refused, time.Since(begun))
		if c.refused > 6 {
			t.Errorf("a bound of %d was met %d times", bound, c.refused)
		}
	}
}

// TestRangesRecover: what was refused once is asked for again after a while.
func TestRangesRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPace(PaceOptions{})
		u := fakeRequest(t.Context(), "reg.example", 0).URL
		h := p.host(u)
		h.lanes[laneRange].fall(time.Now(), time.Now(), 2)
		if n := p.ranges(u); n >= rangeBuffers {
			t.Errorf("%d at a time after a refusal", n)
		}
		time.Sleep(2 * mostHold)
		if n := p.ranges(u); n != rangeBuffers {
			t.Errorf("%d at a time later, want %d", n, rangeBuffers)
		}
	})
}

// TestARangeAlwaysHasRoom: those that hold all places may wait for who reads it.
func TestARangeAlwaysHasRoom(t *testing.T) {
	p := NewPace(PaceOptions{Concurrency: 2})
	h := p.host(fakeRequest(t.Context(), "reg.example", 0).URL)
	h.bound.lower(time.Now(), time.Now(), 2)
	for _, which := range []int{laneUp, laneDown, laneDown} {
		h.admit(which)
	}
	if !h.room(laneRange) {
		t.Error("the only range has to wait")
	}
	if h.admit(laneRange); h.room(laneRange) {
		t.Error("a second range has a place beside two large answers, and 2 are allowed")
	}
}

// TestCopyInRangesWithinAHostEnds: who sends holds a place at the host that the
// ranges come from, and so do those that read in one stream and wait to send.
func TestCopyInRangesWithinAHostEnds(t *testing.T) {
	q, err := serve.ParseQuirks("no-mount")
	if err != nil {
		t.Fatal(err)
	}
	handler := serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: q})
	defer handler.Close()
	srv := httptest.NewServer(handler)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	plain := true
	opts := Options{PlainHTTP: &plain, Pace: NewPace(PaceOptions{Concurrency: 2})}
	open := func(repo string) store.Store {
		s, err := Open(store.Ref{Scheme: store.SchemeRegistry, Host: srv.Listener.Addr().String(), Repo: repo}, opts)
		if err != nil {
			t.Fatal(err)
		}
		c := s.(*repository).client
		c.ranging, c.buffers = ranging{from: 3 << 20, first: 1 << 10, size: 64 << 10, enough: neverEnough}, newBuffers(64<<10, 3)
		return s
	}
	from, to := open("from"), open("to")
	var blobs []store.Blob
	for i := range 12 {
		blobs = append(blobs, store.NewBlob("application/x", []byte(strings.Repeat(string(rune('a'+i)), (2+i%3)<<20))))
		if _, err := from.PutBlob(ctx, blobs[i]); err != nil {
			t.Fatal(err)
		}
	}
	var work errgroup.Group
	for _, b := range blobs {
		work.Go(func() error {
			src, err := from.Blob(ctx, b.Descriptor)
			if err == nil {
				_, err = to.PutBlob(ctx, src)
			}
			return err
		})
	}
	if err := work.Wait(); err != nil {
		t.Error(err)
	}
}
