package remote_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// mute is a registry that takes some requests and does not answer them. It counts
// what it is asked, and the bytes of uploads.
type mute struct {
	silent func(r *http.Request, nth int) bool // nth of its method

	mu    sync.Mutex
	count map[string]int
	came  int64
}

func (m *mute) serve(t *testing.T, opts remote.Options) store.Store {
	t.Helper()
	m.count = map[string]int{}
	next := serve.New(local.NewMemoryRegistry(), serve.Options{})
	over := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.count[r.Method]++
		silent := m.silent(r, m.count[r.Method])
		m.mu.Unlock()
		if !silent {
			r.Body = &counted{r.Body, m}
			next.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, &counted{r.Body, m})
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(over) })
	opts.Stall, opts.Commit = 300*time.Millisecond, 600*time.Millisecond
	s, err := remote.Open(registryRef(srv.URL, "app"), plain(opts))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type counted struct {
	io.ReadCloser
	of *mute
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.came += int64(n)
	return n, err
}

// closes is the PUT that ends an upload.
func closes(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/uploads/")
}

// A registry that has all of a blob and says nothing to the PUT is asked once more
// to end the upload, and is not sent the blob again: it would be silent to that too.
func TestSilentAtTheEnd(t *testing.T) {
	big := fiveMiB()
	small := store.NewBlob("", []byte("{}"))
	for name, tc := range map[string]struct {
		blob  store.Blob
		bytes int64
	}{
		"named":   {big, big.Size},
		"unnamed": {nameless(big, big.Size), big.Size},
		"small":   {small, 2 * small.Size}, // a session that got a body takes no other
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mute{silent: func(r *http.Request, _ int) bool { return closes(r) }}
			_, err := m.serve(t, remote.Options{}).PutBlob(t.Context(), tc.blob)
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.count["PUT"] != 2 || m.came != tc.bytes {
				t.Errorf("%v and %d bytes, want 2 PUTs and %d bytes", m.count, m.came, tc.bytes)
			}
		})
	}
}

// One that is silent once gets no byte of a large blob twice.
func TestSilentOnce(t *testing.T) {
	big := fiveMiB()
	for name, b := range map[string]store.Blob{"named": big, "unnamed": nameless(big, big.Size)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mute{silent: func(r *http.Request, nth int) bool { return closes(r) && nth == 1 }}
			put, err := m.serve(t, remote.Options{}).PutBlob(t.Context(), b)
			if err != nil || put.Digest != big.Digest {
				t.Errorf("got %+v, %v", put, err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.count["PUT"] != 2 || m.count["POST"] != 1 || m.came != big.Size {
				t.Errorf("%v and %d bytes, want %d", m.count, m.came, big.Size)
			}
		})
	}
}

// A PATCH that gets no answer is tried once more, from what the registry says it has.
func TestSilentPatch(t *testing.T) {
	t.Parallel()
	big := fiveMiB()
	m := &mute{silent: func(r *http.Request, _ int) bool { return r.Method == http.MethodPatch }}
	if _, err := m.serve(t, remote.Options{}).PutBlob(t.Context(), big); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count["PATCH"] != 2 || m.came != 2*big.Size {
		t.Errorf("%v and %d bytes, want 2 PATCHes", m.count, m.came)
	}
}
