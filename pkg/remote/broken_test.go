package remote

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// breaking answers as h, and breaks the bodies of the first answers off in their
// middle; n counts those.
func breaking(n *atomic.Int32, how string, times int32, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := &recorded{ResponseWriter: w}
		h(rec, r)
		if rec.status != http.StatusOK || n.Add(1) > times {
			w.WriteHeader(rec.status)
			_, _ = io.WriteString(w, rec.body)
			return
		}
		if how != "chunked" {
			w.Header().Set("Content-Length", fmt.Sprint(len(rec.body)))
		}
		w.WriteHeader(rec.status)
		_, _ = io.WriteString(w, rec.body[:len(rec.body)/2])
		_ = http.NewResponseController(w).Flush()
		switch how {
		case "stall":
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
		case "reset":
			cut(w, true)
		default:
			panic(http.ErrAbortHandler)
		}
	}
}

// recorded keeps a handler's status and body back.
type recorded struct {
	http.ResponseWriter
	status int
	body   string
}

func (r *recorded) WriteHeader(status int) { r.status = status }

func (r *recorded) Write(p []byte) (int, error) {
	r.body += string(p)
	return len(p), nil
}

// documents are those that a registry and its token server give: where, and what
// reading one gives. The manifest wants a token.
func documents(t *testing.T, s *heard) map[string]struct {
	path string
	ok   http.HandlerFunc
	read func(*client) (string, error)
	want string
} {
	const manifest = `{"schemaVersion":2,"mediaType":"` + store.MediaTypeImage + `"}`
	subject := digest.FromString("subject")
	app := func(c *client) *repository { return newRepository(c, "app") }
	readManifest := func(c *client) (string, error) {
		m, err := app(c).Manifest(t.Context(), "v1")
		return string(m.Raw), err
	}
	return map[string]struct {
		path string
		ok   http.HandlerFunc
		read func(*client) (string, error)
		want string
	}{
		"token": {"/token", answer(200, `{"token":"t"}`), readManifest, manifest},
		"manifest": {"/v2/app/manifests/v1", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer t" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			answer(200, manifest, "Content-Type", store.MediaTypeImage)(w, r)
		}, readManifest, manifest},
		"tags": {"/v2/app/tags/list", page("", "a", "b"), func(c *client) (string, error) {
			return collected(app(c).Tags(t.Context(), ""))
		}, "a b"},
		"catalog": {"/v2/_catalog", answer(200, `{"repositories":["a","b"]}`), func(c *client) (string, error) {
			return collected((&registry{client: c}).Repositories(t.Context(), ""))
		}, "a b"},
		"referrers": {
			"/v2/app/referrers/" + subject.String(),
			answer(200, `{"schemaVersion":2,"manifests":[]}`, "Content-Type", store.MediaTypeIndex),
			func(c *client) (string, error) {
				for _, err := range app(c).Referrers(t.Context(), subject, "") {
					return "", err
				}
				return "none", nil
			}, "none",
		},
		"size of a blob": {"/v2/app/blobs/" + dgst.String(), answer(200, content5), func(c *client) (string, error) {
			b, err := app(c).Blob(t.Context(), store.Descriptor{Digest: dgst, Size: -1})
			return fmt.Sprint(b.Size), err
		}, "5"},
	}
}

func collected(seq iter.Seq2[string, error]) (string, error) {
	var all []string
	for name, err := range seq {
		if err != nil {
			return "", err
		}
		all = append(all, name)
	}
	return strings.Join(all, " "), nil
}

// brokenRegistry breaks off the first answers to GET of one document.
func brokenRegistry(t *testing.T, document, how string, times int32) (s *heard, read func(*client) (string, error), want, line string, n *atomic.Int32) {
	n = new(atomic.Int32)
	var docs http.HandlerFunc
	s = hear(t, false, func(w http.ResponseWriter, r *http.Request) { docs(w, r) })
	all := documents(t, s)
	mux := map[string]http.HandlerFunc{}
	for name, d := range all {
		mux[d.path] = d.ok
		if name == document {
			mux[d.path] = breaking(n, how, times, d.ok)
		}
	}
	docs = func(w http.ResponseWriter, r *http.Request) {
		if h := mux[r.URL.Path]; h != nil && r.Method == http.MethodGet {
			h(w, r)
			return
		}
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
	return s, all[document].read, all[document].want, "GET " + s.URL + all[document].path, n
}

// Nothing is easier to repeat than a small document: what breaks off in the
// middle of its body is asked for again, like what broke before its answer, and
// as often.
func TestBrokenDocumentIsAskedForAgain(t *testing.T) {
	for _, document := range []string{"token", "manifest", "tags", "catalog", "referrers", "size of a blob"} {
		for _, how := range []string{"cut", "chunked", "reset", "stall"} {
			if document == "size of a blob" && how != "chunked" {
				continue
			}
			t.Run(document+", "+how, func(t *testing.T) {
				t.Parallel()
				s, read, want, line, _ := brokenRegistry(t, document, how, 2)
				var told []string
				patience := time.Minute // on a busy machine all is slow
				if how == "stall" {
					patience = time.Second
				}
				c, waits := clientOf(t, s, Options{Stall: patience, Events: func(e store.Event) {
					if e.Kind == store.Retrying {
						where, _, _ := strings.Cut(e.Name, "?") // a token's scope
						told = append(told, where)
					}
				}})
				if got, err := read(c); err != nil || got != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
				}
				if diff := cmp.Diff([]string{line, line}, told); diff != "" {
					t.Errorf("announced (-want +got):\n%s", diff)
				}
				if len(*waits) != 2 {
					t.Errorf("waited %v, want twice", *waits)
				}
			})
		}
		t.Run(document+", for ever", func(t *testing.T) {
			t.Parallel()
			s, read, _, _, n := brokenRegistry(t, document, "chunked", 1000)
			c, _ := clientOf(t, s, Options{})
			if _, err := read(c); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "broke off") {
				t.Errorf("%v; want ErrUnavailable", err)
			}
			if n.Load() != DefaultRetries+1 {
				t.Errorf("asked %d times, want %d", n.Load(), DefaultRetries+1)
			}
		})
	}
}
