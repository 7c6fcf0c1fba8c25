package main

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// ggcrOperations are those of crane, which is a package of go-containerregistry.
// It moves images; files are not its business.
func ggcrOperations() operations {
	return operations{opCopy: ggcrCopy, opTag: ggcrTag, opDiscover: ggcrDiscover, opTags: ggcrTags}
}

func ggcrCopy(ctx context.Context, t task) error {
	return crane.Copy(t.Src, t.Dst, crane.WithContext(ctx), crane.Insecure)
}

func ggcrTag(ctx context.Context, t task) error {
	for _, tag := range t.Tags {
		if err := crane.Tag(t.Src, tag, crane.WithContext(ctx), crane.Insecure); err != nil {
			return err
		}
	}
	return nil
}

func ggcrDiscover(ctx context.Context, t task) error {
	ref, err := name.ParseReference(t.Src, name.Insecure)
	if err != nil {
		return err
	}
	d, err := remote.Head(ref, remote.WithContext(ctx))
	if err != nil {
		return err
	}
	index, err := remote.Referrers(ref.Context().Digest(d.Digest.String()), remote.WithContext(ctx))
	if err != nil {
		return err
	}
	m, err := index.IndexManifest()
	if err == nil && len(m.Manifests) == 0 {
		err = fmt.Errorf("nothing refers to %s", d.Digest)
	}
	return err
}

func ggcrTags(ctx context.Context, t task) error {
	ref, err := name.ParseReference(t.Src, name.Insecure)
	if err != nil {
		return err
	}
	tags, err := remote.List(ref.Context(), remote.WithContext(ctx))
	if err == nil && len(tags) == 0 {
		err = fmt.Errorf("%s has no tags", ref.Context())
	}
	return err
}
