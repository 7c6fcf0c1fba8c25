package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// largeContent is more than goes into one request from memory.
var largeContent = strings.Repeat(content, 20)

// sources writes a small and a large file, to be pushed.
func (d *desk) sources() []string {
	d.write("small.txt", "small\n")
	d.write("large.bin", largeContent)
	return []string{"small.txt", "large.bin"}
}

// pushed wants app:v1 to be what sources made.
func (d *desk) pushed(ref string) {
	d.t.Helper()
	d.stet("pull", "-o", "pulled", ref).ok()
	if d.read("pulled/small.txt") != "small\n" || d.read("pulled/large.bin") != largeContent {
		d.t.Error("other files came back")
	}
	d.stet("verify", ref).ok()
}

// afterwards passes a request on, and then lets fault answer in place of next.
func afterwards(next http.Handler, fault http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&unheard{http.Header{}}, r)
		fault(w, r)
	}
}

// unheard is an answer that nobody gets.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header         { return u.header }
func (u *unheard) Write(p []byte) (int, error) { return len(p), nil }
func (u *unheard) WriteHeader(int)             {}

// Case 59: faults of HEAD, POST, PUT, manifest PUT once: success.
func TestCase59UploadFaults(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(next http.Handler) http.HandlerFunc{
		"HEAD 500":    func(next http.Handler) http.HandlerFunc { return first(1, on("HEAD", ""), status(500), next) },
		"POST 500":    func(next http.Handler) http.HandlerFunc { return first(1, on("POST", ""), status(500), next) },
		"POST reset":  func(next http.Handler) http.HandlerFunc { return first(1, on("POST", ""), drop(true), next) },
		"PATCH 500":   func(next http.Handler) http.HandlerFunc { return first(1, on("PATCH", ""), status(500), next) },
		"PATCH reset": func(next http.Handler) http.HandlerFunc { return first(1, on("PATCH", ""), drop(true), next) },
		"PUT 500":     func(next http.Handler) http.HandlerFunc { return first(1, on("PUT", "/uploads/"), status(500), next) },
		"PUT reset":   func(next http.Handler) http.HandlerFunc { return first(1, on("PUT", "/uploads/"), drop(true), next) },
		"PUT done, not told": func(next http.Handler) http.HandlerFunc {
			return first(1, on("PUT", "/uploads/"), afterwards(next, drop(true)), next)
		},
		"PUT done, 504": func(next http.Handler) http.HandlerFunc {
			return first(1, on("PUT", "/uploads/"), afterwards(next, status(504)), next)
		},
		"session lost":   func(next http.Handler) http.HandlerFunc { return first(1, on("PUT", "/uploads/"), status(404), next) },
		"manifest 500":   func(next http.Handler) http.HandlerFunc { return first(1, on("PUT", "/manifests/"), status(500), next) },
		"manifest reset": func(next http.Handler) http.HandlerFunc { return first(1, on("PUT", "/manifests/"), drop(true), next) },
		"manifest done, reset": func(next http.Handler) http.HandlerFunc {
			return first(1, on("PUT", "/manifests/"), afterwards(next, drop(true)), next)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, script(newRegistry(t)))
			d := newDesk(t)
			d.stet(hurried(append([]string{"push", h.Name() + "/app:v1"}, d.sources()...)...)...).ok()
			d.pushed(h.Name() + "/app:v1")
			// Content of known digests goes another way.
			to := newHostile(t, script(newRegistry(t)))
			d.stet(hurried("cp", h.Name()+"/app:v1", to.Name()+"/app:v1")...).ok()
			d.stet("verify", to.Name()+"/app:v1").ok()
		})
	}
}

