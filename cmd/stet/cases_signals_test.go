package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// standStill lets a registry stand still in the middle of each blob, in either
// direction, and tells when it does.
func standStill(t *testing.T, next http.Handler) (handler http.HandlerFunc, reached <-chan struct{}) {
	at := make(chan struct{})
	var once sync.Once
	still := func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(at) })
		stall(t)(w, r)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && isBlob(r) && !strings.Contains(r.URL.Path, store.EmptyJSON().Digest.Encoded()):
			w.Header().Set("Content-Length", fmt.Sprint(len(largeContent)))
			io.WriteString(w, largeContent[:len(largeContent)/2])
			http.NewResponseController(w).Flush()
			still(w, r)
		case r.ContentLength > 1<<16 || r.ContentLength < 0:
			io.CopyN(io.Discard, r.Body, 1<<10)
			still(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	}, at
}

// largeShelf has app:v1 with the file data.bin of several megabytes.
func largeShelf() *shelf {
	s := newShelf()
	s.artifact([]store.Descriptor{s.file("data.bin", largeContent)}, "v1")
	return s
}

// signalled starts a command, sends the signal once the registry stands still,
// and wants the end within two seconds. The race detector and other tests may
// make that longer than it is for a user.
func (d *desk) signalled(sig os.Signal, reached <-chan struct{}, args ...string) outcome {
	d.t.Helper()
	r := d.start(args...)
	select {
	case <-reached:
		time.Sleep(200 * time.Millisecond) // what was sent before has to arrive
	case <-time.After(20 * time.Second):
		d.t.Fatalf("never stood still: %s", r.end())
	}
	begun := time.Now()
	_ = r.Process.Signal(sig)
	o := r.end()
	if took := time.Since(begun); took > 2*time.Second && !raceDetector || took > 10*time.Second {
		d.t.Errorf("%s\nwent on for %v after the signal", o, took)
	}
	return o
}

// Case 76: Ctrl-C, SIGTERM, SIGKILL in a pull; in a push: soon, no partial file;
// no tag. A partial file that the next run proves and goes on from may stay.
func TestCase76Signals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		signal os.Signal
		code   int
	}{"Ctrl-C": {os.Interrupt, 130}, "SIGTERM": {syscall.SIGTERM, 143}, "SIGKILL": {os.Kill, -1}} {
		t.Run("pull "+name, func(t *testing.T) {
			t.Parallel()
			handler, reached := standStill(t, largeShelf())
			h := newHostile(t, handler)
			d := newDesk(t)
			o := d.signalled(c.signal, reached, "pull", h.Name()+"/app:v1")
			if o.Code != c.code {
				t.Errorf("%s\nwant %d", o, c.code)
			}
			d.leftAlone()
			// What a dead run left is spoilt, and nobody trusts it.
			for _, f := range d.files() {
				raw := []byte(d.read(f))
				if len(raw) > 10 {
					raw[5] ^= 1
				}
				d.write(f, string(raw))
			}
			good := newHostile(t, largeShelf().ServeHTTP)
			d.stet("pull", good.Name()+"/app:v1").ok()
			if d.read("data.bin") != largeContent || len(d.files()) != 1 {
				t.Errorf("after the next pull there is %q", d.files())
			}
		})
		t.Run("push "+name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t)
			handler, reached := standStill(t, registry)
			h := newHostile(t, handler)
			d := newDesk(t)
			o := d.signalled(c.signal, reached, append([]string{"push", h.Name() + "/app:v1"}, d.sources()...)...)
			if o.Code != c.code {
				t.Errorf("%s\nwant %d", o, c.code)
			}
			if n := h.heard("PUT", "/v2/app/manifests/"); len(n) > 0 {
				t.Errorf("%v after the signal", n)
			}
			good := newHostile(t, registry.ServeHTTP)
			d.stet("resolve", good.Name()+"/app:v1").fails(5)
			d.stet("push", good.Name()+"/app:v1", "small.txt", "large.bin").ok()
			d.pushed(good.Name() + "/app:v1")
		})
		for _, to := range []string{"oci:lay:v1", "tar:a.tar:v1"} {
			t.Run("cp to "+to[:3]+" "+name, func(t *testing.T) {
				t.Parallel()
				handler, reached := standStill(t, largeShelf())
				h := newHostile(t, handler)
				d := newDesk(t)
				d.write("old.txt", "old\n")
				d.stet("push", strings.Replace(to, "v1", "old", 1), "old.txt").ok()
				o := d.signalled(c.signal, reached, "cp", h.Name()+"/app:v1", to)
				if o.Code != c.code {
					t.Errorf("%s\nwant %d", o, c.code)
				}
				d.stet("resolve", to).fails(5)
				d.stet("verify", strings.Replace(to, "v1", "old", 1)).ok()
				d.verifyBlobs("lay")
				good := newHostile(t, largeShelf().ServeHTTP)
				d.stet("cp", good.Name()+"/app:v1", to).ok()
				d.stet("verify", to).ok()
				d.stet("verify", strings.Replace(to, "v1", "old", 1)).ok()
				for _, f := range d.files() {
					if strings.Contains(f, "partial") || strings.Contains(f, "ingest-") {
						t.Errorf("after the next copy there still is %s", f)
					}
				}
			})
		}
	}
	// Twice Ctrl-C ends it, whatever it does.
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		handler, reached := standStill(t, largeShelf())
		h := newHostile(t, handler)
		d := newDesk(t)
		r := d.start("pull", h.Name()+"/app:v1")
		<-reached
		_ = r.Process.Signal(os.Interrupt)
		_ = r.Process.Signal(os.Interrupt)
		if o := r.end(); o.Code != 130 && o.Code != -1 {
			t.Errorf("%s", o)
		}
		d.leftAlone()
	})
}

