package remote

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// A registry that has stored a blob and says a moment later that it does not
// know it is asked again; one that never had it is believed.
func TestPutWaitsForBlobsToSettle(t *testing.T) {
	image := store.NewManifest(store.MediaTypeImage, []byte(`{"schemaVersion":2,"layers":[{"mediaType":"text/plain","digest":"`+dgst.String()+`","size":5}]}`))
	unknown := answer(http.StatusBadRequest, `{"errors":[{"code":"DIGEST_INVALID"},{"code":"MANIFEST_BLOB_UNKNOWN"}]}`)
	for name, c := range map[string]struct {
		stored  bool
		answers []http.HandlerFunc
		puts    int
		is      error
	}{
		"settles":      {true, []http.HandlerFunc{unknown, unknown, answer(http.StatusCreated, "", "Docker-Content-Digest", image.Digest.String())}, 3, nil},
		"never":        {true, []http.HandlerFunc{unknown}, 1 + restTries, store.ErrRefused},
		"never stored": {false, []http.HandlerFunc{unknown}, 1, store.ErrRefused},
		"another code": {true, []http.HandlerFunc{answer(http.StatusBadRequest, code("MANIFEST_INVALID"))}, 1, store.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, st := newScript(t, Options{}, map[string]http.HandlerFunc{
				"PUT manifests/v1":            turns(c.answers...),
				"HEAD blobs/" + dgst.String(): answer(http.StatusOK, content5, "Content-Length", "5"),
				"POST blobs/uploads/":         answer(http.StatusCreated, "", "Location", "/v2/app/blobs/"+dgst.String()),
			})
			if c.stored {
				if _, err := st.PutBlob(t.Context(), store.NewBlob("text/plain", []byte(content5))); err != nil {
					t.Fatal(err)
				}
			}
			s.log = nil
			if err := st.PutManifest(t.Context(), image, "v1"); !errors.Is(err, c.is) {
				t.Errorf("got %v, want %v", err, c.is)
			}
			if n := strings.Count(strings.Join(s.log, "\n"), "PUT manifests/"); n != c.puts {
				t.Errorf("asked %q, want %d times", s.log, c.puts)
			}
			told := 0
			for _, e := range s.events {
				if e.Kind == store.Retrying {
					told++
				}
			}
			if told != c.puts-1 {
				t.Errorf("%d retries were told, want %d", told, c.puts-1)
			}
		})
	}
}