// Case 60: Location relative; with a query: success, query kept.
func TestCase60Location(t *testing.T) {
	t.Parallel()
	for name, location := range map[string]string{
		"relative":        "ID",
		"absolute":        "URL/v2/app/blobs/uploads/ID",
		"path":            "/v2/app/blobs/uploads/ID",
		"query":           "/v2/app/blobs/uploads/ID?_state=a%2Fb%3D%26c&x=1%2B1",
		"elsewhere":       "/uploads/../other/blobs/uploads/ID?digest=sha256:0",
		"no scheme":       "//HOST/v2/app/blobs/uploads/ID?q",
		"with a fragment": "/v2/app/blobs/uploads/ID#part",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newRecorder()
			h := newHostile(t, c.ServeHTTP)
			c.location = func(id string) string {
				return strings.NewReplacer("ID", id, "URL", "http://"+h.Name(), "HOST", h.Name()).Replace(location)
			}
			d := newDesk(t)
			o := d.stet(quick(append([]string{"push", h.Name() + "/app:v1"}, d.sources()...)...)...)
			if name == "elsewhere" { // two digests: only that no wrong thing is called done counts
				return
			}
			if o.ok(); !c.honest() || !c.has("v1") {
				t.Errorf("%s\nstored something else", o)
			}
			_, query, _ := strings.Cut(location, "?")
			for _, q := range c.queries {
				if !strings.HasPrefix(q, query) || !strings.Contains(q, "digest=sha256") {
					t.Errorf("the query became %q", q)
				}
			}
		})
	}
	for name, location := range map[string]string{"none": "", "garbage": "http://%zz", "other scheme": "file:///etc/passwd", "control": "/v2/\x01"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newRecorder()
			c.location = func(string) string { return location }
			h := newHostile(t, c.ServeHTTP)
			d := newDesk(t)
			d.write("a", "a")
			d.stet(quick("push", h.Name()+"/app:v1", "a")...).fails(6, 7, 8)
			if c.has("v1") {
				t.Error("there is a tag")
			}
		})
	}
}

// Case 61: 416 on a chunk: continue at the server's offset.
func TestCase61ChunkOutOfPlace(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t)
	var patches atomic.Int32
	h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		// Of the third chunk the registry keeps some bytes, and says nothing of it but 416.
		if r.Method != http.MethodPatch || patches.Add(1) != 3 {
			registry.ServeHTTP(w, r)
			return
		}
		raw, _ := io.ReadAll(r.Body)
		var from int
		fmt.Sscanf(r.Header.Get("Content-Range"), "%d-", &from)
		kept := r.Clone(r.Context())
		kept.Body, kept.ContentLength = io.NopCloser(bytes.NewReader(raw[:1000])), 1000
		kept.Header.Set("Content-Range", fmt.Sprintf("%d-%d", from, from+999))
		kept.Header.Set("Content-Length", "1000")
		registry.ServeHTTP(&unheard{http.Header{}}, kept)
		w.Header().Set("Location", r.URL.RequestURI())
		w.Header().Set("Range", fmt.Sprintf("0-%d", from+999))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	})
	d := newDesk(t)
	o := d.stet(hurried(append([]string{"push", "--chunk-size", "512KiB", h.Name() + "/app:v1"}, d.sources()...)...)...).ok()
	d.pushed(h.Name() + "/app:v1")
	var sent int64
	for _, p := range h.heard("PATCH", "") {
		sent += p.Took.Load()
	}
	if sent > int64(len(largeContent))+(1<<20) {
		t.Errorf("%s\nsent %d bytes for %d: it started over", o, sent, len(largeContent))
	}
}

// Case 62: manifest PUT reports another digest: exit ≠ 0 or not repeated.
func TestCase62OtherDigestOfAManifest(t *testing.T) {
	t.Parallel()
	other := digest.FromString("other").String()
	for name, next := range map[string]http.Handler{"manifest": newRegistry(t), "blob": newRegistry(t)} {
		part := map[string]string{"manifest": "/manifests/", "blob": "/blobs/"}[name]
		h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
			if reads(r) || !strings.Contains(r.URL.Path, part) {
				next.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(&changedAnswer{ResponseWriter: w, change: func(h http.Header) { h.Set("Docker-Content-Digest", other) }}, r)
		})
		d := newDesk(t)
		d.stet(quick(append([]string{"push", h.Name() + "/app:v1"}, d.sources()...)...)...).fails(7)
		if name == "manifest" {
			d.write("m.json", imageOf())
			d.stet(quick("manifest", "push", h.Name()+"/app:v2", "m.json")...).fails(7)
		}
	}
}

