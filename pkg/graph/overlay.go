package graph

import (
	"context"

	"github.com/stet-oci/stet/pkg/store"
)

// Overlay is src with one manifest more, which is found by its digest: a
// manifest that was made of one in src can then be copied as if it lay there.
func Overlay(src store.Reader, m store.Manifest) store.Reader { return overlay{src, m} }

type overlay struct {
	store.Reader
	m store.Manifest
}

func (o overlay) Resolve(ctx context.Context, ref string) (store.Descriptor, error) {
	if ref == o.m.Digest.String() {
		return o.m.Descriptor, nil
	}
	return o.Reader.Resolve(ctx, ref)
}

func (o overlay) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	if ref == o.m.Digest.String() {
		return o.m, nil
	}
	return o.Reader.Manifest(ctx, ref)
}
