package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// withoutAPI is a registry that has no referrers API, and does not say that it
// knew a subject.
func withoutAPI(next http.Handler) http.HandlerFunc {
	return first(always, on("", "/referrers/"), status(404), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&changedAnswer{ResponseWriter: w, change: func(h http.Header) { h.Del("OCI-Subject") }}, r)
	}))
}

// subject pushes app:v1 and gives its digest.
func (d *desk) subject(h *hostile) string {
	d.t.Helper()
	d.write("a.txt", "a\n")
	d.stet("push", h.Name()+"/app:v1", "a.txt").ok()
	return strings.TrimSpace(d.stet("resolve", h.Name()+"/app:v1").ok().Stdout)
}

// schemaTag is the tag of the list of referrers of a digest.
func schemaTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// Case 80: no referrers API: tag schema read and kept up.
func TestCase80TagSchema(t *testing.T) {
	t.Parallel()
	h := newHostile(t, withoutAPI(newRegistry(t)))
	d := newDesk(t)
	subject := d.subject(h)
	for _, kind := range []string{"application/vnd.case.one", "application/vnd.case.two"} {
		d.write("sbom", kind)
		d.stet("attach", "--artifact-type", kind, h.Name()+"/app:v1", "sbom").ok().says("tag schema")
	}
	d.stet("discover", h.Name()+"/app:v1").ok().says("application/vnd.case.one", "application/vnd.case.two")
	list := d.stet("manifest", "fetch", h.Name()+"/app:"+schemaTag(subject)).ok().says("vnd.case.one", "vnd.case.two", indexType)
	// The one that is deleted goes from the list as well.
	_, after, _ := strings.Cut(list.Stdout, `"digest":"`)
	one, _, _ := strings.Cut(after, `"`)
	d.stet("manifest", "delete", "-f", h.Name()+"/app@"+one).ok()
	d.stet("manifest", "fetch", h.Name()+"/app:"+schemaTag(subject)).ok().never(one).says("vnd.case.two")
	to := newHostile(t, withoutAPI(newRegistry(t)))
	d.stet("cp", "-r", h.Name()+"/app:v1", to.Name()+"/app:v1").ok()
	d.stet("discover", to.Name()+"/app:v1").ok().says("vnd.case.two").never("vnd.case.one")
}

// referring is a shelf with app:v1, and two that say they refer to it.
func referring() (s *shelf, subject, one, two store.Descriptor) {
	s = newShelf()
	subject = s.artifact([]store.Descriptor{s.file("a.txt", "a\n")}, "v1")
	about := func(kind string) store.Descriptor {
		d := s.manifest(imageType, asJSON(map[string]any{
			"schemaVersion": 2, "mediaType": imageType, "artifactType": kind, "config": store.EmptyJSON(),
			"layers": []store.Descriptor{}, "subject": store.Plain(subject),
		}))
		d.ArtifactType = kind
		return d
	}
	return s, subject, about("application/vnd.case.one"), about("application/vnd.case.two")
}

// Case 81: referrers: HTML, 500, circle, cycle, no filter: fail closed; ends; filtered.
func TestCase81Referrers(t *testing.T) {
	t.Parallel()
	s, subject, one, two := referring()
	list := func(w http.ResponseWriter, manifests ...store.Descriptor) {
		w.Header().Set("Content-Type", indexType)
		io.WriteString(w, indexOf(manifests...))
	}
	none := func(w http.ResponseWriter, _ *http.Request) { list(w) }
	of := func(d store.Descriptor) string { return "/v2/app/referrers/" + d.Digest.String() }
	var page atomic.Int32
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		fails  bool // else it ends, in one way or the other
	}{
		"HTML": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>welcome</html>")
		}, true},
		"500": {status(500), true},
		"403": {status(403), true},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", indexType)
			io.WriteString(w, "{")
		}, true},
		"other kind": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", imageType)
			io.WriteString(w, imageOf())
		}, true},
		"bad digest": {func(w http.ResponseWriter, _ *http.Request) {
			list(w, store.Descriptor{MediaType: imageType, Digest: "sha256:../../x", Size: 1})
		}, true},
		"second page": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "" {
				status(500)(w, r)
				return
			}
			w.Header().Set("Link", "<"+r.URL.Path+`?next=1>; rel="next"`)
			list(w, one)
		}, true},
		"circle": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "<"+r.URL.Path+`?next=1>; rel="next"`)
			list(w, one)
		}, false},
		"endless empty": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", fmt.Sprintf(`<%s?next=%d>; rel="next"`, r.URL.Path, page.Add(1)))
			list(w)
		}, false},
		"cycle": {func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path { // a digest cannot be in its own content, but a registry can say so
			case of(subject):
				list(w, one)
			case of(one):
				list(w, two)
			default:
				list(w, one, store.Plain(subject))
			}
		}, false},
		"itself": {func(w http.ResponseWriter, r *http.Request) { list(w, store.Plain(subject)) }, false},
		"of another": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != of(subject) {
				none(w, r)
				return
			}
			list(w, store.Descriptor{MediaType: imageType, Digest: digest.FromString("gone"), Size: 4})
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, first(always, on("", "/referrers/"), c.answer, s))
			d := newDesk(t)
			for _, args := range [][]string{{"discover", h.Name() + "/app:v1"}, {"cp", "-r", h.Name() + "/app:v1", "oci:lay:v1"}} {
				o := d.stet(quick(args...)...)
				if c.fails || o.Code != 0 {
					o.fails(4, 5, 6, 7, 8)
				}
				if args[0] == "cp" && o.Code != 0 {
					d.stet("resolve", "oci:lay:v1").fails(5)
				}
			}
			h.atMost(60)
		})
	}
	t.Run("no filter", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t, first(always, on("", of(subject)), func(w http.ResponseWriter, _ *http.Request) { list(w, one, two) },
			first(always, on("", "/referrers/"), none, s)))
		d := newDesk(t)
		d.stet(quick("discover", "--artifact-type", one.ArtifactType, h.Name()+"/app:v1")...).ok().says("case.one").never("case.two")
		d.stet(quick("cp", "-r", "--artifact-type", one.ArtifactType, h.Name()+"/app:v1", "oci:lay:v1")...).ok()
		d.stet("discover", "oci:lay:v1").ok().says("case.one").never("case.two")
	})
}

