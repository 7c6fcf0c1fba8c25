package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// dials counts connections and hands out one end of a pipe each.
type dials struct {
	mu    sync.Mutex
	ends  []net.Conn
	fails bool
}

func (d *dials) dial(context.Context, string, string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails && len(d.ends) > 0 {
		d.ends = append(d.ends, nil)
		return nil, errors.New("no more")
	}
	ours, theirs := net.Pipe()
	d.ends = append(d.ends, theirs)
	return ours, nil
}

func (d *dials) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ends)
}

// waitFor waits until n connections were dialled.
func (d *dials) waitFor(t *testing.T, n int) {
	t.Helper()
	for range 1000 {
		if d.count() == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%d connections were dialled, want %d", d.count(), n)
}

func TestWarm(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	for _, tc := range []struct {
		name  string
		extra int
		fails bool
		age   time.Duration // before the second is asked for
		addr  string        // of the second
		dials int           // after five were asked for
	}{
		{name: "none ahead", dials: 5, addr: "reg:80"},
		{name: "three ahead", extra: 3, dials: 5, addr: "reg:80"},
		{name: "too old", extra: 3, age: time.Minute, dials: 8, addr: "reg:80"},
		{name: "that failed are dialled again", extra: 2, fails: true, dials: 7, addr: "reg:80"},
		{name: "another address", extra: 3, dials: 8, addr: "other:80"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &dials{fails: tc.fails}
			w := &warm{dial: d.dial, addr: "reg:80", extra: tc.extra, now: func() time.Time { return time.Unix(now.Load(), 0) }}
			if _, err := w.get(t.Context(), "tcp", "reg:80"); err != nil {
				t.Fatal(err)
			}
			d.waitFor(t, 1+tc.extra)
			time.Sleep(5 * time.Millisecond) // what was dialled has its time
			now.Add(int64(tc.age / time.Second))
			for range 4 {
				if _, err := w.get(t.Context(), "tcp", tc.addr); (err != nil) != tc.fails {
					t.Fatal(err)
				}
			}
			if got := d.count(); got != tc.dials {
				t.Errorf("%d connections were dialled, want %d", got, tc.dials)
			}
			w.close()
		})
	}
}

// TestWarmClosed: what nobody needed is closed.
func TestWarmClosed(t *testing.T) {
	d := &dials{}
	w := &warm{dial: d.dial, addr: "reg:80", extra: 3, now: time.Now}
	if _, err := w.get(t.Context(), "tcp", "reg:80"); err != nil {
		t.Fatal(err)
	}
	d.waitFor(t, 4)
	w.close()
	for _, end := range d.ends[1:] {
		end.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := end.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("an unused connection gives %v, want its end", err)
		}
	}
}

// TestConnections: several are opened with the first request, over http and
// https.
func TestConnections(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		secure, h2  bool
		connections int
		want        int32
	}{
		{name: "http", connections: 4, want: 4},
		{name: "https", secure: true, connections: 4, want: 4},
		{name: "HTTP/2, which ends the others", secure: true, h2: true, connections: 4, want: 4},
		{name: "one is enough", want: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var opened atomic.Int32
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			s.EnableHTTP2 = tc.h2
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					opened.Add(1)
				}
			}
			if tc.secure {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			c, _ := clientOf(t, &heard{Server: s}, Options{Connections: tc.connections})
			must(t, c, get("a"))
			for range 1000 {
				if opened.Load() == tc.want {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if got := opened.Load(); got != tc.want {
				t.Errorf("%d connections, want %d", got, tc.want)
			}
			c.close()
		})
	}
}

// TestWritersWithoutCredentials: they need not wait for the first of them.
func TestWritersWithoutCredentials(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	s := hear(t, false, func(http.ResponseWriter, *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(30 * time.Millisecond)
		now.Add(-1)
	})
	c, _ := clientOf(t, s, Options{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { must(t, c, put("a", "hello")) })
	}
	wg.Wait()
	if got := most.Load(); got < 2 {
		t.Errorf("at most %d writers at a time", got)
	}
}
