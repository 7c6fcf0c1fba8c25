package graph

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// survey reads the graph of a batch at the source, and asks the destination
// meanwhile which roots it has. What digest tags name joins the batch.
func (c *copier) survey(ctx context.Context, batch []*target) ([]*Node, []*target, error) {
	w := newWalk(c.src, WalkOptions{
		Referrers: c.opts.Referrers, Subjects: true, Concurrency: c.opts.Concurrency, Events: c.sink,
		SkipExtinct: c.opts.SkipExtinct, LeaveOut: c.leaveOut,
	})
	w.known = c.done
	if c.goOn {
		w.failed = func(d store.Descriptor, err error) error { return c.broken(d.Digest, err) }
	}
	roots := make([]store.Descriptor, len(batch))
	for i, t := range batch {
		roots[i] = t.Descriptor
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.run(gctx, roots...) })
	group.Go(func() error { return c.findPresent(gctx, roots) })
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for pass := 1; c.digestTag != nil; pass++ {
		more, err := c.digestTagged(ctx, w, batch, pass)
		if err != nil {
			return nil, nil, err
		}
		if len(more) == 0 {
			break
		}
		batch = append(slices.Clip(batch), more...)
		roots = roots[:0]
		for _, t := range more {
			roots = append(roots, t.Descriptor)
		}
		if err := w.run(ctx, roots...); err != nil {
			return nil, nil, err
		}
	}
	nodes := w.finish()
	return nodes, batch, c.findPresent(ctx, descriptors(nodes))
}

func descriptors(nodes []*Node) []store.Descriptor {
	all := make([]store.Descriptor, len(nodes))
	for i, n := range nodes {
		all[i] = n.Descriptor
	}
	return all
}

// leaveOut says whether a referrer is of none of the wanted types.
func (c *copier) leaveOut(d store.Descriptor) bool {
	if len(c.opts.ArtifactTypes) == 0 || slices.Contains(c.opts.ArtifactTypes, d.ArtifactType) {
		return false
	}
	c.leftOut[d.Digest] = true
	return true
}

// digestTagged finds the digest tags of all manifests that a walk has met. What
// they name becomes targets, unless it is one already and only gets a name more.
func (c *copier) digestTagged(ctx context.Context, w *walk, batch []*target, pass int) ([]*target, error) {
	var names []*name
	for _, d := range w.order {
		for _, tag := range c.digestTag[d] {
			if !c.taken[tag] {
				names = append(names, c.add(Root{Ref: tag, Tags: []string{tag}}))
			}
		}
	}
	if err := c.resolve(ctx, names); err != nil {
		return nil, err
	}
	more := c.targets(names)
	for _, t := range more {
		t.pass = pass
	}
	return slices.DeleteFunc(more, func(t *target) bool {
		at := slices.IndexFunc(batch, func(b *target) bool { return b.Digest == t.Digest })
		if at >= 0 {
			batch[at].names = append(batch[at].names, t.names...)
		}
		return at >= 0
	}), nil
}

func (c *copier) has(ctx context.Context, d store.Descriptor) (bool, error) {
	_, err := c.dst.Resolve(ctx, d.Digest.String())
	gone, err := c.lacks(err)
	return !gone && err == nil, fail(Destination, "resolve", d, err)
}

// findPresent asks which of the manifests that were not asked for yet the
// destination has.
func (c *copier) findPresent(ctx context.Context, list []store.Descriptor) error {
	is := make([]bool, len(list))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.limit())
	for i, d := range list {
		if _, asked := c.there[d.Digest]; !asked {
			group.Go(func() (err error) {
				is[i], err = c.has(gctx, d)
				return c.broken(d.Digest, err)
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, d := range list {
		if c.failure(d.Digest) == nil {
			c.there[d.Digest] = c.there[d.Digest] || is[i]
		}
	}
	return nil
}

// wanted is a blob that has to be at the destination.
type wanted struct {
	store.Descriptor
	look bool // a manifest that names it is there, so that it may well be too
}

// missingBlobs are the blobs of nodes that the destination lacks or may lack,
// each once.
func (c *copier) missingBlobs(nodes []*Node) []wanted {
	at := map[digest.Digest]int{}
	var blobs []wanted
	for _, n := range nodes {
		there := c.there[n.Digest]
		if there && !c.opts.Force {
			continue
		}
		for _, d := range n.Blobs() {
			if c.sent[d.Digest] {
				continue
			}
			i, met := at[d.Digest]
			if !met {
				i = len(blobs)
				at[d.Digest] = i
				blobs = append(blobs, wanted{Descriptor: d})
			}
			blobs[i].look = blobs[i].look || there
		}
	}
	return blobs
}
