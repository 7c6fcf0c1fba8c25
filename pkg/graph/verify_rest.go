package graph

import (
	"context"

	"github.com/stet-oci/stet/pkg/store"
)

// rest are the manifests that nothing has led to, and that are to be verified.
func (v *verification) rest(ctx context.Context, w *walk) []store.Descriptor {
	var rest []store.Descriptor
	for _, d := range v.opts.Rest {
		if !w.seen[d.Digest] && (v.opts.Referrers || !refers(ctx, v.src, d)) {
			rest = append(rest, d)
		}
	}
	return rest
}

// refers says whether a manifest has a subject. Of one that cannot be read it is
// not known; the fault is found when it is verified.
func refers(ctx context.Context, src store.Reader, d store.Descriptor) bool {
	m, err := src.Manifest(ctx, d.Digest.String())
	if err != nil {
		return false
	}
	o, err := store.ParseOutline(m)
	return err == nil && o.Subject != nil
}
