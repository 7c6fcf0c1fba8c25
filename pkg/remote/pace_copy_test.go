package remote_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// breaking breaks off the first answer with each large blob in the middle.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left < len(p) {
		_, _ = b.ResponseWriter.Write(p[:b.left])
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		time.Sleep(50 * time.Millisecond) // so that others wait for the place
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

// A copy within one registry reads and writes at the same host. However few
// requests may be under way, also where what is read breaks off, it ends.
func TestCopyWithinAHostEnds(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		t.Run(fmt.Sprintf("breaks=%v", breaks), func(t *testing.T) {
			q, err := serve.ParseQuirks("no-mount")
			if err != nil {
				t.Fatal(err)
			}
			handler := serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: q})
			defer handler.Close()
			var seen sync.Map
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/from/blobs/sha256:") && r.Method == http.MethodGet && breaks {
					if _, again := seen.LoadOrStore(r.URL.Path, true); !again {
						w = &breaking{w, 1 << 20}
					}
				}
				handler.ServeHTTP(w, r)
			}))
			defer srv.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			plain := true
			opts := remote.Options{PlainHTTP: &plain, Pace: remote.NewPace(remote.PaceOptions{Concurrency: 1})}
			open := func(repo string) store.Store {
				s, err := remote.Open(store.Ref{Scheme: store.SchemeRegistry, Host: srv.Listener.Addr().String(), Repo: repo}, opts)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			from, to := open("from"), open("to")
			var work errgroup.Group
			for i := range 8 {
				b := store.NewBlob("application/x", []byte(strings.Repeat(string(rune('a'+i)), 3<<20)))
				if _, err := from.PutBlob(ctx, b); err != nil {
					t.Fatal(err)
				}
				work.Go(func() error {
					src, err := from.Blob(ctx, b.Descriptor)
					if err == nil {
						_, err = to.PutBlob(ctx, src)
					}
					return err
				})
			}
			if err := work.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
