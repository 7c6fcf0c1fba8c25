package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// fakeHost answers after a while, in the fake time of synctest, and notes when
// it was asked and how many requests it had at once.
type fakeHost struct {
	takes  func(now int) time.Duration // with so many requests under way; nil is 50 ms
	most   int                         // 429 above; 0 is no bound
	after  string                      // Retry-After of the first answer, a 429
	refuse int                         // refusals to come with after

	mu      sync.Mutex
	under   int
	peak    int
	at      []time.Time
	refused int
}

func (f *fakeHost) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.under++
	f.peak = max(f.peak, f.under)
	f.at = append(f.at, time.Now())
	status, header := 200, http.Header{}
	if f.most > 0 && f.under > f.most {
		status = 429
	}
	if f.refuse > 0 {
		f.refuse--
		status = 429
		header.Set("Retry-After", f.after)
	}
	if status == 429 {
		f.refused++
	}
	d := 50 * time.Millisecond
	if f.takes != nil {
		d = f.takes(f.under)
	}
	f.mu.Unlock()
	if status == 429 {
		d = time.Millisecond
	}
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	err := waitFor(req.Context(), d)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.under--
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: header, Body: http.NoBody, Request: req}, nil
}

// now is how many requests are under way.
func (f *fakeHost) now() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.under
}

func (f *fakeHost) behind(opts PaceOptions) *retry {
	p := NewPace(opts)
	return &retry{
		next: &paced{next: f, pace: p}, pace: p, tries: DefaultRetries, maxWait: DefaultMaxWait, now: time.Now, sleep: waitFor,
	}
}

// fakeRequest is a request of n bytes to host.
func fakeRequest(ctx context.Context, host string, n int64) *http.Request {
	req := (&http.Request{Method: "PUT", URL: &url.URL{Scheme: "https", Host: host, Path: "/v2/"}, Header: http.Header{}}).WithContext(ctx)
	if n > 0 {
		req.ContentLength = n
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }
		req.Body, _ = req.GetBody()
	}
	return req
}

// send sends count requests from as many goroutines as workers.
func send(t *testing.T, over http.RoundTripper, workers, count int, size int64) {
	t.Helper()
	jobs := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range jobs {
				resp, err := over.RoundTrip(fakeRequest(t.Context(), "reg.example", size))
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("%v, %v", resp, err)
					return
				}
			}
		})
	}
	for i := range count {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
}

// While more at once brings more, more is sent at once.
func TestPaceClimbs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{}
		start := time.Now()
		send(t, f.behind(PaceOptions{}), 100, 1000, 0)
		if f.peak != smallMost {
			t.Errorf("at most %d requests at once, want %d", f.peak, smallMost)
		}
		// 8 at once would take 6.25 s, 64 from the first 0.8 s.
		if d := time.Since(start); d > 1200*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

// A registry that answers all the later the more it is asked is not asked more.
func TestPaceStopsWhereMoreBringsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{takes: func(now int) time.Duration { return time.Duration(max(8, now)) * 5 * time.Millisecond }}
		send(t, f.behind(PaceOptions{}), 100, 3000, 0)
		if f.peak > 2*smallFirst+2 {
			t.Errorf("%d requests at once bring no more than %d", f.peak, smallFirst)
		}
	})
}

// The bound of a registry is found with few refusals, and work goes on at it.
func TestPaceFindsTheBound(t *testing.T) {
	for _, most := range []int{1, 2, 3, 6, 20} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeHost{most: most}
			start := time.Now()
			send(t, f.behind(PaceOptions{}), 64, 600, 0)
			if f.refused > 40 {
				t.Errorf("a bound of %d: %d refusals", most, f.refused)
			}
			ideal := 600 / time.Duration(most) * 50 * time.Millisecond
			if d := time.Since(start); d > 3*ideal {
				t.Errorf("a bound of %d: %v, and %v would do", most, d, ideal)
			}
		})
	}
}

// A limit that fell rises again.
func TestPaceRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{most: 4}
		over := f.behind(PaceOptions{})
		send(t, over, 64, 200, 0)
		f.most, f.peak = 0, 0
		send(t, over, 64, 20000, 0)
		if f.peak < 32 {
			t.Errorf("only %d at once after the bound was lifted", f.peak)
		}
	})
}

