package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

func (c *copier) present(d store.Descriptor) {
	c.sink.Emit(store.Event{Kind: store.Done, Desc: d, Name: store.NameOf(d), How: store.Present})
}

// putAll puts the nodes of a batch with their blobs, and the tags last: with the
// root where nothing comes after it, else when its referrers are there and can
// be found, and what digest tags name is there as well.
func (c *copier) putAll(ctx context.Context, batch []*target, nodes []*Node) (err error) {
	if err := c.putBlobs(ctx, nodes); err != nil {
		return err
	}
	if nodes, err = c.settle(batch, nodes); err != nil {
		return err
	}
	early := map[digest.Digest][]string{}
	for _, t := range batch {
		if t.err == nil && !slices.ContainsFunc(t.nodes, c.hasMore) {
			early[t.Digest] = t.names[0].tags()
		}
	}
	if err := c.putNodes(ctx, nodes, early); err != nil {
		return err
	}
	if nodes, err = c.settle(batch, nodes); err != nil {
		return err
	}
	if c.opts.Referrers {
		if err := c.readBack(ctx, nodes); err != nil {
			return err
		}
		if _, err = c.settle(batch, nodes); err != nil {
			return err
		}
	}
	return c.putTags(ctx, batch, early)
}

// hasMore says whether something is found through n that its tags should not
// come before.
func (c *copier) hasMore(n *Node) bool { return len(n.Referrers) > 0 || len(c.digestTag[n.Digest]) > 0 }