// Case 63: a blob refused; the manifest refused: exit ≠ 0, no tag, no other kind
// of manifest.
func TestCase63Refused(t *testing.T) {
	t.Parallel()
	blobs := func(r *http.Request) bool {
		return !reads(r) && strings.Contains(r.URL.Path, "/blobs/") && r.Method != "DELETE"
	}
	for name, c := range map[string]struct {
		match func(*http.Request) bool
		code  int
		exits []int
	}{
		"blob 403":     {blobs, 403, []int{4}},
		"blob 400":     {blobs, 400, []int{6}},
		"blob 413":     {blobs, 413, []int{6}},
		"manifest 400": {on("PUT", "/manifests/"), 400, []int{6}},
		"manifest 403": {on("PUT", "/manifests/"), 403, []int{4}},
		"manifest 413": {on("PUT", "/manifests/"), 413, []int{6}},
		"manifest 415": {on("PUT", "/manifests/"), 415, []int{6}},
		"manifest 404": {on("PUT", "/manifests/"), 404, []int{5, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := newRecorder()
			h := newHostile(t, first(always, c.match, status(c.code), rec))
			d := newDesk(t)
			d.stet(append([]string{"push", h.Name() + "/app:v1"}, d.sources()...)...).fails(c.exits...)
			kinds := map[string]bool{}
			for _, p := range h.heard("PUT", "/v2/app/manifests/") {
				kinds[p.Header.Get("Content-Type")] = true
			}
			if len(kinds) > 1 || strings.HasPrefix(name, "blob") && len(kinds) > 0 || rec.has("v1") {
				t.Errorf("manifests of the kinds %v were put", kinds)
			}
			d.stet(quick("resolve", h.Name()+"/app:v1")...).fails(5)
		})
	}
}

// Case 64: source file changes; is missing: never wrong bytes under a digest; no tag.
func TestCase64SourceChanges(t *testing.T) {
	t.Parallel()
	other := strings.ToUpper(strings.ReplaceAll(largeContent, "0", "z"))
	for name, change := range map[string]func(path string) error{
		"same length": func(p string) error { return overwrite(p, other) },
		"shorter":     func(p string) error { return os.Truncate(p, 1000) },
		"empty":       func(p string) error { return os.Truncate(p, 0) },
		"longer":      func(p string) error { return overwrite(p, other+"more") },
		"gone":        os.Remove,
		"replaced": func(p string) error {
			return os.Rename(filepath.Join(filepath.Dir(p), "small.txt"), p)
		},
	} {
		for when, match := range map[string]func(*http.Request) bool{
			"at first": anyRequest, "in the upload": on("POST", "/uploads/"), "in the body": on("", "/uploads/1"),
		} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				rec := newRecorder()
				d := newDesk(t)
				path := filepath.Join(d.Dir, "large.bin")
				var once sync.Once
				h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
					if match(r) {
						once.Do(func() { _ = change(path) }) // what is gone already stays so
					}
					rec.ServeHTTP(w, r)
				})
				d.sources()
				o := d.stet(quick("push", h.Name()+"/app:v1", "large.bin")...)
				if !rec.honest() {
					t.Fatalf("%s\nstored wrong bytes under a digest", o)
				}
				if o.Code != 0 {
					if o.fails(5, 7, 8, 1); rec.has("v1") {
						t.Errorf("%s\nset the tag", o)
					}
					return
				}
				// It is done only if what was stored is one of the two states.
				for dig, raw := range rec.blobs {
					if !strings.Contains(rec.manifests["v1"], dig) || !slices.Contains([]string{largeContent, other, "{}", other + "more", "small\n", "", largeContent[:1000]}, raw) {
						t.Errorf("%s\nstored %s, %d bytes", o, dig, len(raw))
					}
				}
			})
		}
	}
	t.Run("missing", func(t *testing.T) {
		rec := newRecorder()
		h := newHostile(t, rec.ServeHTTP)
		d := newDesk(t)
		d.stet("push", h.Name()+"/app:v1", "none.txt").fails(5).says("none.txt")
		h.atMost(0)
	})
}

