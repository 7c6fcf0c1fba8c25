package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Every run of these is held to caseMemory by the desk.

// Case 23: manifest of 50 MB; endless; gzip bomb by Content-Encoding: refused,
// memory bounded.
func TestCase23LargeManifest(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	io.Copy(z, io.LimitReader(letters{}, 200<<20))
	z.Close()
	large := imageOf(store.Descriptor{MediaType: octetsType, Digest: digest.FromString(""), Annotations: map[string]string{"a": strings.Repeat("b", 50<<20)}})
	// Documents that are small enough, and would be large in memory.
	many := func(field, one string) string {
		n := (4<<20 - 300) / (len(one) + 1)
		return `{"schemaVersion":2,"mediaType":"` + imageType + `","config":{},"` + field + `":[` + strings.Repeat(one+",", n) + one + "]}"
	}
	notes := strings.Builder{}
	for i := 0; notes.Len() < 3<<20; i++ {
		fmt.Fprintf(&notes, `"%x":"",`, i)
	}
	answers := map[string]http.HandlerFunc{
		"50 MB":            func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, large) },
		"50 MB, chunked":   chunked(large),
		"endless":          func(w http.ResponseWriter, _ *http.Request) { pour(w) },
		"endless brackets": func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("["), 64<<20)) },
		"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
		},
		"gzip that was not asked for": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, imageOf())
			z.Close()
		},
		"many layers of nothing": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, many("layers", "{}")) },
		"many layers of null":    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, many("layers", "null")) },
		"many unknown":           func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, many("x", "{}")) },
		"many numbers":           func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, many("x", "1")) },
		"many annotations": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"annotations":{%s"z":""}}`, notes.String())
		},
		"a size that is not given": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<62))
			io.WriteString(w, "{")
		},
	}
	for name, script := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", imageType)
				if r.Method != http.MethodHead {
					script(w, r)
				}
			})
			d := newDesk(t)
			for _, args := range [][]string{
				{"pull", h.Name() + "/app:v1"}, {"manifest", "fetch", h.Name() + "/app:v1"}, {"cp", h.Name() + "/app:v1", "oci:copy:v1"},
			} {
				if args[0] == "manifest" && strings.HasPrefix(name, "many") {
					continue // it is no more than printed
				}
				o := d.stet(quick(args...)...)
				if o.Code == 0 || o.Code == 2 {
					t.Errorf("%s", o)
				}
			}
			d.leftAloneBut("copy/")
			near(h, 3*16<<20) // a few requests, each with the buffers of two kernels
		})
	}
}

// leftAloneBut is leftAlone but for what lies under a name.
func (d *desk) leftAloneBut(prefix string) {
	d.t.Helper()
	for _, f := range d.files() {
		if !strings.HasPrefix(f, ".") && !strings.HasPrefix(f, prefix) {
			d.t.Errorf("left behind: %q", d.files())
			return
		}
	}
}

// letters is text without an end.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// Case 24: endless tag list, error body, token, referrers index: refused, memory
// and bytes bounded.
func TestCase24Endless(t *testing.T) {
	t.Parallel()
	s := newShelf()
	root := s.artifact([]store.Descriptor{s.file("a.txt", "a\n")}, "v1")
	list := func(open, one string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, open)
			block := strings.Repeat(one, 1000)
			for n := 0; n < endlessly; n += len(block) {
				if _, err := io.WriteString(w, block); err != nil {
					return
				}
			}
		}
	}
	entry := asJSON(store.Descriptor{MediaType: imageType, Digest: digest.FromString("x"), Size: 3}) + ","
	cases := []struct {
		name, path string
		status     int
		body       http.HandlerFunc
		args       []string
	}{
		{"one page of tags", "/tags/list", 200, list(`{"name":"app","tags":["a"`, `,"tag"`), []string{"repo", "tags", "/app"}},
		{"pages of tags", "/tags/list", 0, nil, []string{"repo", "tags", "/app"}},
		{"repositories", "/_catalog", 200, list(`{"repositories":["a"`, `,"repo"`), []string{"repo", "ls", ""}},
		{"error body", "/manifests/v1", 404, func(w http.ResponseWriter, _ *http.Request) { pour(w) }, []string{"pull", "/app:v1"}},
		{"error in JSON", "/manifests/v1", 400, list(`{"errors":[`, `{"code":"A","message":"b"},`), []string{"pull", "/app:v1"}},
		{"error of a push", "/blobs/uploads/", 400, func(w http.ResponseWriter, _ *http.Request) { pour(w) }, []string{"cp", "oci:local:v1", "/app:v2"}},
		{"referrers", "/referrers/" + root.Digest.String(), 200, list(`{"schemaVersion":2,"mediaType":"`+indexType+`","manifests":[`, entry), []string{"discover", "/app:v1"}},
		{"referrers of a copy", "/referrers/" + root.Digest.String(), 200, list(`{"schemaVersion":2,"manifests":[`, entry), []string{"cp", "-r", "/app:v1", "oci:copy:v1"}},
		{"redirect's body", "/manifests/v1", 307, func(w http.ResponseWriter, _ *http.Request) { pour(w) }, []string{"pull", "/app:v1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pages := 0
			h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case !strings.HasSuffix(r.URL.Path, c.path) || r.Method == http.MethodHead:
					s.ServeHTTP(w, r)
				case c.body == nil:
					pages++
					w.Header().Set("Link", fmt.Sprintf(`</v2/app/tags/list?n=2&last=%d>; rel="next"`, pages))
					fmt.Fprintf(w, `{"name":"app","tags":["t%d"]}`, pages)
				default:
					if c.path == "/_catalog" || strings.HasPrefix(c.path, "/tags") {
						w.Header().Set("Content-Type", "application/json")
					} else {
						w.Header().Set("Content-Type", indexType)
					}
					if c.status == 307 {
						w.Header().Set("Location", r.URL.Path+"/")
					}
					w.WriteHeader(c.status)
					c.body(w, r)
				}
			})
			d := newDesk(t)
			d.stet(quick("cp", h.Name()+"/app@"+root.Digest.String(), "oci:local:v1")...).ok()
			args := make([]string, len(c.args))
			for i, a := range c.args {
				if args[i] = a; strings.HasPrefix(a, "/") || a == "" {
					args[i] = h.Name() + a
				}
			}
			before := h.gave()
			o := d.stet(args...)
			if o.Code == 0 || o.Code == 2 {
				t.Errorf("%s\nwant it to fail", o)
			}
			if len(o.Stderr) > 64<<10 {
				t.Errorf("%d bytes on stderr", len(o.Stderr))
			}
			near(h, before+32<<20)
		})
	}
}

// Case 24, the token: endless, and in one long line.
func TestCase24EndlessToken(t *testing.T) {
	t.Parallel()
	for _, open := range []string{"", `{"token":"`, `[`} {
		h := challenging(t, "", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, open)
			pour(w)
		})
		newDesk(t).stet(quick("pull", h.Name()+"/app:v1", "-u", "alice", "-p", "s3cr3t-word")...).fails(4, 6, 7, 8)
		near(h, 16<<20)
	}
}

// challenging is a registry that wants a token for all it has, which it takes
// from realm, by default its own /token.
func challenging(t *testing.T, realm string, token http.HandlerFunc) *hostile {
	h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			token(w, r)
			return
		}
		to := realm
		if to == "" {
			to = "http://" + r.Host + "/token"
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="`+to+`",service="case",scope="repository:app:pull"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
	})
	return h
}

// Case 25: indexes nested 1 000 deep: ends; whole copy or clean refusal. And
// wide instead of deep: one child named many times is read once.
func TestCase25NestedIndexes(t *testing.T) {
	t.Parallel()
	s := newShelf()
	leaf := s.artifact([]store.Descriptor{s.file("leaf.txt", "leaf\n")})
	d := leaf
	for range 1000 {
		d = s.index([]store.Descriptor{d})
	}
	s.index([]store.Descriptor{d}, "deep")
	wide := make([]store.Descriptor, 10_000)
	for i := range wide {
		wide[i] = leaf
	}
	s.index(wide, "wide")
	h := newHostile(t, s.ServeHTTP)
	at := newDesk(t)
	for _, o := range []outcome{
		at.stet(quick("cp", h.Name()+"/app:deep", "oci:copy:deep")...),
		at.stet(quick("pull", h.Name()+"/app:deep")...),
		at.stet(quick("discover", h.Name()+"/app:deep")...),
	} {
		if o.Code != 0 && o.Code != 7 {
			t.Errorf("%s", o)
		}
	}
	h.atMost(4100)
	before := len(h.heard("", ""))
	at.stet(quick("pull", h.Name()+"/app:wide")...).ok()
	at.stet(quick("cp", h.Name()+"/app:wide", "oci:wide:v1")...).ok()
	h.atMost(before + 10)
}
