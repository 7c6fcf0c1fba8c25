package remote

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// A message names what it is about once: the request does that with its URL.
func TestMessagesSayThingsOnce(t *testing.T) {
	t.Parallel()
	refuse := answer(401, code("UNAUTHORIZED"))
	blob := store.Descriptor{Digest: dgst, Size: 5}
	open := func(st store.Store, at int64) error {
		b, err := st.Blob(t.Context(), blob)
		if err != nil {
			return err
		}
		rc, err := b.Open(t.Context(), at)
		if err == nil {
			_, err = io.ReadAll(rc)
		}
		return err
	}
	refer := func(st store.Store) error {
		_, err := store.Collect(st.Referrers(t.Context(), dgst, ""))
		return err
	}
	other := answer(200, `{"a":"b"}`, "Content-Type", store.MediaTypeImage)
	for name, c := range map[string]struct {
		on map[string]http.HandlerFunc
		do func(store.Store) error
	}{
		"blob refused":            {map[string]http.HandlerFunc{"GET blobs/" + dgst.String(): refuse}, func(st store.Store) error { return open(st, 0) }},
		"blob breaks and is gone": {map[string]http.HandlerFunc{"GET blobs/" + dgst.String(): turns(answer(200, "he", "Content-Length", "5"), refuse)}, func(st store.Store) error { return open(st, 0) }},
		"blob of another size":    {map[string]http.HandlerFunc{"GET blobs/" + dgst.String(): answer(200, "hello!")}, func(st store.Store) error { return open(st, 0) }},
		"blob behind its end":     {nil, func(st store.Store) error { return open(st, 6) }},
		"blob of unknown size": {nil, func(st store.Store) error {
			_, err := st.Blob(t.Context(), store.Descriptor{Digest: dgst, Size: store.UnknownSize})
			return err
		}},
		"manifest of another digest": {map[string]http.HandlerFunc{"GET manifests/" + dgst.String(): other}, func(st store.Store) error {
			_, err := st.Manifest(t.Context(), dgst.String())
			return err
		}},
		"manifest is no manifest": {map[string]http.HandlerFunc{"GET manifests/" + dgst.String(): answer(200, content5, "Content-Type", "text/html")}, func(st store.Store) error {
			_, err := st.Manifest(t.Context(), dgst.String())
			return err
		}},
		"referrers refused":     {map[string]http.HandlerFunc{"GET referrers/" + dgst.String(): refuse}, refer},
		"referrers are no list": {map[string]http.HandlerFunc{"GET referrers/" + dgst.String(): answer(200, "x", "Content-Type", "text/html")}, refer},
	} {
		_, st := newScript(t, Options{Retries: 1}, c.on)
		err := c.do(st)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if n := strings.Count(err.Error(), dgst.Encoded()); n != 1 {
			t.Errorf("%s: names the digest %d times: %v", name, n, err)
		}
	}
}
