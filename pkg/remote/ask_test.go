package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// openHandler opens a repository of a registry that is served by h.
func openHandler(t *testing.T, h http.Handler, opts remote.Options) store.Store {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	plain := true
	opts.PlainHTTP = &plain
	st, err := remote.Open(store.Ref{Scheme: store.SchemeRegistry, Host: strings.TrimPrefix(srv.URL, "http://"), Repo: "app"}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// Many small blobs wait for what one of them learns about the registry. Whatever
// becomes of that one, they go on.
func TestNobodyWaitsForABlobThatFails(t *testing.T) {
	const blobs = 24
	gone := errors.New("gone")
	for name, tc := range map[string]struct {
		opts   remote.Options
		broken int // the blob that cannot be read
	}{
		"sent in chunks": {opts: remote.Options{ChunkSize: 4}, broken: -1},
		// Four are asked for; the next is sent, to learn of single POST.
		"unreadable": {broken: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := openHandler(t, serve.New(local.NewMemoryRegistry(), serve.Options{}), tc.opts)
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			put := func(n int) error {
				b := store.NewBlob("", fmt.Appendf(nil, "content %d", n))
				if n == tc.broken {
					b.Open = func(context.Context, int64) (io.ReadCloser, error) { return nil, gone }
				}
				_, err := st.PutBlob(ctx, b)
				if n == tc.broken && errors.Is(err, gone) {
					err = nil
				}
				return err
			}
			var all sync.WaitGroup
			for n := range blobs {
				if n <= tc.broken {
					if err := put(n); err != nil { // one after the other, so that it is the fifth
						t.Fatal(err)
					}
					continue
				}
				all.Go(func() {
					if err := put(n); err != nil {
						t.Errorf("blob %d: %v", n, err)
					}
				})
			}
			all.Wait()
		})
	}
}

// A mount that nobody asked for is done without, whatever the registry, or a proxy
// before it, has against it; and it is not asked for twice.
func TestMountThatNobodyAskedFor(t *testing.T) {
	for _, status := range []int{400, 403, 404, 405, 409, 422, 500, 501, 503} {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprint(status, cached), func(t *testing.T) {
				t.Parallel()
				var mounts atomic.Int64
				registry := serve.New(local.NewMemoryRegistry(), serve.Options{})
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Has("mount") {
						mounts.Add(1)
						w.WriteHeader(status)
						return
					}
					registry.ServeHTTP(w, r)
				}))
				t.Cleanup(srv.Close)
				dir, plain := t.TempDir(), true
				open := func(repo string) store.Store {
					st, err := remote.Open(store.Ref{Scheme: store.SchemeRegistry, Host: strings.TrimPrefix(srv.URL, "http://"), Repo: repo},
						remote.Options{PlainHTTP: &plain, CacheDir: dir, Retries: 3})
					if err != nil {
						t.Fatal(err)
					}
					return st
				}
				b := store.NewBlob("", []byte("content"))
				if cached { // another process knows where it is
					if _, err := open("other").PutBlob(t.Context(), b); err != nil {
						t.Fatal(err)
					}
					mounts.Store(0)
				}
				put, err := open("app").PutBlob(t.Context(), b)
				if err != nil || put.How != store.Sent || mounts.Load() > 1 {
					t.Errorf("got %+v, %v after %d questions", put, err, mounts.Load())
				}
			})
		}
	}
}

// A registry that wants to be left alone is left alone.
func TestMountIsNotAskedForBeforeItsTime(t *testing.T) {
	var requests atomic.Int64
	st := openHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	}), remote.Options{})
	_, err := st.PutBlob(t.Context(), store.NewBlob("", []byte("content")))
	if !errors.Is(err, store.ErrUnavailable) || requests.Load() != 1 {
		t.Errorf("%d requests, %v", requests.Load(), err)
	}
}