// Case 82: tag schema tag is no index; cannot be written; endless: exit ≠ 0, not
// overwritten.
func TestCase82TagSchemaTag(t *testing.T) {
	t.Parallel()
	other := imageOf()
	large := func() string {
		var all []store.Descriptor
		for i := range 30000 {
			all = append(all, store.Descriptor{MediaType: imageType, Digest: digest.FromString(fmt.Sprint(i)), Size: 1})
		}
		return indexOf(all...)
	}
	for name, c := range map[string]struct{ kind, raw string }{
		"an image":          {imageType, other},
		"no JSON":           {indexType, `{"manifests":[`},
		"twice":             {indexType, `{"schemaVersion":2,"manifests":[],"manifests":[]}`},
		"wrong kind within": {indexType, `{"schemaVersion":2,"mediaType":"` + imageType + `","manifests":[]}`},
		"of 4 MiB":          {indexType, large()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t)
			d := newDesk(t)
			var tag string
			h := newHostile(t, withoutAPI(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tag != "" && reads(r) && strings.HasSuffix(r.URL.Path, tag) {
					w.Header().Set("Content-Type", c.kind)
					w.Header().Set("Content-Length", fmt.Sprint(len(c.raw)))
					if r.Method == http.MethodGet {
						io.WriteString(w, c.raw)
					}
					return
				}
				registry.ServeHTTP(w, r)
			})))
			tag = schemaTag(d.subject(h))
			d.write("sbom", "sbom")
			d.stet(quick("attach", "--artifact-type", "application/vnd.case", h.Name()+"/app:v1", "sbom")...).fails(6, 7)
			if put := h.heard("PUT", "/v2/app/manifests/"+tag); len(put) > 0 {
				t.Errorf("overwritten: %v", put)
			}
		})
	}
	t.Run("cannot be written", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		h := newHostile(t, withoutAPI(first(always, on("PUT", "/manifests/sha256-"), status(403), newRegistry(t))))
		d.subject(h)
		d.write("sbom", "sbom")
		d.stet(quick("attach", "--artifact-type", "application/vnd.case", h.Name()+"/app:v1", "sbom")...).fails(4)
	})
	t.Run("endless", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		h := newHostile(t, withoutAPI(first(always, func(r *http.Request) bool { return reads(r) && strings.Contains(r.URL.Path, "/manifests/sha256-") },
			func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", indexType)
				io.WriteString(w, `{"schemaVersion":2,"manifests":[],"x":"`)
				for r.Context().Err() == nil {
					if _, err := io.WriteString(w, content); err != nil {
						return
					}
				}
			}, newRegistry(t))))
		d.subject(h)
		d.write("sbom", "sbom")
		d.stet(quick("attach", "--artifact-type", "application/vnd.case", h.Name()+"/app:v1", "sbom")...).fails(6, 7, 8)
		if h.gave() > 64<<20 {
			t.Errorf("read %d bytes", h.gave())
		}
	})
}

// Case 83: two attach at once: both listed, or one fails. Here it is six, with
// and without the referrers API.
func TestCase83AttachAtOnce(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{"API": newRegistry(t).ServeHTTP, "tag schema": withoutAPI(newRegistry(t))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, handler)
			d := newDesk(t)
			d.subject(h)
			var all []*running
			for i := range 6 {
				file := fmt.Sprintf("sbom%d", i)
				d.write(file, file)
				all = append(all, d.start("attach", "--artifact-type", fmt.Sprintf("application/vnd.case.n%d", i), h.Name()+"/app:v1", file))
			}
			var done []string
			for i, r := range all {
				if o := r.end(); o.Code == 0 {
					done = append(done, fmt.Sprintf("application/vnd.case.n%d", i))
				} else {
					o.fails(8)
				}
			}
			if len(done) == 0 {
				t.Error("none was attached")
			}
			d.stet("discover", h.Name()+"/app:v1").ok().says(done...)
		})
	}
}

// Case 84: attach to nothing: exit ≠ 0, nothing pushed.
func TestCase84AttachToNothing(t *testing.T) {
	t.Parallel()
	h := newHostile(t, newRegistry(t).ServeHTTP)
	d := newDesk(t)
	d.write("sbom", "sbom")
	for _, ref := range []string{"/app:none", "/app@" + digest.FromString("none").String()} {
		d.stet(quick("attach", "--artifact-type", "application/vnd.case", h.Name()+ref, "sbom")...).fails(5)
	}
	for _, method := range []string{"POST", "PUT", "PATCH"} {
		if sent := h.heard(method, ""); len(sent) > 0 {
			t.Errorf("sent %v", sent)
		}
	}
}
