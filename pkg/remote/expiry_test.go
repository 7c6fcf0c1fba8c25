package remote_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// A token that runs out in the middle of an upload is renewed, once each time,
// and the upload goes on; what arrives is whole.
func TestTokenExpiresInTheMiddle(t *testing.T) {
	var passed, tokens atomic.Int64
	start := time.Now()
	handler := serve.New(local.NewMemoryRegistry(), serve.Options{
		Bearer: &serve.Bearer{Users: map[string]string{"u": "p"}, Expiry: time.Minute},
		Now:    func() time.Time { return start.Add(time.Duration(passed.Load())) },
	})
	defer handler.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			tokens.Add(1)
		}
		handler.ServeHTTP(w, r)
		if r.URL.Path != "/token" {
			passed.Add(int64(40 * time.Second)) // every second request comes too late
		}
	}))
	defer srv.Close()
	s, err := remote.Open(registryRef(srv.URL, "app"), plain(remote.Options{
		Credentials: remote.Static(remote.Credential{Username: "u", Password: "p"}), Actions: []string{"pull", "push"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	named := store.NewBlob("application/x", []byte(strings.Repeat("x", 3<<20)))
	unnamed := store.NewBlob("application/x", []byte(strings.Repeat("y", 3<<20)))
	want := unnamed.Descriptor
	unnamed.Digest = ""
	for _, b := range []store.Blob{named, unnamed} {
		if _, err := s.PutBlob(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []store.Descriptor{named.Descriptor, want} {
		if err := proves(t.Context(), s, d); err != nil {
			t.Error(err)
		}
	}
	if n := tokens.Load(); n > 8 {
		t.Errorf("%d tokens", n)
	}
}

// proves reads a blob and holds it against its digest.
func proves(ctx context.Context, s store.Store, d store.Descriptor) error {
	b, err := s.Blob(ctx, d)
	if err != nil {
		return err
	}
	_, err = store.ReadBlob(ctx, b, 1<<30)
	return err
}

// A token server that refuses more than is needed now is asked for that.
func TestTokenForWhatIsAllowed(t *testing.T) {
	reg := local.NewMemoryRegistry()
	handler := serve.New(reg, serve.Options{Bearer: &serve.Bearer{Users: map[string]string{"u": "p"}}})
	defer handler.Close()
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			asked = append(asked, strings.Join(r.URL.Query()["scope"], " "))
			if strings.Contains(r.URL.RawQuery, "push") {
				w.WriteHeader(http.StatusForbidden)
				return
			}
		}
		handler.ServeHTTP(w, r)
	}))
	defer srv.Close()
	inside, err := reg.Repository(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	m := store.NewManifest(store.MediaTypeIndex, []byte(`{"schemaVersion":2,"mediaType":"`+store.MediaTypeIndex+`","manifests":[]}`))
	if err := inside.PutManifest(t.Context(), m, "v1"); err != nil {
		t.Fatal(err)
	}
	s, err := remote.Open(registryRef(srv.URL, "app"), plain(remote.Options{
		Credentials: remote.Static(remote.Credential{Username: "u", Password: "p"}),
		Actions:     []string{"pull", "push"}, MountFrom: []string{"other"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Resolve(t.Context(), "v1"); err != nil {
			t.Error(err)
		}
	}
	want := "repository:app:pull,push repository:other:pull|repository:app:pull"
	if got := strings.Join(asked, "|"); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}