// overwrite changes a file in its place: who has it open sees it.
func overwrite(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(content)
	return err
}

// Case 65: mount not done; mount lies: upload; never an incomplete copy.
func TestCase65Mount(t *testing.T) {
	t.Parallel()
	mounts := func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Get("mount") != "" }
	lie := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/v2/copy/blobs/"+r.URL.Query().Get("mount"))
		w.Header().Set("Docker-Content-Digest", r.URL.Query().Get("mount"))
		w.WriteHeader(http.StatusCreated)
	}
	lieOther := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
		w.WriteHeader(http.StatusCreated)
	}
	// Of another blob than the largest; the others are mounted.
	lieOfSmall := func(next http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("mount") == digest.FromString(largeContent).String() {
				next.ServeHTTP(w, r)
				return
			}
			lie(w, r)
		}
	}
	for name, fault := range map[string]http.HandlerFunc{
		"202 without Location": status(202), "404": status(404), "403": status(403), "405": status(405), "401": status(401),
		"lies": lie, "lies of another": lieOther, "lies of some": nil,
	} {
		// The registry looks for the blobs of a manifest, or it takes every manifest.
		for kind, quirks := range map[string]serve.Quirks{"strict": {}, "takes everything": {AbsentBlobs: true}} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				registry := serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: quirks})
				t.Cleanup(func() { registry.Close() })
				there := newHostile(t, registry.ServeHTTP)
				d := newDesk(t)
				files := d.sources()
				d.stet(append([]string{"push", there.Name() + "/app:v1"}, files...)...).ok()
				fault := fault
				if fault == nil {
					fault = lieOfSmall(registry)
				}
				h := newHostile(t, first(always, mounts, fault, registry))
				d.stet(quick("cp", h.Name()+"/app:v1", h.Name()+"/copy:v1")...).ok()
				d.pushed(there.Name() + "/copy:v1")
				// Where a repository is asked for its own blobs, the same.
				d.stet(quick(append([]string{"push", h.Name() + "/new:v1"}, files...)...)...).ok()
				d.pushed(there.Name() + "/new:v1")
				// A blob alone is there, or the command fails.
				blob := "@" + digest.FromString(largeContent).String()
				if o := d.stet(quick("blob", "mount", h.Name()+"/app"+blob, h.Name()+"/one")...); o.Code != 0 {
					o.fails(7)
				} else if d.stet("blob", "fetch", "-o", "one", there.Name()+"/one"+blob).ok(); d.read("one") != largeContent {
					t.Error("another blob was mounted")
				}
			})
		}
	}
}

// Case 66: cp: destination refuses; source breaks once: no tag; success.
func TestCase66CopyFaults(t *testing.T) {
	t.Parallel()
	s := newShelf()
	child := s.artifact([]store.Descriptor{s.file("data.bin", content)})
	s.index([]store.Descriptor{child}, "v1")
	for name, match := range map[string]func(*http.Request) bool{
		"blob":     func(r *http.Request) bool { return r.Method == "POST" },
		"child":    on("PUT", "/manifests/"+child.Digest.String()),
		"manifest": on("PUT", "/manifests/"),
	} {
		for _, code := range []int{400, 403, 500} {
			from := newHostile(t, s.ServeHTTP)
			to := newHostile(t, first(always, match, status(code), newRegistry(t)))
			d := newDesk(t)
			d.stet(quick("cp", from.Name()+"/app:v1", to.Name()+"/app:v1")...).fails(4, 6, 8)
			d.stet("resolve", to.Name()+"/app:v1").fails(5)
			if name != "manifest" && to.heard("PUT", "/v2/app/manifests/v1") != nil {
				t.Errorf("%s %d: the tag was put before what it needs", name, code)
			}
		}
	}
	from := newHostile(t, first(1, isManifest, drop(true), first(1, isManifest, status(500), cutBlob(1, true, s))))
	to := newHostile(t, newRegistry(t).ServeHTTP)
	d := newDesk(t)
	d.stet(hurried("cp", from.Name()+"/app:v1", to.Name()+"/app:v1")...).ok()
	d.stet("verify", to.Name()+"/app:v1").ok()
}
