package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// name is a Root on its way.
type name struct {
	Root
	desc    store.Descriptor
	missing []string // tags that the destination lacks; the digest where there are no tags: empty is nothing to do
	exists  bool
	ended   bool // exists or err is the outcome
	err     error
}

// tags are those that have to be set.
func (n *name) tags() []string { return slices.DeleteFunc(slices.Clone(n.missing), store.IsDigest) }

// target is an artifact of a batch, with all its names.
type target struct {
	store.Descriptor
	names []*name
	pass  int // 0 was asked for; others were found by digest tags, the later the higher
	nodes []*Node
	err   error
}

// add notes a root, unless it was given already.
func (c *copier) add(r Root) *name {
	n := &name{Root: r}
	c.names = append(c.names, n)
	c.taken[r.Ref] = true
	return n
}

// resolve asks both sides what names mean.
func (c *copier) resolve(ctx context.Context, names []*name) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.limit())
	for _, n := range names {
		group.Go(func() error { return c.resolveOne(gctx, n) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, n := range names {
		switch found := len(n.missing) < max(1, len(n.Tags)); {
		case n.err != nil:
		case found: // a tag, or the digest, names it
			c.there[n.desc.Digest] = true
		case len(n.Tags) == 0 && !c.there[n.desc.Digest]:
			c.there[n.desc.Digest] = false
		}
	}
	return nil
}

// resolveOne asks both sides at once: neither question needs the other's answer.
// What the source says of itself goes first, whichever answered before.
func (c *copier) resolveOne(ctx context.Context, n *name) (err error) {
	refs := n.Tags
	if len(refs) == 0 && store.IsDigest(n.Ref) {
		refs = []string{n.Ref}
	}
	var named []digest.Digest
	var unnamed error
	var asked sync.WaitGroup
	dctx, stop := context.WithCancel(ctx)
	defer stop()
	asked.Go(func() { named, unnamed = c.namedThere(dctx, refs) })
	if n.desc, err = c.src.Resolve(ctx, n.Ref); err != nil {
		stop()
	}
	asked.Wait()
	if err != nil {
		n.err = fail(Source, fmt.Sprintf("resolve %q", n.Ref), store.Descriptor{}, err)
		if c.goOn && !endsAll(err) && !errors.Is(err, store.ErrUnavailable) {
			return nil
		}
		return n.err
	}
	if len(refs) == 0 {
		refs = []string{n.desc.Digest.String()}
		named, unnamed = c.namedThere(ctx, refs)
	}
	if c.goOn && errors.Is(unnamed, store.ErrBadReference) {
		n.err = unnamed // layouts have tags that registries cannot have
		return nil
	}
	for i, d := range named {
		if d != n.desc.Digest {
			n.missing = append(n.missing, refs[i])
		}
	}
	return unnamed // a destination that does not answer this will take nothing
}

// namedThere is what refs name at the destination, "" for what is not there.
func (c *copier) namedThere(ctx context.Context, refs []string) ([]digest.Digest, error) {
	named := make([]digest.Digest, len(refs))
	group, gctx := errgroup.WithContext(ctx)
	for i, ref := range refs {
		group.Go(func() error {
			d, err := c.dst.Resolve(gctx, ref)
			gone, err := c.lacks(err)
			if !gone && err == nil {
				named[i] = d.Digest
			}
			return fail(Destination, fmt.Sprintf("resolve %q", ref), store.Descriptor{}, err)
		})
	}
	return named, group.Wait()
}

// lacks is absent, also for what is damaged and is to be put anew.
func (c *copier) lacks(err error) (bool, error) {
	if (c.opts.Force || c.opts.mend) && isDamage(err) {
		return true, nil
	}
	return absent(err)
}

// targets are the artifacts that the names mean, each once, but for those that
// are there: a manifest at the destination is trusted to have all under it.
func (c *copier) targets(names []*name) []*target {
	trust := !c.opts.Referrers && !c.opts.Force && len(c.digestTag) == 0
	var all []*target
	at := map[digest.Digest]*target{}
	for _, n := range names {
		if n.err != nil {
			n.ended = true
			continue
		}
		if trust && len(n.missing) == 0 {
			n.exists, n.ended = true, true
			c.present(n.desc)
			continue
		}
		t := at[n.desc.Digest]
		if t == nil {
			t = &target{Descriptor: n.desc}
			at[n.desc.Digest] = t
			all = append(all, t)
		}
		t.names = append(t.names, n)
	}
	return all
}

// settle finds out which targets failed, and gives the nodes that the others
// need, in their order.
func (c *copier) settle(batch []*target, nodes []*Node) ([]*Node, error) {
	byDigest := map[digest.Digest]*Node{}
	for _, n := range nodes {
		byDigest[n.Digest] = n
	}
	needed := map[digest.Digest]bool{}
	for _, t := range batch {
		if t.err != nil {
			continue
		}
		if t.nodes, t.err = c.reach(t.Digest, byDigest); t.err != nil {
			if !c.goOn {
				return nil, t.err
			}
			continue
		}
		for _, n := range t.nodes {
			needed[n.Digest] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n *Node) bool { return !needed[n.Digest] }), nil
}

// reach gives the nodes that root leads to, but for those that are done. It is
// an error where one of them, or a blob, failed or is not there.
func (c *copier) reach(root digest.Digest, byDigest map[digest.Digest]*Node) (nodes []*Node, err error) {
	seen := map[digest.Digest]bool{}
	stack := []digest.Digest{root}
	for len(stack) > 0 {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[d] {
			continue
		}
		seen[d] = true
		if err := c.failure(d); err != nil {
			return nil, err
		}
		n := byDigest[d]
		if n == nil && c.done[d] {
			continue
		}
		if n == nil { // a list of referrers may name it as well, and there it may be missing
			return nil, fail(Source, "read manifest", store.Descriptor{Digest: d}, store.ErrNotFound)
		}
		for _, b := range n.Blobs() {
			if err := c.failure(b.Digest); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, n)
		for _, next := range slices.Concat(n.Manifests(), n.Referrers) {
			stack = append(stack, next.Digest)
		}
		// A subject need not be there.
		if s := n.Outline.Subject; s != nil && (byDigest[s.Digest] != nil || c.failure(s.Digest) != nil) {
			stack = append(stack, s.Digest)
		}
	}
	return nodes, nil
}

// end gives every name of a batch its outcome.
func (c *copier) end(batch []*target) {
	for _, t := range batch {
		fresh := slices.ContainsFunc(t.nodes, func(n *Node) bool { return n.fresh })
		for _, n := range t.names {
			if n.err == nil {
				n.err = t.err
			}
			n.ended = true
			n.exists = n.err == nil && len(n.missing) == 0 && !fresh
		}
		if t.err != nil {
			continue
		}
		for _, n := range t.nodes {
			// Of a subject that was met from below, other referrers may be left.
			if !n.above {
				c.done[n.Digest] = true
			}
		}
	}
}
