package remote

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// tagged is a registry that takes manifests, with several tags as multi does.
type tagged struct {
	multi func(w http.ResponseWriter, tags []string) (set []string, ok bool) // nil knows no ?tag=

	mu   sync.Mutex
	tags []string // that are set
	puts int
}

func (g *tagged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.puts++
	_, ref, _ := strings.Cut(r.URL.Path, "/manifests/")
	several := r.URL.Query()["tag"]
	if len(several) > 0 && g.multi != nil {
		set, ok := g.multi(w, several)
		if !ok {
			return
		}
		for _, t := range set {
			w.Header().Add("OCI-Tag", t)
		}
		g.tags = append(g.tags, set...)
	}
	if !store.IsDigest(ref) {
		g.tags = append(g.tags, ref)
	}
	w.Header().Set("Docker-Content-Digest", store.NewManifest(store.MediaTypeImage, []byte(imageJSON)).Digest.String())
	w.WriteHeader(http.StatusCreated)
}

// However a registry deals with several tags in a request, all are set, each once,
// and what is tried in vain costs one request.
func TestSeveralTags(t *testing.T) {
	all := func(_ http.ResponseWriter, tags []string) ([]string, bool) { return tags, true }
	refuse := func(status int) func(http.ResponseWriter, []string) ([]string, bool) {
		return func(w http.ResponseWriter, _ []string) ([]string, bool) {
			w.WriteHeader(status)
			return nil, false
		}
	}
	for _, c := range []struct {
		name  string
		multi func(http.ResponseWriter, []string) ([]string, bool)
		tags  int
		puts  int // of the first manifest
		again int // of another with as many tags, when it is known
	}{
		{"one", all, 1, 1, 1},
		{"two are not worth trying", all, 2, 2, 2},
		{"three", all, 3, 1, 1},
		{"more than a request takes", all, 25, 3, 3},
		{"all but one", func(_ http.ResponseWriter, tags []string) ([]string, bool) { return tags[1:], true }, 3, 2, 2},
		{"ignored", nil, 4, 5, 4},
		{"said and not done", func(http.ResponseWriter, []string) ([]string, bool) { return nil, true }, 4, 5, 4},
		{"too long", refuse(414), 4, 5, 4},
		{"headers too large", refuse(431), 4, 5, 4},
		{"refused", refuse(400), 4, 5, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &tagged{multi: c.multi}
			srv := httptest.NewServer(g)
			defer srv.Close()
			plain := true
			s, err := Open(store.Ref{Scheme: store.SchemeRegistry, Host: strings.TrimPrefix(srv.URL, "http://"), Repo: "app"}, Options{PlainHTTP: &plain})
			if err != nil {
				t.Fatal(err)
			}
			var tags []string
			for i := range c.tags {
				tags = append(tags, fmt.Sprintf("t%02d", i))
			}
			m := store.NewManifest(store.MediaTypeImage, []byte(imageJSON))
			for _, want := range []int{c.puts, c.again} {
				g.puts, g.tags = 0, nil
				if err := s.PutManifest(t.Context(), m, tags...); err != nil {
					t.Fatal(err)
				}
				slices.Sort(g.tags)
				if !slices.Equal(g.tags, tags) || g.puts != want {
					t.Errorf("%d requests set %v; want %d and %v", g.puts, g.tags, want, tags)
				}
			}
		})
	}
}

// A manifest that is refused with tags is refused without them.
func TestSeveralTagsOfWhatIsRefused(t *testing.T) {
	_, s := newScript(t, Options{}, map[string]http.HandlerFunc{})
	m := store.NewManifest(store.MediaTypeImage, []byte(imageJSON))
	if err := s.PutManifest(t.Context(), m, "a", "b", "c"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
