package remote

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stet-oci/stet/internal/wire"
)

// hear starts a server for the test and writes down what it is asked.
func hear(t *testing.T, secure bool, h http.HandlerFunc) *heard {
	t.Helper()
	s := &heard{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Clone(context.Background()))
		s.mu.Unlock()
		h(w, r)
	})
	s.Server = httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

type heard struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
}

func (s *heard) all() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.requests...)
}

// auths is the header Authorization of each request.
func (s *heard) auths() []string {
	var out []string
	for _, r := range s.all() {
		out = append(out, r.Header.Get("Authorization"))
	}
	return out
}

// clientOf is a client of the server that does not wait between tries, and the
// waits that it would have made.
func clientOf(t *testing.T, s *heard, opts Options) (*client, *[]time.Duration) {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	plain := u.Scheme == "http"
	opts.PlainHTTP = &plain
	if !plain && opts.CAFile == "" && len(opts.CertDirs) == 0 {
		opts.CAFile = caFile(t, s)
	}
	waits := &[]time.Duration{}
	var slept atomic.Int64
	if opts.Now == nil {
		opts.Now = func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
	}
	c, err := newClient(u.Host, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	for _, layer := range []http.RoundTripper{c.auth.next, c.auth.realm} {
		layer.(*retry).sleep = func(ctx context.Context, d time.Duration) error {
			*waits = append(*waits, d)
			slept.Add(int64(d))
			return ctx.Err()
		}
	}
	return c, waits
}

func caFile(t *testing.T, s *heard) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	return file
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// get is a call that reads a manifest.
func get(repo string) call {
	return call{Request: wire.Request{Kind: wire.ManifestGet, Repo: repo, Ref: "v1"}}
}

// put is a call that writes a manifest with the body.
func put(repo, body string) call {
	return call{
		Request: wire.Request{Kind: wire.ManifestPut, Repo: repo, Ref: "v1"}, Length: int64(len(body)),
		Body: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
	}
}

// must sends a call that succeeds and gives the answer's body.
func must(t *testing.T, c *client, call call) string {
	t.Helper()
	resp, err := c.do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// fails sends a call that fails and gives its error.
func fails(t *testing.T, c *client, call call) error {
	t.Helper()
	resp, err := c.do(t.Context(), call)
	if err == nil {
		resp.Body.Close()
		t.Fatalf("answered %d", resp.StatusCode)
	}
	return err
}

// lines is a writer that several goroutines may use.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
