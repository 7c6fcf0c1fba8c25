package remote_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// tally counts the requests of a server by method, place and status.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *tally) hear(method, uri string, status int) {
	place := "blob"
	switch {
	case uri == "/v2/":
		place = "ping"
	case strings.HasPrefix(uri, "/token"):
		place = "token"
	case strings.Contains(uri, "/manifests/"):
		place = "manifest"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[fmt.Sprintf("%s %s %d", method, place, status)]++
}

// pushMany puts n small blobs at once, as the workers of a push do, then a manifest.
func pushMany(t *testing.T, s store.Store, n int) {
	t.Helper()
	var wg sync.WaitGroup
	start := make(chan bool)
	for i := range n {
		wg.Go(func() {
			<-start
			if _, err := s.PutBlob(t.Context(), store.NewBlob("", fmt.Appendf(nil, "blob %d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"a/b","config":%s,"layers":[]}`, store.MediaTypeImage, emptyConfig)
	if err := s.PutManifest(t.Context(), store.NewManifest(store.MediaTypeImage, []byte(raw)), "v1"); err != nil {
		t.Error(err)
	}
}

const emptyConfig = `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}`

// What signing in costs: one question, whatever the number of workers, and no
// body that is sent to be refused: the first thing that a registry of which
// nothing is known gets is a question without a body.
func TestSigningInCostsOneQuestion(t *testing.T) {
	const n = 12
	users := map[string]string{"alice": "opensesame"}
	creds := remote.Static(remote.Credential{Username: "alice", Password: "opensesame"})
	basic := serve.Options{Basic: users}
	bearer := serve.Options{Bearer: &serve.Bearer{Users: users}}
	openRead := serve.Options{Bearer: &serve.Bearer{Users: users, Anonymous: true}}
	for _, tc := range []struct {
		name   string
		server serve.Options
		creds  remote.Credentials
		want   map[string]int
	}{
		{"basic", basic, creds, map[string]int{"POST blob 401": 1, "PUT manifest 201": 1}},
		{"bearer", bearer, creds, map[string]int{"POST blob 401": 1, "GET token 200": 1, "PUT manifest 201": 1}},
		{"bearer, for writers", openRead, creds, map[string]int{"POST blob 401": 1, "GET token 200": 1, "PUT manifest 201": 1}},
		{"open, with credentials", serve.Options{}, creds, map[string]int{"PUT manifest 201": 1}},
		{"open", serve.Options{}, nil, map[string]int{"PUT manifest 201": 1}},
	} {
		for _, noSingle := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,POST and PUT=%v", tc.name, noSingle), func(t *testing.T) {
				t.Parallel()
				var count tally
				opts := tc.server
				opts.OnRequest, opts.Quirks = count.hear, serve.Quirks{NoSinglePost: noSingle, Sparse: true}
				srv := httptest.NewServer(serve.New(local.NewMemoryRegistry(), opts))
				t.Cleanup(srv.Close)
				s, err := remote.Open(registryRef(srv.URL, "app"), plain(remote.Options{Credentials: tc.creds}))
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]int{}
				for k, v := range tc.want {
					want[k] = v
				}
				pushMany(t, s, n)
				count.mu.Lock()
				defer count.mu.Unlock()
				opened, put, sent := count.n["POST blob 202"], count.n["PUT blob 201"], count.n["POST blob 201"]
				if opened != put || put+sent != n || put > 8 && !noSingle || sent > 0 && noSingle {
					t.Errorf("%d uploads opened, %d closed, %d blobs sent by one POST", opened, put, sent)
				}
				for _, k := range []string{"POST blob 202", "PUT blob 201", "POST blob 201"} {
					delete(count.n, k)
				}
				if diff := cmp.Diff(want, count.n); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// Who only reads asks once, and who is signed in not more than before.
func TestResolveAsksOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server serve.Options
		want   map[string]int
	}{
		"open":  {serve.Options{}, map[string]int{"HEAD manifest 404": 1}},
		"basic": {serve.Options{Basic: map[string]string{"alice": "opensesame"}}, map[string]int{"HEAD manifest 401": 1, "HEAD manifest 404": 1}},
	} {
		var count tally
		opts := c.server
		opts.OnRequest = count.hear
		srv := httptest.NewServer(serve.New(local.NewMemoryRegistry(), opts))
		t.Cleanup(srv.Close)
		s, err := remote.Open(registryRef(srv.URL, "app"), plain(remote.Options{
			Credentials: remote.Static(remote.Credential{Username: "alice", Password: "opensesame"}),
		}))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.Resolve(context.Background(), "v1")
		if diff := cmp.Diff(c.want, count.n); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
