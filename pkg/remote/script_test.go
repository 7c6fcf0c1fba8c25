package remote

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// script is a registry that answers as a test says: a handler for each
// "METHOD path", and a log of what was asked.
type script struct {
	t      *testing.T
	url    string
	mu     sync.Mutex
	log    []string
	events []store.Event
	on     map[string]http.HandlerFunc
}

// newScript serves the handlers; "{d}" in a path and the log stands for the
// digest of content. The store is its repository "app".
func newScript(t *testing.T, opts Options, on map[string]http.HandlerFunc) (*script, store.Store) {
	t.Helper()
	s := &script{t: t, on: on}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	plain := true
	opts.PlainHTTP = &plain
	if opts.Retries == 0 {
		opts.Retries = -1
	}
	opts.Events = func(e store.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	}
	st, err := Open(store.Ref{Scheme: store.SchemeRegistry, Host: s.host(), Repo: "app"}, opts)
	if err != nil {
		t.Fatal(err)
	}
	SettleSoon(st)
	return s, st
}

func (s *script) host() string { return strings.TrimPrefix(s.url, "http://") }

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	path := strings.TrimPrefix(r.URL.Path, "/v2/app/")
	line := r.Method + " " + path
	if r.URL.RawQuery != "" {
		line += "?" + r.URL.RawQuery
	}
	if v := r.Header.Get("Range"); v != "" {
		line += " " + v
	}
	if len(body) > 0 && len(body) < 100 {
		line += " " + string(body)
	} else if len(body) > 0 {
		line += fmt.Sprintf(" [%d]", len(body))
	}
	s.mu.Lock()
	s.log = append(s.log, line)
	on := s.on[r.Method+" "+path]
	s.mu.Unlock()
	if on == nil {
		on = answer(http.StatusNotFound, "")
	}
	on(w, r)
}

// storesByPost lets the store know that its registry stores a blob by one POST.
func storesByPost(st store.Store) {
	st.(*repository).learnPost(store.Yes, store.Evidence{})
}

// asked asserts the requests since the last call. {name} stands for a digest.
func (s *script) asked(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, line := range s.log {
		line = strings.NewReplacer(dgst.String(), "{d}", strings.Replace(dgst.String(), ":", "%3A", 1), "{d}").Replace(line)
		got = append(got, line)
	}
	s.log = nil
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// told asserts the fallbacks that were announced.
func (s *script) told(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, e := range s.events {
		if e.Kind == store.Fallback {
			got = append(got, e.Choice)
			if e.Text == "" {
				s.t.Errorf("the fallback %s gives no reason", e.Choice)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("fallbacks (-want +got):\n%s", diff)
	}
}

// answer is a handler with status, body and headers as name, value, …
func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, body)
		}
	}
}

// turns answers each request with the next handler, and stays at the last.
func turns(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[min(n, len(handlers)-1)]
		n++
		mu.Unlock()
		h(w, r)
	}
}

// code is the body of a refusal.
func code(c string) string { return `{"errors":[{"code":"` + c + `","message":"m"}]}` }

// The content of most tests.
const content5 = "hello"

var dgst = digest.FromString(content5)
