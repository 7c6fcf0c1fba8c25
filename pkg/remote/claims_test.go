package remote

import (
	"errors"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// A registry says that it mounted a blob, or that it has it. Where that is not so
// the blob is sent and the manifest put again; nothing is mounted after that.
func TestClaims(t *testing.T) {
	image := store.NewManifest(store.MediaTypeImage, []byte(`{"schemaVersion":2,"layers":[{"mediaType":"text/plain","digest":"`+dgst.String()+`","size":5}]}`))
	const (
		ask, mount = "POST blobs/uploads/?from=app&mount={d}", "POST blobs/uploads/?from=other&mount={d}"
		head, post = "HEAD blobs/{d}", "POST blobs/uploads/?digest={d} hello"
		put        = "PUT manifests/v1 [149]"
	)
	found, gone := answer(http.StatusOK, content5, "Content-Length", "5"), answer(http.StatusNotFound, "")
	stored := answer(http.StatusCreated, "", "Docker-Content-Digest", image.Digest.String())
	unknown := answer(http.StatusBadRequest, code("MANIFEST_BLOB_UNKNOWN"))
	for name, c := range map[string]struct {
		home      string
		head, put http.HandlerFunc
		asked     []string // after the blob was put, in order
		told      []string
		fell      bool
		is        error
	}{
		"true":                   {"other", found, stored, []string{mount, put, head}, nil, false, nil},
		"true of its own":        {"app", found, stored, []string{ask, put, head}, nil, false, nil},
		"cannot be asked":        {"other", answer(http.StatusMethodNotAllowed, ""), stored, []string{mount, put, head}, nil, false, nil},
		"false":                  {"other", gone, stored, []string{mount, put, head, head, post, put}, []string{"upload"}, true, nil},
		"false of its own":       {"app", gone, stored, []string{ask, put, head, head, post, put}, []string{"upload"}, true, nil},
		"false, and refused":     {"other", gone, turns(unknown, stored), []string{mount, put, head, head, post, put}, []string{"upload"}, true, nil},
		"true, and refused":      {"other", found, answer(http.StatusBadRequest, code("MANIFEST_INVALID")), []string{mount, put, head, head}, nil, false, store.ErrRefused},
		"false, and not allowed": {"other", gone, answer(http.StatusForbidden, ""), []string{mount, put, head, head, post, put}, []string{"upload"}, true, store.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, st := newScript(t, Options{}, map[string]http.HandlerFunc{
				"PUT manifests/v1":            c.put,
				"HEAD blobs/" + dgst.String(): c.head,
				"POST blobs/uploads/":         answer(http.StatusCreated, "", "Location", "/v2/app/blobs/"+dgst.String()),
			})
			storesByPost(st)
			b := store.NewBlob("text/plain", []byte(content5))
			b.Home = s.host() + "/" + c.home
			if _, err := st.PutBlob(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			first := s.log
			s.log = nil
			s.mu.Unlock()
			if err := st.PutManifest(t.Context(), image, "v1"); !errors.Is(err, c.is) {
				t.Errorf("got %v, want %v", err, c.is)
			}
			got := append(first, s.taken()...)
			if len(got) > 2 && got[1] == "HEAD blobs/"+dgst.String() { // at the same time
				got[1], got[2] = got[2], got[1]
			}
			s.compare(c.asked, got)
			s.told(c.told...)
			other := store.NewBlob("text/plain", []byte("other"))
			other.Home = s.host() + "/other"
			p, err := st.PutBlob(t.Context(), other)
			if want := map[bool]store.How{true: store.Sent, false: store.Mounted}[c.fell]; err != nil || p.How != want {
				t.Errorf("the next blob is %v, %v, want %s; digest %s", p, err, want, digest.FromString("other"))
			}
		})
	}
}

// A claim that was true vouches for the next.
func TestClaimsAreLookedAtOnce(t *testing.T) {
	image := store.NewManifest(store.MediaTypeImage, []byte(`{"schemaVersion":2,"layers":[{"mediaType":"text/plain","digest":"`+dgst.String()+`","size":5}]}`))
	s, st := newScript(t, Options{}, map[string]http.HandlerFunc{
		"PUT manifests/v1":            answer(http.StatusCreated, "", "Docker-Content-Digest", image.Digest.String()),
		"HEAD blobs/" + dgst.String(): answer(http.StatusOK, "", "Content-Length", "5"),
		"POST blobs/uploads/":         answer(http.StatusCreated, ""),
	})
	for range 3 {
		st.(*repository).flights = flights{} // as if another artifact named it in another repository
		b := store.NewBlob("text/plain", []byte(content5))
		b.Home = s.host() + "/other"
		if _, err := st.PutBlob(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if err := st.PutManifest(t.Context(), image, "v1"); err != nil {
			t.Fatal(err)
		}
	}
	heads := 0
	for _, line := range s.taken() {
		if line == "HEAD blobs/"+dgst.String() {
			heads++
		}
	}
	if heads != 1 {
		t.Errorf("asked %d times", heads)
	}
}