// putTags sets the tags that were not put with their manifests, those first that
// are found through others.
func (c *copier) putTags(ctx context.Context, batch []*target, early map[digest.Digest][]string) error {
	last := 0
	for _, t := range batch {
		last = max(last, t.pass)
	}
	for pass := last; pass >= 0; pass-- {
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(c.manifestsAtOnce())
		for _, t := range batch {
			if t.pass == pass && t.err == nil {
				_, first := early[t.Digest]
				group.Go(func() error { return c.putTagsOf(gctx, t, first) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// putTagsOf sets the tags of a target, name by name, so that a tag which is
// refused is no matter of the others; but for the first where that is done.
func (c *copier) putTagsOf(ctx context.Context, t *target, first bool) error {
	at := slices.IndexFunc(t.nodes, func(n *Node) bool { return n.Digest == t.Digest })
	for i, n := range t.names {
		tags := n.tags()
		if len(tags) == 0 || i == 0 && first {
			continue
		}
		err := c.tag(ctx, t.nodes[at].Manifest, tags)
		if err != nil && (!c.goOn || endsAll(err)) {
			return err
		}
		n.err = err
	}
	return nil
}

func (c *copier) putBlobs(ctx context.Context, nodes []*Node) error {
	blobs := c.missingBlobs(nodes)
	descs := make([]store.Descriptor, len(blobs))
	for i, w := range blobs {
		descs[i] = w.Descriptor
		c.sink.Emit(store.Event{Kind: store.Planned, Desc: w.Descriptor, Name: store.NameOf(w.Descriptor)})
	}
	err := spread(ctx, descs, c.opts.limit(), func(ctx context.Context, i int) error {
		return c.broken(blobs[i].Digest, c.putBlob(ctx, blobs[i]))
	})
	if err != nil {
		return err
	}
	for _, w := range blobs {
		if c.failure(w.Digest) == nil {
			c.sent[w.Digest] = true
		}
	}
	return nil
}

// estimate counts what a copy would do, asking the destination for each blob.
func (c *copier) estimate(ctx context.Context, nodes []*Node) error {
	blobs := c.missingBlobs(nodes)
	for _, n := range nodes {
		if !c.there[n.Digest] {
			c.res.Manifests++
			n.fresh, c.there[n.Digest] = true, true
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.limit())
	for _, w := range blobs {
		c.sent[w.Digest] = true
		group.Go(func() error { return c.broken(w.Digest, c.estimateBlob(gctx, w.Descriptor)) })
	}
	return group.Wait()
}

func (c *copier) estimateBlob(ctx context.Context, d store.Descriptor) error {
	src, err := c.blob(ctx, d)
	if err != nil {
		return err
	}
	there, err := c.hasBlob(ctx, d)
	put := store.Put{Descriptor: d, How: store.Present}
	switch {
	case err != nil:
		return err
	case !there && c.opts.Host != "" && strings.HasPrefix(src.Home, c.opts.Host+"/"):
		put.How = store.Mounted
	case !there:
		put.How = store.Sent
	}
	c.count(put)
	return nil
}

// hasBlob asks the destination for a blob. One of another size is not it.
func (c *copier) hasBlob(ctx context.Context, d store.Descriptor) (bool, error) {
	b, err := c.dst.Blob(ctx, store.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: store.UnknownSize})
	gone, err := absent(err)
	return !gone && err == nil && b.Size == d.Size, fail(Destination, "look for blob", d, err)
}

// putBlob puts one blob, or finds it there.
func (c *copier) putBlob(ctx context.Context, w wanted) error {
	d := w.Descriptor
	if w.look {
		there, err := c.hasBlob(ctx, d)
		if err != nil {
			return err
		}
		if there {
			c.present(d)
			c.count(store.Put{Descriptor: d, How: store.Present})
			return nil
		}
	}
	b, err := c.blob(ctx, d)
	if err == nil {
		if c.opensAhead(b) {
			var stop func()
			b, stop = openAhead(ctx, b)
			defer stop()
		}
		_, err = c.put(ctx, b)
	}
	if err != nil && errors.Is(err, store.ErrNotFound) && len(d.URLs) > 0 {
		// A foreign layer: image-spec lets it lie elsewhere, and registries take
		// its manifest without it.
		c.sink.Emit(store.Event{
			Kind: store.Warning, Desc: d, Name: store.NameOf(d),
			Text: fmt.Sprintf("%s is not in the source; the manifest gives %s for it", d.Digest, d.URLs[0]),
		})
		return nil
	}
	return err
}

// blob opens a blob of the source. Content that the manifest carries in data is
// taken from there (image-spec descriptor.md), which saves the request.
func (c *copier) blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	b, err := c.src.Blob(ctx, d)
	if err != nil {
		return b, fail(Source, "read blob", d, err)
	}
	home := b.Home
	if len(d.Data) > 0 && d.Digest.Algorithm().FromBytes(d.Data) == d.Digest && int64(len(d.Data)) == d.Size {
		b = store.NewBlob(d.MediaType, d.Data)
	}
	b.Descriptor, b.Home = d, home
	return b, nil
}

// putNodes puts manifests in order, those of one depth at once, and some of
// them with tags.
func (c *copier) putNodes(ctx context.Context, nodes []*Node, tags map[digest.Digest][]string) error {
	for _, level := range levels(nodes) {
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(c.manifestsAtOnce())
		for _, n := range level {
			names := tags[n.Digest]
			if c.there[n.Digest] && len(names) == 0 {
				c.present(n.Descriptor)
				continue
			}
			if err := c.failedBelow(n); err != nil {
				_ = c.broken(n.Digest, err) // which was broken already, and ends nothing
				continue
			}
			group.Go(func() error {
				if err := c.putManifest(gctx, n.Manifest, names...); err != nil {
					return c.broken(n.Digest, err)
				}
				n.fresh = n.fresh || !c.there[n.Digest]
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for _, n := range level {
			c.there[n.Digest] = c.there[n.Digest] || n.fresh
		}
	}
	return nil
}

// togetherMost is how many manifests are put at once where that saves writes.
const togetherMost = 1024

// manifestsAtOnce is how many manifests are put at once: as many as blobs, but
// where the list of referrers is kept under a tag all that there are, so that
// those of one subject are listed together. Most of them only wait for that.
func (c *copier) manifestsAtOnce() int {
	switch {
	case c.opts.Together:
		return max(batchSize, c.opts.limit())
	case c.opts.Referrers && c.dst.Support().Of(store.AbilityReferrersAPI) == store.No:
		return max(togetherMost, c.opts.limit())
	}
	return c.opts.limit()
}

// failedBelow is why n, or something that comes before it, failed.
func (c *copier) failedBelow(n *Node) error {
	below := append(n.Manifests(), n.Descriptor)
	if n.Outline.Subject != nil {
		below = append(below, *n.Outline.Subject)
	}
	for _, d := range below {
		if err := c.failure(d.Digest); err != nil {
			return err
		}
	}
	return nil
}

// levels groups sorted nodes so that each level names only earlier ones.
func levels(nodes []*Node) [][]*Node {
	depth := map[digest.Digest]int{}
	var out [][]*Node
	for _, n := range nodes {
		at := 0
		for _, d := range n.Outline.Manifests {
			at = max(at, depth[d.Digest])
		}
		if s := n.Outline.Subject; s != nil {
			at = max(at, depth[s.Digest])
		}
		depth[n.Digest] = at + 1
		if at == len(out) {
			out = append(out, nil)
		}
		out[at] = append(out[at], n)
	}
	return out
}
