package remote

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// A registry says that it mounted a blob, or that it has it. Where that is not so
// the blob is sent before the manifest is tagged; nothing is mounted after that.
func TestClaims(t *testing.T) {
	image := store.NewManifest(store.MediaTypeImage, []byte(`{"schemaVersion":2,"layers":[{"mediaType":"text/plain","digest":"`+dgst.String()+`","size":5}]}`))
	const (
		mount      = "POST blobs/uploads/?from=other&mount={d}"
		head, post = "HEAD blobs/{d}", "POST blobs/uploads/?digest={d} hello"
		put        = "PUT manifests/v1 [149]"
	)
	found, gone := answer(http.StatusOK, content5, "Content-Length", "5"), answer(http.StatusNotFound, "")
	stored := answer(http.StatusCreated, "", "Docker-Content-Digest", image.Digest.String())
	for name, c := range map[string]struct {
		home      string
		head, put http.HandlerFunc
		asked     []string // after the blob was put, in order
		told      []string
		fell      bool
		is        error
	}{
		"true":                   {"other", found, stored, []string{mount, head, put}, nil, false, nil},
		"cannot be asked":        {"other", answer(http.StatusMethodNotAllowed, ""), stored, []string{mount, head, put}, nil, false, nil},
		"false":                  {"other", gone, stored, []string{mount, head, post, put}, []string{"upload"}, true, nil},
		"true, and refused":      {"other", found, answer(http.StatusBadRequest, code("MANIFEST_INVALID")), []string{mount, head, put}, nil, false, store.ErrRefused},
		"false, and not allowed": {"other", gone, answer(http.StatusForbidden, ""), []string{mount, head, post, put}, []string{"upload"}, true, store.ErrDenied},
		// What is known to be here is looked for, instead of asking for a mount of it.
		"true of its own":  {"app", found, stored, []string{head, put}, nil, false, nil},
		"false of its own": {"app", gone, stored, []string{head, post, put}, nil, false, nil},
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

// No claim vouches for another: each blob is looked for, once, and before the tag.
func TestEachClaimIsLookedAt(t *testing.T) {
	other := store.NewBlob("text/plain", []byte("of a greater length"))
	image := store.NewManifest(store.MediaTypeImage, fmt.Appendf(nil,
		`{"schemaVersion":2,"layers":[{"mediaType":"text/plain","digest":%q,"size":5},{"mediaType":"text/plain","digest":%q,"size":19}]}`,
		dgst, other.Digest))
	stored := answer(http.StatusCreated, "", "Docker-Content-Digest", image.Digest.String())
	for _, tags := range [][]string{{"v1"}, {"v1", "v2", "v3"}, nil} {
		s, st := newScript(t, Options{}, map[string]http.HandlerFunc{
			"PUT manifests/v1":                       stored,
			"PUT manifests/v2":                       stored,
			"PUT manifests/v3":                       stored,
			"PUT manifests/" + image.Digest.String(): stored,
			"HEAD blobs/" + dgst.String():            answer(http.StatusNotFound, ""),
			"HEAD blobs/" + other.Digest.String():    answer(http.StatusOK, "", "Content-Length", "19"),
			"POST blobs/uploads/":                    answer(http.StatusCreated, ""),
		})
		storesByPost(st)
		for _, b := range []store.Blob{other, store.NewBlob("text/plain", []byte(content5))} {
			b.Home = s.host() + "/other"
			if _, err := st.PutBlob(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := st.PutManifest(t.Context(), image, tags...); err != nil {
				t.Fatal(err)
			}
		}
		heads, sent := 0, false
		for _, line := range s.taken() {
			switch {
			case strings.HasPrefix(line, "HEAD blobs/"):
				heads++
			case strings.HasPrefix(line, "POST ") && strings.HasSuffix(line, content5):
				sent = true
			case strings.HasPrefix(line, "PUT ") && len(tags) > 0 && !sent:
				t.Errorf("%v: the tag was put before what it needs", tags)
			}
		}
		if heads != 2 || !sent {
			t.Errorf("%v: asked %d times, want 2; the blob that is missing was sent: %v", tags, heads, sent)
		}
	}
}

// Where the registry does not answer whether it has a blob, nothing is tagged.
func TestClaimWithoutAnAnswer(t *testing.T) {
	image := store.NewManifest(store.MediaTypeImage, []byte(`{"schemaVersion":2,"layers":[{"mediaType":"text/plain","digest":"`+dgst.String()+`","size":5}]}`))
	s, st := newScript(t, Options{Retries: -1}, map[string]http.HandlerFunc{
		"HEAD blobs/" + dgst.String(): answer(http.StatusBadGateway, ""),
		"POST blobs/uploads/":         answer(http.StatusCreated, ""),
	})
	b := store.NewBlob("text/plain", []byte(content5))
	b.Home = s.host() + "/other"
	if _, err := st.PutBlob(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := st.PutManifest(t.Context(), image, "v1"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	s.asked("POST blobs/uploads/?from=other&mount={d}", "HEAD blobs/{d}")
}