// What one request is told to wait, all to the same host wait, and they do not
// come back at once. Another host is not concerned.
func TestPauseIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{after: "8", refuse: 3}
		over := f.behind(PaceOptions{})
		var told []string
		over.events = func(e store.Event) { told = append(told, e.Text) }
		start := time.Now()
		var other time.Duration
		var wg sync.WaitGroup
		wg.Go(func() { send(t, over, 20, 20, 0) })
		wg.Go(func() {
			time.Sleep(time.Second)
			_, err := over.RoundTrip(fakeRequest(t.Context(), "other.example", 0))
			if other = time.Since(start); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		var later []time.Time
		for _, at := range f.at {
			if d := at.Sub(start); d > 100*time.Millisecond && d < 8*time.Second && d != time.Second {
				t.Errorf("asked after %v", d)
			}
			if at.Sub(start) >= 8*time.Second {
				later = append(later, at)
			}
		}
		slices.SortFunc(later, time.Time.Compare)
		if len(later) < 12 || later[0].Equal(later[len(later)-1]) {
			t.Errorf("%d came after the pause: %v", len(later), later)
		}
		if other > 2*time.Second {
			t.Errorf("another host was asked after %v", other)
		}
		if want := []string{"429 Too Many Requests: waiting 8s (asked by the registry)"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

// Large transfers leave room for small requests, and the other way round.
func TestLanesAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{takes: func(int) time.Duration { return time.Hour }}
		over := f.behind(PaceOptions{}).next
		for _, size := range []int64{1 << 30, 0} {
			for range 50 {
				go over.RoundTrip(fakeRequest(t.Context(), "reg.example", size))
			}
			synctest.Wait()
		}
		if n := f.now(); n != largeFirst+smallFirst {
			t.Errorf("%d under way, want %d large and %d small", n, largeFirst, smallFirst)
		}
		time.Sleep(100 * time.Hour)
	})
}

// With a known bound large bodies leave one place of it.
func TestABoundLeavesRoomForSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{takes: func(int) time.Duration { return time.Hour }}
		over := f.behind(PaceOptions{}).next.(*paced)
		h := over.pace.host(fakeRequest(t.Context(), "reg.example", 0).URL)
		h.bound.lower(time.Now(), time.Now(), 4)
		h.bound.until = time.Now().Add(24 * time.Hour)
		for _, c := range []struct {
			size int64
			want int
		}{{1 << 30, 2}, {0, 3}} {
			for range 5 {
				go over.RoundTrip(fakeRequest(t.Context(), "reg.example", c.size))
			}
			synctest.Wait()
			if n := f.now(); n != c.want {
				t.Errorf("%d under way, want %d", n, c.want)
			}
		}
		time.Sleep(100 * time.Hour)
	})
}

// Pinned is pinned.
func TestPinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{1, 3, 100} {
			f := &fakeHost{}
			send(t, f.behind(PaceOptions{Concurrency: n}), 200, 1000, 0)
			if f.peak != n {
				t.Errorf("%d at once, want %d", f.peak, n)
			}
		}
	})
}

// Who waits may give up, and its place goes to the next.
func TestWaitingCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{}
		over := f.behind(PaceOptions{Concurrency: 1})
		go over.RoundTrip(fakeRequest(t.Context(), "reg.example", 0))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := over.RoundTrip(fakeRequest(ctx, "reg.example", 0))
			gone <- err
		}()
		synctest.Wait()
		next := make(chan error)
		go func() {
			_, err := over.RoundTrip(fakeRequest(t.Context(), "reg.example", 0))
			next <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := <-next; err != nil || len(f.at) != 2 {
			t.Errorf("%v after %d requests", err, len(f.at))
		}
	})
}

// TestPauseCanBeGivenUp: who gives up while the host wants quiet, such as the
// one that cancels an upload, leaves its place to who waits behind it.
func TestPauseCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{}
		r := f.behind(PaceOptions{Concurrency: 1})
		r.pace.pause(fakeRequest(t.Context(), "reg.example", 0).URL, time.Minute)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.next.RoundTrip(fakeRequest(ctx, "reg.example", 0)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("given up: %v", err)
			}
		})
		synctest.Wait()
		send(t, r, 1, 1, 0)
		wg.Wait()
		if len(f.at) != 1 {
			t.Errorf("%d requests, want 1", len(f.at))
		}
	})
}

// A rate is kept from the first request on, by everybody together, and its
// waits can be given up.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{takes: func(int) time.Duration { return time.Millisecond }}
		over := f.behind(PaceOptions{Rate: 5})
		send(t, over, 8, 20, 0)
		for i, at := range f.at {
			if want := time.Duration(i) * 200 * time.Millisecond; at.Sub(f.at[0]) != want {
				t.Fatalf("request %d after %v, want %v", i+1, at.Sub(f.at[0]), want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := over.RoundTrip(fakeRequest(ctx, "reg.example", 0)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// A rate and a pause together: nothing comes in the pause, and no burst after it.
func TestRateAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeHost{after: "3", refuse: 1, takes: func(int) time.Duration { return time.Millisecond }}
		start := time.Now()
		send(t, f.behind(PaceOptions{Rate: 5}), 8, 20, 0)
		for i, at := range f.at[1:] {
			if d := at.Sub(start); d < 3*time.Second || i > 0 && at.Sub(f.at[i]) < 200*time.Millisecond {
				t.Fatalf("request %d after %v, %v after the one before", i+2, d, at.Sub(f.at[i]))
			}
		}
	})
}
