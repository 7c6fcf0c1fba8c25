package graph

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// readBack proves that every referrer can be found at the destination: some
// registries take a manifest with a subject and list it late or never. A
// referrer that is there without being listed is put once more, which is what
// makes a registry, or the referrers tag, list it.
func (c *copier) readBack(ctx context.Context, nodes []*Node) error {
	byDigest := map[digest.Digest]*Node{}
	for _, n := range nodes {
		byDigest[n.Digest] = n
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.limit())
	for _, n := range nodes {
		if len(n.Referrers) > 0 {
			group.Go(func() error { return c.broken(n.Digest, c.readBackOne(gctx, n, byDigest)) })
		}
	}
	return group.Wait()
}

// readBackTries is how often unlisted referrers are put again.
const readBackTries = 3

func (c *copier) readBackOne(ctx context.Context, subject *Node, byDigest map[digest.Digest]*Node) error {
	var lost []store.Descriptor
	for range readBackTries {
		listed, err := store.Collect(c.dst.Referrers(ctx, subject.Digest, ""))
		if err != nil {
			return fail(Destination, "list referrers of", subject.Descriptor, err)
		}
		lost = slices.DeleteFunc(slices.Clone(subject.Referrers), func(want store.Descriptor) bool {
			return slices.ContainsFunc(listed, func(d store.Descriptor) bool { return d.Digest == want.Digest })
		})
		if len(lost) == 0 {
			return nil
		}
		for _, d := range lost {
			if err := c.putManifest(ctx, byDigest[d.Digest].Manifest); err != nil {
				return err
			}
		}
	}
	return fail(Destination, "read back referrers of", subject.Descriptor,
		fmt.Errorf("%w: %s was put and is not listed", store.ErrNotFound, lost[0].Digest))
}
