package main

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// shelved is a registry with app:v1, which has the file data.bin.
func shelved() *shelf {
	s := newShelf()
	s.artifact([]store.Descriptor{s.file("data.bin", content)}, "v1")
	return s
}

// hurried makes a command wait little between tries.
func hurried(args ...string) []string {
	return append(args, "--retry", "4", "--retry-max-wait", "20s", "--stall-timeout", "10s")
}

// whole wants data.bin as it should be, and nothing beside it.
func (d *desk) whole() {
	d.t.Helper()
	if got := d.read("data.bin"); got != content {
		d.t.Errorf("data.bin has %d bytes, and not those it should have", len(got))
	}
	if files := d.files(); len(files) != 1 {
		d.t.Errorf("left behind: %q", files)
	}
}

// Case 50: 500 twice; 502, 504; 503 with Retry-After: success.
func TestCase50ServerErrors(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]http.HandlerFunc{
		"500": status(500), "502": status(502), "504": status(504), "503": status(503, "Retry-After", "1"), "408": status(408),
	} {
		for what, match := range map[string]func(*http.Request) bool{"manifest": isManifest, "blob": isBlob} {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				h := newHostile(t, first(2, match, fault, shelved()))
				d := newDesk(t)
				o := d.stet(hurried("pull", h.Name()+"/app:v1")...).ok().says("trying again", name)
				if name == "503" && o.Took < 2*time.Second {
					t.Errorf("%s\ndid not wait as it was asked to", o)
				}
				d.whole()
				h.atMost(6)
			})
		}
	}
}

// Case 51: reset before an answer: success.
func TestCase51ResetBeforeAnAnswer(t *testing.T) {
	t.Parallel()
	for name, reset := range map[string]bool{"RST": true, "FIN": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, first(2, isManifest, drop(reset), first(1, isBlob, drop(reset), shelved())))
			d := newDesk(t)
			d.stet(hurried("pull", h.Name()+"/app:v1")...).ok()
			d.whole()
		})
	}
}

// Case 52: 429 with seconds; with a date; with a day: waits; succeeds; gives up.
func TestCase52TooManyRequests(t *testing.T) {
	t.Parallel()
	t.Run("seconds", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t, first(1, isManifest, status(429, "Retry-After", "2"), shelved()))
		d := newDesk(t)
		if o := d.stet(hurried("pull", h.Name()+"/app:v1")...).ok().says("429"); o.Took < 2*time.Second {
			t.Errorf("%s\ndid not wait", o)
		}
		d.whole()
	})
	t.Run("date", func(t *testing.T) {
		t.Parallel()
		// The registry's clock is wrong by a year: its own date counts.
		later := time.Now().AddDate(1, 0, 0).UTC()
		h := newHostile(t, first(1, isManifest, status(429, "Date", later.Format(http.TimeFormat),
			"Retry-After", later.Add(2*time.Second).Format(http.TimeFormat)), shelved()))
		d := newDesk(t)
		if o := d.stet(hurried("pull", h.Name()+"/app:v1")...).ok(); o.Took < 2*time.Second {
			t.Errorf("%s\ndid not wait", o)
		}
		d.whole()
	})
	t.Run("day", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t, first(always, isManifest, status(429, "Retry-After", "86400"), shelved()))
		d := newDesk(t)
		o := d.stet("pull", h.Name()+"/app:v1").fails(8).says("24h")
		if o.Took > 5*time.Second {
			t.Errorf("%s\nwaited before it gave up", o)
		}
		h.atMost(2)
		d.leftAlone()
	})
}

// Case 53: 503 for ever; 403: bounded, reason told; no retry.
func TestCase53RefusedForEver(t *testing.T) {
	t.Parallel()
	for _, code := range []int{503, 500} {
		h := newHostile(t, first(always, isManifest, status(code), shelved()))
		d := newDesk(t)
		d.stet("pull", "--retry", "2", "--retry-max-wait", "5s", h.Name()+"/app:v1").fails(8).says(http.StatusText(code), "tried 3 times")
		h.atMost(3)
		d.leftAlone()
	}
	for _, code := range []int{403, 404, 400, 501} {
		h := newHostile(t, first(always, isBlob, status(code), shelved()))
		d := newDesk(t)
		d.stet("pull", h.Name()+"/app:v1").fails(4, 5, 6, 7)
		if n := len(h.heard("GET", "/v2/app/blobs/")); n != 1 {
			t.Errorf("after %d the blob was asked for %d times", code, n)
		}
		d.leftAlone()
	}
}

// Case 56: stall in a body; before the headers: stall timeout.
func TestCase56Stall(t *testing.T) {
	t.Parallel()
	body := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "320000")
		w.Write([]byte(content[:1000]))
		http.NewResponseController(w).Flush()
		stall(t)(w, r)
	}
	for name, handler := range map[string]http.HandlerFunc{
		"body":               first(always, isBlob, body, shelved()),
		"headers":            first(always, isBlob, stall(t), shelved()),
		"manifest's headers": first(always, isManifest, stall(t), shelved()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, handler)
			d := newDesk(t)
			o := d.stet("pull", "--retry", "0", "--stall-timeout", "1s", h.Name()+"/app:v1").fails(8).says("1s")
			if o.Took > 15*time.Second {
				t.Errorf("%s\nlasted", o)
			}
			d.leftAlone()
		})
	}
	// A connection that stands still once is a fault like others.
	t.Run("once", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t, first(1, isBlob, body, shelved()))
		d := newDesk(t)
		d.stet("pull", "--stall-timeout", "1s", h.Name()+"/app:v1").ok()
		d.whole()
	})
	// Nobody reads what is pushed: the bytes are more than the system keeps.
	t.Run("push", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t, first(always, func(r *http.Request) bool { return r.ContentLength > 1000 || r.ContentLength < 0 }, stall(t), newRegistry(t)))
		d := newDesk(t)
		d.write("data.bin", strings.Repeat(content, 100))
		if o := d.stet("push", "--retry", "0", "--stall-timeout", "1s", h.Name()+"/app:v1", "data.bin").fails(8); o.Took > 20*time.Second {
			t.Errorf("%s\nlasted", o)
		}
		d.stet("resolve", h.Name()+"/app:v1").fails(5)
	})
}

// Case 57: nobody listens: exit ≠ 0 soon, address named.
func TestCase57NobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	d := newDesk(t)
	d.write("a", "a")
	for _, args := range [][]string{
		{"pull", address + "/app:v1"}, {"push", address + "/app:v1", "a"}, {"cp", address + "/app:v1", "oci:lay:v1"}, {"repo", "tags", address + "/app"},
	} {
		o := d.stet(args...).fails(8).says(address, "refused")
		if o.Took > 6*time.Second {
			t.Errorf("%s\ntook long", o)
		}
	}
	d.stet("pull", "registry.invalid/app:v1").fails(8).says("registry.invalid")
}
