package remote

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// What a token server refuses says nothing of the registry, which was not asked:
// nothing is absent, no other way is taken, and it is not asked for the same again.
func TestTokenServerRefuses(t *testing.T) {
	image := store.NewManifest(store.MediaTypeImage, []byte(`{"schemaVersion":2,"mediaType":"`+store.MediaTypeImage+`","config":{"mediaType":"a/b","digest":"`+dgst.String()+`","size":5},"layers":[]}`))
	ways := map[string]func(context.Context, *repository) error{
		"push a small blob": func(ctx context.Context, r *repository) error {
			_, err := r.PutBlob(ctx, store.NewBlob("a/b", []byte(content5)))
			return err
		},
		"push a large blob": func(ctx context.Context, r *repository) error {
			_, err := r.PutBlob(ctx, store.NewBlob("a/b", make([]byte, 2*smallBlob)))
			return err
		},
		"push under several tags": func(ctx context.Context, r *repository) error {
			return r.PutManifest(ctx, image, "a", "b", "c", "d")
		},
		"resolve": func(ctx context.Context, r *repository) error {
			_, err := r.Resolve(ctx, "v1")
			return err
		},
		"size of a blob": func(ctx context.Context, r *repository) error {
			_, err := r.Blob(ctx, store.Descriptor{Digest: dgst, Size: -1})
			return err
		},
		"tags": func(ctx context.Context, r *repository) error {
			_, err := collected(r.Tags(ctx, "v0"))
			return err
		},
		"referrers": func(ctx context.Context, r *repository) error {
			for _, err := range r.Referrers(ctx, dgst, "") {
				return err
			}
			return nil
		},
		"untag": func(ctx context.Context, r *repository) error { return r.Untag(ctx, "v1") },
	}
	for status, class := range map[int]error{
		400: store.ErrUnauthorized, 404: store.ErrUnauthorized, 405: store.ErrUnauthorized,
		413: store.ErrUnauthorized, 501: store.ErrUnavailable, 403: store.ErrDenied,
	} {
		for what, do := range ways {
			t.Run(http.StatusText(status)+"/"+what, func(t *testing.T) {
				t.Parallel()
				var s *heard
				s = hear(t, false, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/token" {
						answer(status, `{"error":"invalid_grant"}`)(w, r)
						return
					}
					w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token"`)
					w.WriteHeader(http.StatusUnauthorized)
				})
				c, _ := clientOf(t, s, Options{Events: func(e store.Event) {
					if e.Kind == store.Fallback {
						t.Errorf("fell back: %s", e.Text)
					}
				}})
				err := do(t.Context(), newRepository(c, "app"))
				if !errors.Is(err, class) || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "/token") {
					t.Errorf("%v; want %v", err, class)
				}
				asked := 0
				for _, r := range s.all() {
					if r.URL.Path == "/token" {
						asked++
					}
				}
				if asked != 1 {
					t.Errorf("%d requests for a token, want 1", asked)
				}
			})
		}
	}
}
