package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

func TestWhatIsTriedAgain(t *testing.T) {
	date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		faults []int
		header http.Header
		tries  int
		want   error
		wait   time.Duration // of the first try; 0 is the schedule's
	}{
		"500 twice":            {faults: []int{500, 500}, tries: 3},
		"502, 504":             {faults: []int{502, 504}, tries: 3},
		"408":                  {faults: []int{408}, tries: 2},
		"429":                  {faults: []int{429}, tries: 2},
		"429 in seconds":       {faults: []int{429}, header: http.Header{"Retry-After": {"7"}}, tries: 2, wait: 7 * time.Second},
		"503 at a date":        {faults: []int{503}, header: http.Header{"Retry-After": {date.Add(9 * time.Second).Format(http.TimeFormat)}, "Date": {date.Format(http.TimeFormat)}}, tries: 2, wait: 9 * time.Second},
		"503 at a past date":   {faults: []int{503}, header: http.Header{"Retry-After": {date.Format(http.TimeFormat)}}, tries: 2},
		"429 in a day":         {faults: []int{429, 429}, header: http.Header{"Retry-After": {"86400"}}, tries: 1, want: store.ErrUnavailable},
		"429 in an eternity":   {faults: []int{429, 429}, header: http.Header{"Retry-After": {"18446744073709551615"}}, tries: 1, want: store.ErrUnavailable},
		"500 with Retry-After": {faults: []int{500}, header: http.Header{"Retry-After": {"86400"}}, tries: 2},
		"503 for ever":         {faults: []int{503, 503, 503, 503, 503, 503, 503, 503}, tries: 6, want: store.ErrUnavailable},
		"403":                  {faults: []int{403}, tries: 1, want: store.ErrDenied},
		"404":                  {faults: []int{404}, tries: 1, want: store.ErrNotFound},
		"501":                  {faults: []int{501}, tries: 1, want: store.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int32
			s := hear(t, false, func(w http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); string(body) != "hello" {
					t.Errorf("try %d has the body %q", n.Load()+1, body)
				}
				i := int(n.Add(1)) - 1
				if i >= len(c.faults) {
					w.WriteHeader(201)
					return
				}
				for k, v := range c.header {
					w.Header()[k] = v
				}
				w.WriteHeader(c.faults[i])
			})
			var events []store.Event
			client, waits := clientOf(t, s, Options{Events: func(e store.Event) { events = append(events, e) }})
			resp, err := client.do(t.Context(), put("a", "hello"))
			if err == nil {
				resp.Body.Close()
			}
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || int(n.Load()) != c.tries {
				t.Fatalf("%d tries, %v; want %d, %v", n.Load(), err, c.tries, c.want)
			}
			if len(events) != c.tries-1 || len(*waits) != c.tries-1 {
				t.Errorf("%d events, %d waits; want %d", len(events), len(*waits), c.tries-1)
			}
			// In full, and a little more by chance: others were told the same.
			if c.wait > 0 && ((*waits)[0] < c.wait || (*waits)[0] > c.wait+maxJitter) {
				t.Errorf("waited %v, want %v", (*waits)[0], c.wait)
			}
			for i, d := range *waits {
				if top := min(firstWait<<i*5/4, maxWait); c.wait == 0 && (d <= 0 || d > top) {
					t.Errorf("wait %d is %v, want up to %v", i+1, d, top)
				}
			}
		})
	}
}

// A wait that does not fit, and tries that were spent, are told.
func TestRefusalTellsWhatWasDone(t *testing.T) {
	t.Parallel()
	s := hear(t, false, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "later") {
			w.Header().Set("Retry-After", "86400")
		}
		w.WriteHeader(503)
	})
	c, _ := clientOf(t, s, Options{})
	for repo, want := range map[string]string{"later": "24h0m0s", "often": "tried 6 times"} {
		if err := fails(t, c, get(repo)); !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestOnceIsOnce(t *testing.T) {
	t.Parallel()
	s := hear(t, false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	c, _ := clientOf(t, s, Options{})
	call := put("a", "x")
	call.Once = true
	fails(t, c, call)
	never, _ := clientOf(t, s, Options{Retries: -1})
	fails(t, never, get("a"))
	if n := len(s.all()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// cut ends the connection without an answer.
func cut(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the stream is reset
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

func TestBrokenConnectionIsTriedAgain(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, reset := range []bool{false, true} {
			t.Run(fmt.Sprintf("secure=%v,reset=%v", secure, reset), func(t *testing.T) {
				t.Parallel()
				var n atomic.Int32
				s := hear(t, secure, func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1) < 3 {
						cut(w, reset)
						return
					}
					_, _ = io.Copy(w, r.Body)
				})
				c, _ := clientOf(t, s, Options{})
				if got := must(t, c, put("a", "hello")); got != "hello" {
					t.Errorf("got %q", got)
				}
			})
		}
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	s := hear(t, false, func(http.ResponseWriter, *http.Request) {})
	c, waits := clientOf(t, s, Options{})
	s.Close()
	err := fails(t, c, get("a"))
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), s.Listener.Addr().String()) {
		t.Errorf("%v; want the address and ErrUnavailable", err)
	}
	if len(*waits) != refusedTries {
		t.Errorf("tried again %d times, want %d", len(*waits), refusedTries)
	}
}

func TestCancelIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := hear(t, false, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	c, _ := clientOf(t, s, Options{})
	_, err := c.do(ctx, get("a"))
	if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) || len(s.all()) != 1 {
		t.Errorf("%v after %d requests", err, len(s.all()))
	}
}

