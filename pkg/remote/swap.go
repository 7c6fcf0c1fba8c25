package remote

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Manifests is ErrUnsupported: distribution-spec lists tags and referrers alone.
func (r *repository) Manifests(context.Context) iter.Seq2[store.Descriptor, error] {
	return func(yield func(store.Descriptor, error) bool) {
		yield(store.Descriptor{}, fmt.Errorf("%w: a registry lists no manifests but by their tags", store.ErrUnsupported))
	}
}

// Swap looks at the tag, puts, and looks again when whoever looked before our PUT
// has put: that takes others the time of a HEAD and a PUT, as it took us.
func (r *repository) Swap(ctx context.Context, m store.Manifest, tag string, old digest.Digest) error {
	began := r.client.opts.Now()
	if err := r.names(ctx, tag, old); err != nil {
		return err
	}
	if m.Digest != old {
		if err := r.PutManifest(ctx, m, tag); err != nil {
			return err
		}
	}
	settle := max(r.settle, 3*r.client.opts.Now().Sub(began))
	if err := waitFor(ctx, settle+rand.N(settle)); err != nil {
		return err
	}
	return r.names(ctx, tag, m.Digest)
}

// names is ErrMoved unless the tag names the digest.
func (r *repository) names(ctx context.Context, tag string, want digest.Digest) error {
	d, err := r.Resolve(ctx, tag)
	switch {
	case errors.Is(err, store.ErrNotFound) && want == "":
		return nil
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: the tag %q is gone", store.ErrMoved, tag)
	case err != nil:
		return err
	case d.Digest != want:
		return fmt.Errorf("%w: the tag %q names %s, not %s", store.ErrMoved, tag, d.Digest, want)
	}
	return nil
}