// Case 76, while a packed directory is unpacked: nothing of it has its final name.
func TestCase76SignalWhileUnpacking(t *testing.T) {
	t.Parallel()
	s := newShelf()
	b := s.blob(bomb(1 << 30))
	b.MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"
	b.Annotations = map[string]string{titleKey: "d", unpackKey: "true"}
	s.artifact([]store.Descriptor{b}, "v1")
	h := newHostile(t, s.ServeHTTP)
	d := newDesk(t)
	r := d.start("pull", h.Name()+"/app:v1")
	for deadline := time.Now().Add(20 * time.Second); ; {
		if stages, _ := filepath.Glob(filepath.Join(d.Dir, ".d.*.dir.partial", "zeros")); len(stages) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing is unpacked: %s", r.end())
		}
		time.Sleep(5 * time.Millisecond)
	}
	begun := time.Now()
	_ = r.Process.Signal(os.Interrupt)
	o := r.end()
	if o.Code != 130 || time.Since(begun) > 10*time.Second {
		t.Errorf("%s\n%v after the signal", o, time.Since(begun))
	}
	d.leftAlone()
	for _, f := range d.files() {
		if strings.Contains(f, "dir.partial") {
			t.Errorf("left %s", f)
		}
	}
}

// Case 77: two pulls into one directory: both whole.
func TestCase77TwoPulls(t *testing.T) {
	t.Parallel()
	s := newShelf()
	entries := []entryOf{{name: "d/", kind: '5'}}
	for i := range 50 {
		entries = append(entries, entryOf{name: fmt.Sprintf("d/%d", i), kind: '0', to: fmt.Sprint(i)})
	}
	d := packed(s, "d", tarball(entries...))
	s.artifact([]store.Descriptor{s.file("data.bin", largeContent), s.file("small.txt", "small\n"), d}, "v1")
	s.artifact([]store.Descriptor{s.file("data.bin", content), s.file("small.txt", "other\n")}, "v2")
	h := newHostile(t, s.ServeHTTP)
	for range 3 {
		at := newDesk(t)
		var all []*running
		for range 4 {
			all = append(all, at.start("pull", h.Name()+"/app:v1"))
		}
		for _, r := range all {
			r.end().ok()
		}
		if at.read("data.bin") != largeContent || at.read("small.txt") != "small\n" {
			t.Error("a file is not whole")
		}
		for i := range 50 {
			if at.read(fmt.Sprintf("d/%d", i)) != fmt.Sprint(i) {
				t.Errorf("d/%d is not whole", i)
			}
		}
		for _, f := range at.files() {
			if strings.HasPrefix(f, ".") {
				t.Errorf("left %s", f)
			}
		}
	}
	// Two different artifacts: each file is that of one or the other.
	for range 5 {
		at := newDesk(t)
		one, two := at.start("pull", "--include", "*.*", h.Name()+"/app:v1"), at.start("pull", h.Name()+"/app:v2")
		one.end().ok()
		two.end().ok()
		if got := at.read("data.bin"); got != largeContent && got != content {
			t.Errorf("data.bin has %d bytes", len(got))
		}
		if got := at.read("small.txt"); got != "small\n" && got != "other\n" {
			t.Errorf("small.txt is %q", got)
		}
		if left := at.files(); len(left) != 2 {
			t.Errorf("there is %q", left)
		}
	}
}
