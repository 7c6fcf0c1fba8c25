package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Node is a manifest of a graph with its edges read.
type Node struct {
	store.Manifest
	Outline *store.Outline
	// Referrers are the manifests whose subject this is; listed only where a
	// walk follows referrers.
	Referrers []store.Descriptor
}

// Manifests are the edges that lead down to other manifests.
func (n *Node) Manifests() []store.Descriptor {
	return slices.DeleteFunc(slices.Clone(n.Outline.Manifests), func(d store.Descriptor) bool {
		return !store.IsManifestType(d.MediaType)
	})
}

// Blobs are config, layers and blobs of the node, and the entries of an index
// that are no manifests (build caches are kept so).
func (n *Node) Blobs() []store.Descriptor {
	blobs := slices.Clone(n.Outline.Blobs())
	for _, d := range n.Outline.Manifests {
		if !store.IsManifestType(d.MediaType) {
			blobs = append(blobs, d)
		}
	}
	return blobs
}

// maxDepth bounds the levels of a walk. Graphs in use have fewer than ten; only
// a hostile store makes a thousand.
const maxDepth = 1000

// WalkOptions say how far a walk goes.
type WalkOptions struct {
	Referrers   bool // follow referrers, those of children and of referrers too
	Concurrency int
	// Prune ends a branch: the manifest is neither read nor given. Its
	// referrers are not followed either. nil prunes nothing.
	Prune func(context.Context, store.Descriptor) (bool, error)
}

// Walk reads the manifests under root level by level, each once, and gives them
// in an order in which everything stands after what it names: children before
// their index, subjects before their referrers.
func Walk(ctx context.Context, src store.Reader, root store.Descriptor, opts WalkOptions) ([]*Node, error) {
	w := &walk{
		src: src, opts: opts, nodes: map[digest.Digest]*Node{}, seen: map[digest.Digest]bool{root.Digest: true},
		refersTo: map[digest.Digest]digest.Digest{},
	}
	level := []store.Descriptor{root}
	for depth := 0; len(level) > 0; depth++ {
		if depth > maxDepth {
			return nil, fmt.Errorf("%w: the graph under %s is more than %d levels deep", store.ErrInvalid, root.Digest, maxDepth)
		}
		var err error
		if level, err = w.level(ctx, level); err != nil {
			return nil, err
		}
	}
	return w.sorted(), nil
}

type walk struct {
	src  store.Reader
	opts WalkOptions

	mu    sync.Mutex
	nodes map[digest.Digest]*Node
	order []digest.Digest // as found, which is the same in every run
	seen  map[digest.Digest]bool

	refersTo map[digest.Digest]digest.Digest // referrer → subject, as lists said
}

// level reads one level in parallel and gives the next.
func (w *walk) level(ctx context.Context, level []store.Descriptor) ([]store.Descriptor, error) {
	found := make([]*Node, len(level))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(max(w.opts.Concurrency, DefaultConcurrency))
	for i, d := range level {
		group.Go(func() (err error) {
			found[i], err = w.visit(gctx, d)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var next []store.Descriptor
	for _, n := range found {
		if n == nil {
			continue
		}
		if err := w.checkSubject(n); err != nil {
			return nil, err
		}
		w.nodes[n.Digest] = n
		w.order = append(w.order, n.Digest)
		for _, d := range slices.Concat(n.Manifests(), n.Referrers) {
			if !w.seen[d.Digest] {
				w.seen[d.Digest] = true
				next = append(next, d)
			}
		}
		for _, d := range n.Referrers {
			w.refersTo[d.Digest] = n.Digest
		}
	}
	return next, nil
}

// checkSubject holds a referrer against the list that it came from: a list can
// be wrong, the manifest's own subject is what counts.
func (w *walk) checkSubject(n *Node) error {
	subject, listed := w.refersTo[n.Digest]
	if !listed || n.Outline.Subject != nil && n.Outline.Subject.Digest == subject {
		return nil
	}
	return fail(Source, "read referrer", n.Descriptor, fmt.Errorf("%w: it is listed as a referrer of %s, and does not name it as its subject", store.ErrInvalid, subject))
}

// visit reads one manifest; nil means that it was pruned.
func (w *walk) visit(ctx context.Context, d store.Descriptor) (*Node, error) {
	if w.opts.Prune != nil {
		if prune, err := w.opts.Prune(ctx, d); prune || err != nil {
			return nil, err
		}
	}
	m, err := w.src.Manifest(ctx, d.Digest.String())
	if err != nil {
		return nil, fail(Source, "read manifest", d, err)
	}
	if m.MediaType != d.MediaType {
		return nil, fail(Source, "read manifest", d, fmt.Errorf("%w: it is a %s, and was named as %s", store.ErrInvalid, m.MediaType, d.MediaType))
	}
	if int64(len(m.Raw)) != d.Size {
		return nil, fail(Source, "read manifest", d, fmt.Errorf("%w: it has %d bytes, and was named with %d", store.ErrMismatch, len(m.Raw), d.Size))
	}
	m.Descriptor = d // with the annotations that the index or the list gave
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, fail(Source, "read manifest", d, err)
	}
	n := &Node{Manifest: m, Outline: o}
	if w.opts.Referrers {
		n.Referrers, err = w.referrers(ctx, d)
	}
	return n, err
}

func (w *walk) referrers(ctx context.Context, d store.Descriptor) ([]store.Descriptor, error) {
	list, err := store.Collect(w.src.Referrers(ctx, d.Digest, ""))
	if err != nil {
		return nil, fail(Source, "list referrers of", d, err)
	}
	for _, r := range list {
		if !store.IsManifestType(r.MediaType) {
			return nil, fail(Source, "list referrers of", d,
				fmt.Errorf("%w: the referrer %s is a %s, which is no kind of manifest that stet can read", store.ErrUnsupported, r.Digest, r.MediaType))
		}
	}
	return list, nil
}

// sorted puts the nodes into an order for writing. It is a depth-first walk
// with its own stack, so that depth costs no goroutine stack.
func (w *walk) sorted() []*Node {
	var out []*Node
	state := map[digest.Digest]int{} // 0 unseen, 1 open, 2 written
	for _, start := range w.order {
		stack := []digest.Digest{start}
		for len(stack) > 0 {
			d := stack[len(stack)-1]
			n := w.nodes[d]
			if n == nil || state[d] == 2 {
				stack = stack[:len(stack)-1]
				continue
			}
			if state[d] == 1 {
				state[d] = 2
				out = append(out, n)
				stack = stack[:len(stack)-1]
				continue
			}
			state[d] = 1
			before := n.Manifests()
			if n.Outline.Subject != nil {
				before = append(before, *n.Outline.Subject)
			}
			for _, b := range slices.Backward(before) {
				if state[b.Digest] == 0 {
					stack = append(stack, b.Digest)
				}
			}
		}
	}
	return out
}

// absent turns ErrNotFound into false.
func absent(err error) (bool, error) {
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return false, err
}
