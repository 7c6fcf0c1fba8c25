package remote_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

// TestRangeRefused: a part that exists and is answered with 416 is read out of
// the whole blob, so that a cut pull can go on.
func TestRangeRefused(t *testing.T) {
	blob := store.NewBlob("text/plain", []byte("hello, world"))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			http.Error(w, "no ranges", http.StatusRequestedRangeNotSatisfiable)
			return
		}
		io.WriteString(w, "hello, world")
	}))
	defer srv.Close()
	s, err := remote.Open(registryRef(srv.URL, "app"), plain(remote.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Blob(t.Context(), blob.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := b.Open(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	got, err := io.ReadAll(rc)
	if err != nil || string(got) != "world" {
		t.Errorf("from byte 7: %q, %v, want \"world\"", got, err)
	}
	if got := s.Support().Of(store.AbilityRanges); got != store.No {
		t.Errorf("Support says %s to ranges, want no", got)
	}
}
