package remote_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// narrow is a registry behind a proxy that takes bodies up to a size, and reads
// those that are larger before it refuses them.
type narrow struct {
	most int64

	mu    sync.Mutex
	came  int64
	count map[string]int
	told  []string
}

func (n *narrow) serve(t *testing.T) store.Store {
	t.Helper()
	n.count = map[string]int{}
	next := serve.New(local.NewMemoryRegistry(), serve.Options{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		n.mu.Lock()
		n.count[r.Method]++
		n.came += int64(len(raw))
		most := n.most
		n.mu.Unlock()
		if int64(len(raw)) > most {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(raw)))
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	opts := plain(remote.Options{Retries: 1})
	opts.Events = func(e store.Event) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if e.Kind == store.Fallback {
			n.told = append(n.told, e.Choice)
		}
	}
	s, err := remote.Open(registryRef(srv.URL, "app"), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// taken gives how many bytes came since the last call.
func (n *narrow) taken() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	came := n.came
	n.came = 0
	return came
}

// nineMiB is a blob of another content for each seed.
func nineMiB(seed byte) store.Blob {
	raw := make([]byte, 9<<20)
	_, _ = rand.NewChaCha8([32]byte{2, seed}).Read(raw)
	return store.NewBlob("", raw)
}

// How large a request may be is learnt once: the second blob is sent once, in
// chunks of the size that was taken.
func TestChunkSizeIsKept(t *testing.T) {
	first, second := nineMiB(1), nineMiB(2)
	for name, unname := range map[string]func(store.Blob) store.Blob{
		"named":           func(b store.Blob) store.Blob { return b },
		"unnamed":         func(b store.Blob) store.Blob { return nameless(b, b.Size) },
		"of unknown size": func(b store.Blob) store.Blob { return nameless(b, store.UnknownSize) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &narrow{most: 1 << 20}
			s := n.serve(t)
			put, err := s.PutBlob(t.Context(), unname(first))
			if err != nil || put.Digest != first.Digest {
				t.Fatalf("got %+v, %v", put, err)
			}
			// All of it in one, a chunk of 4 MiB, and what was taken.
			if came := n.taken(); came > 2*first.Size+4<<20 {
				t.Errorf("%d bytes came of the first", came)
			}
			put, err = s.PutBlob(t.Context(), unname(second))
			if err != nil || put.Digest != second.Digest {
				t.Fatalf("got %+v, %v", put, err)
			}
			if came := n.taken(); came != second.Size {
				t.Errorf("%d bytes came of the second, which has %d", came, second.Size)
			}
			if a := s.Support().Of(store.AbilityChunked); a == store.No || !slices.Equal(n.told, []string{"chunks"}) {
				t.Errorf("PATCH is said to be taken: %v; told %q", a, n.told)
			}
		})
	}
}

// A blob that is too large for the registry in any chunks leaves others alone.
func TestTooLargeInAnyChunks(t *testing.T) {
	t.Parallel()
	n := &narrow{most: 1000}
	s := n.serve(t)
	if _, err := s.PutBlob(t.Context(), nineMiB(1)); !errors.Is(err, store.ErrRefused) {
		t.Errorf("got %v", err)
	}
	n.mu.Lock()
	n.most, n.count["PATCH"] = 1<<30, 0
	n.mu.Unlock()
	if _, err := s.PutBlob(t.Context(), nineMiB(2)); err != nil {
		t.Error(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count["PATCH"] != 1 {
		t.Errorf("%d PATCHes", n.count["PATCH"])
	}
}