// A body that cannot be read is no fault of the network: its own error comes
// out, and nothing is tried again.
func TestBodyThatBreaks(t *testing.T) {
	broken := errors.New("the file is gone")
	for name, c := range map[string]struct {
		body io.Reader
		want error
	}{
		"error": {io.MultiReader(strings.NewReader("hel"), errReader{broken}), broken},
		"short": {strings.NewReader("hel"), store.ErrChanged},
		"long":  {strings.NewReader("hello, world"), store.ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := hear(t, false, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			client, waits := clientOf(t, s, Options{})
			call := put("a", "hello")
			call.Body = func() (io.ReadCloser, error) { return io.NopCloser(c.body), nil }
			if err := fails(t, client, call); !errors.Is(err, c.want) || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%v; want %v", err, c.want)
			}
			if len(*waits) != 0 {
				t.Error("tried again")
			}
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestStall(t *testing.T) {
	const (
		stall = 100 * time.Millisecond
		sure  = 10 * stall // which a busy machine does not take for nothing
	)
	block := func(r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(5 * sure):
		}
	}
	t.Run("before the headers", func(t *testing.T) {
		t.Parallel()
		s := hear(t, false, func(_ http.ResponseWriter, r *http.Request) { block(r) })
		c, waits := clientOf(t, s, Options{Stall: stall, Retries: 1})
		err := fails(t, c, get("a"))
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "no byte for 100ms") || len(*waits) != 1 {
			t.Errorf("%v after %d further tries", err, len(*waits))
		}
	})
	t.Run("in a body", func(t *testing.T) {
		t.Parallel()
		s := hear(t, true, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "hel")
			_ = http.NewResponseController(w).Flush()
			block(r)
		})
		c, _ := clientOf(t, s, Options{Stall: stall})
		resp, err := c.do(t.Context(), get("a"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if string(raw) != "hel" || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%q, %v", raw, err)
		}
	})
	t.Run("while sending", func(t *testing.T) {
		t.Parallel()
		s := hear(t, false, func(_ http.ResponseWriter, r *http.Request) { block(r) })
		c, _ := clientOf(t, s, Options{Stall: stall, Retries: -1})
		if err := fails(t, c, put("a", strings.Repeat("x", 32<<20))); !errors.Is(err, store.ErrUnavailable) {
			t.Error(err)
		}
	})
	t.Run("while it stores", func(t *testing.T) {
		t.Parallel()
		s := hear(t, false, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			time.Sleep(2 * sure)
		})
		c, _ := clientOf(t, s, Options{Stall: sure, Commit: 100 * sure, Retries: -1})
		must(t, c, put("a", "hello"))
		must(t, c, call{Request: wire.Request{Kind: wire.UploadFinish, Repo: "a", Session: "1", Digest: dgst}}) // its bytes came before
		for _, call := range []call{get("a"), {Request: wire.Request{Kind: wire.UploadStart, Repo: "a"}}} {
			if err := fails(t, c, call); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("what stores nothing may be silent for long: %v", err)
			}
		}
	})
	t.Run("never stores", func(t *testing.T) {
		t.Parallel()
		s := hear(t, false, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			block(r)
		})
		c, waits := clientOf(t, s, Options{Stall: sure, Commit: 2 * sure})
		err := fails(t, c, put("a", "hello"))
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "no byte for 2s") || len(*waits) != silentTries {
			t.Errorf("%v after %d further tries", err, len(*waits))
		}
	})
	t.Run("slow is no stall", func(t *testing.T) {
		t.Parallel()
		s := hear(t, false, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			for range 4 {
				time.Sleep(sure / 3)
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
			}
		})
		c, _ := clientOf(t, s, Options{Stall: sure, Retries: -1})
		call := put("a", "hello")
		call.Body = func() (io.ReadCloser, error) {
			return io.NopCloser(&slow{strings.NewReader("hello"), 3 * sure / 2}), nil // ours to be slow
		}
		if got := must(t, c, call); got != "xxxx" {
			t.Errorf("got %q", got)
		}
	})
}

type slow struct {
	r io.Reader
	d time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.d)
	return s.r.Read(p)
}

func TestBrokenBodyIsUnavailable(t *testing.T) {
	t.Parallel()
	s := hear(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "hel")
		cutAfter(w)
	})
	c, _ := clientOf(t, s, Options{})
	resp, err := c.do(t.Context(), get("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func cutAfter(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
