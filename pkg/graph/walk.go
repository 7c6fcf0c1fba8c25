package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

	above bool // met as a subject alone: what else refers to it was not asked
	fresh bool // of a copy: the destination did not have it before
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

// MaxDepth bounds the levels of a walk. Graphs in use have fewer than ten; only
// a hostile store makes a thousand.
const MaxDepth = 1000

// WalkOptions say how far a walk goes.
type WalkOptions struct {
	Referrers   bool // follow referrers, those of children and of referrers too
	Subjects    bool // follow subjects upward; their other referrers are not followed
	Concurrency int  // manifests at once; 0 is DefaultConcurrency
	// Events hears of what is left out: a list may name a referrer that is gone,
	// and a subject need not be there.
	Events store.Sink
	// SkipExtinct leaves out referrers that are artifact manifests; each is told.
	SkipExtinct bool
	// LeaveOut says of a referrer whether it is left out, and with it what
	// refers to it; nil leaves none out. It is not called twice at a time.
	LeaveOut func(store.Descriptor) bool
	// OnError hears of a manifest that cannot be read, or whose referrers cannot
	// be listed, from any goroutine; the walk goes on without it where that
	// gives nil. What Events hears of without it, a referrer or a subject that
	// is gone, is then an error too, and whether a manifest has the media type
	// and size that it was named with is left to the caller.
	OnError func(d store.Descriptor, err error) error
}

// Walk reads the manifests under root level by level, each once, and gives them
// in an order in which everything stands after what it names: children before
// their index, subjects before their referrers.
func Walk(ctx context.Context, src store.Reader, root store.Descriptor, opts WalkOptions) ([]*Node, error) {
	return WalkAll(ctx, src, []store.Descriptor{root}, opts)
}

// WalkAll is Walk from several roots at once: what they share is read once.
func WalkAll(ctx context.Context, src store.Reader, roots []store.Descriptor, opts WalkOptions) ([]*Node, error) {
	w := newWalk(src, opts)
	if err := w.run(ctx, roots...); err != nil {
		return nil, err
	}
	return w.finish(), nil
}

func newWalk(src store.Reader, opts WalkOptions) *walk {
	return &walk{
		src: src, opts: opts, failed: opts.OnError, nodes: map[digest.Digest]*Node{}, seen: map[digest.Digest]bool{},
		refersTo: map[digest.Digest]digest.Digest{}, above: map[digest.Digest]bool{}, lost: map[digest.Digest]bool{},
	}
}

type walk struct {
	src  store.Reader
	opts WalkOptions
	// known are manifests under which nothing is left to do: what leads to them
	// is not followed.
	known map[digest.Digest]bool
	// failed decides about a manifest that cannot be read: an error ends the
	// walk, nil goes on without it. A nil function ends the walk.
	failed func(store.Descriptor, error) error

	nodes map[digest.Digest]*Node
	order []digest.Digest // as found, which is the same in every run
	seen  map[digest.Digest]bool

	refersTo map[digest.Digest]digest.Digest // referrer → subject, as lists said
	above    map[digest.Digest]bool          // reached as a subject alone
	lost     map[digest.Digest]bool          // those of failed
}

// run walks from roots. It may be called again for more of them.
func (w *walk) run(ctx context.Context, roots ...store.Descriptor) error {
	var level []store.Descriptor
	for _, d := range roots {
		if w.meet(d) {
			level = append(level, d)
		}
	}
	for depth := 0; len(level) > 0; depth++ {
		if depth > MaxDepth {
			return w.tooDeep(level)
		}
		var err error
		if level, err = w.level(ctx, level); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) tooDeep(level []store.Descriptor) error {
	for _, d := range level {
		err := fail(Source, "read manifest", d, fmt.Errorf("%w: it is more than %d levels deep in its graph", store.ErrInvalid, MaxDepth))
		if w.failed != nil {
			w.lost[d.Digest] = true
			err = w.failed(d, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish gives the nodes in the order of Walk.
func (w *walk) finish() []*Node {
	nodes := w.sorted()
	for _, n := range nodes {
		n.above = w.above[n.Digest]
		n.Referrers = slices.DeleteFunc(n.Referrers, func(d store.Descriptor) bool {
			if w.lost[d.Digest] {
				return false // it may well be one
			}
			r := w.nodes[d.Digest] // its own subject is what counts, also where it was met elsewhere first
			return r == nil || r.Outline.Subject == nil || r.Outline.Subject.Digest != n.Digest
		})
	}
	return nodes
}

// meet says whether d has to be visited: it was not met before, or as a subject
// alone, whose referrers were not listed.
func (w *walk) meet(d store.Descriptor) bool {
	if w.seen[d.Digest] && !w.above[d.Digest] {
		return false
	}
	w.seen[d.Digest] = true
	delete(w.above, d.Digest)
	return true
}

// level reads one level in parallel and gives the next.
func (w *walk) level(ctx context.Context, level []store.Descriptor) ([]store.Descriptor, error) {
	level = once(level) // what was met as a subject first stands there twice
	found, lost := make([]*Node, len(level)), make([]bool, len(level))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(Options{Concurrency: w.opts.Concurrency}.limit())
	for i, d := range level {
		group.Go(func() (err error) {
			found[i], err = w.visit(gctx, d)
			if err != nil && w.failed != nil && gctx.Err() == nil {
				// A node whose referrers alone could not be listed is one all the
				// same for who asked to hear of it.
				lost[i] = w.opts.OnError == nil || found[i] == nil
				err = w.failed(d, err)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var next []store.Descriptor
	for i, n := range found {
		if lost[i] {
			w.lost[level[i].Digest] = true
			delete(w.nodes, level[i].Digest)
		}
		if n == nil || lost[i] {
			continue
		}
		if w.nodes[n.Digest] == nil {
			w.order = append(w.order, n.Digest)
		}
		w.nodes[n.Digest] = n
		next = append(next, w.edges(n)...)
	}
	return next, nil
}

// once gives each content once, in the order of its first place.
func once(list []store.Descriptor) []store.Descriptor {
	seen := map[digest.Digest]bool{}
	return slices.DeleteFunc(slices.Clone(list), func(d store.Descriptor) bool {
		again := seen[d.Digest]
		seen[d.Digest] = true
		return again
	})
}

// edges are the manifests that n leads to and that were not met before.
func (w *walk) edges(n *Node) []store.Descriptor {
	var next []store.Descriptor
	for _, d := range n.Manifests() {
		if !w.known[d.Digest] && w.meet(d) {
			next = append(next, d)
		}
	}
	for _, d := range n.Referrers {
		if w.opts.SkipExtinct && store.IsExtinct(d.MediaType) {
			w.leaveOut(d, fmt.Sprintf("%s, a %s, is left out with what refers to it", d.Digest, d.MediaType))
			continue
		}
		if w.opts.LeaveOut != nil && w.opts.LeaveOut(d) {
			continue
		}
		if w.meet(d) {
			w.refersTo[d.Digest] = n.Digest
			next = append(next, d)
		}
	}
	s := n.Outline.Subject
	if w.opts.Subjects && s != nil && store.IsManifestType(s.MediaType) && !w.seen[s.Digest] && !w.known[s.Digest] {
		w.seen[s.Digest], w.above[s.Digest] = true, true
		next = append(next, *s)
	}
	return next
}

// visit reads one manifest. It gives nil for one that may be absent and is: a
// referrer that only a list names, a subject. That is told.
func (w *walk) visit(ctx context.Context, d store.Descriptor) (*Node, error) {
	if n := w.nodes[d.Digest]; n != nil { // only its referrers are missing
		all := *n
		var err error
		all.Referrers, err = w.referrers(ctx, d)
		return &all, err
	}
	subject, listed := w.refersTo[d.Digest]
	referrers, stop := w.listAhead(ctx, d)
	defer stop()
	m, err := w.src.Manifest(ctx, d.Digest.String())
	strict := w.opts.OnError != nil
	switch {
	case strict && err != nil:
		return nil, fail(Source, "read manifest", d, err)
	case listed && errors.Is(err, store.ErrNotFound):
		w.leaveOut(d, fmt.Sprintf("%s is listed as a referrer of %s, and is not there", d.Digest, subject))
		return nil, nil
	case w.above[d.Digest] && errors.Is(err, store.ErrNotFound):
		w.leaveOut(d, fmt.Sprintf("the subject %s is not there; what refers to it goes without", d.Digest))
		return nil, nil
	case err != nil:
		return nil, fail(Source, "read manifest", d, err)
	}
	if strict && store.IsManifestType(m.MediaType) {
		d = m.Descriptor // as it is, not as it was named
	}
	n, err := newNode(m, d)
	if err != nil {
		return nil, fail(Source, "read manifest", d, err)
	}
	if s := n.Outline.Subject; listed && (s == nil || s.Digest != subject) {
		// The manifest's own subject is what counts: some registries list the
		// children of an index (GitLab, for the tag schema).
		w.leaveOut(d, fmt.Sprintf("%s is listed as a referrer of %s, and does not name it as its subject", d.Digest, subject))
		return nil, nil
	}
	n.Referrers, err = referrers()
	return n, err
}

// CheckNamed holds a manifest against the descriptor that led to it: what names
// it has a say in what it is and how large (CVE-2021-41190).
func CheckNamed(m store.Manifest, d store.Descriptor) error {
	if m.MediaType != d.MediaType {
		return fmt.Errorf("%w: its media type is %s, and it was named as %s", store.ErrInvalid, m.MediaType, d.MediaType)
	}
	if int64(len(m.Raw)) != d.Size {
		return store.Mismatch("it has %d bytes, and was named with %d", len(m.Raw), d.Size)
	}
	return nil
}

// newNode reads the edges of a manifest, which has to be what d says of it.
func newNode(m store.Manifest, d store.Descriptor) (*Node, error) {
	if err := CheckNamed(m, d); err != nil {
		return nil, err
	}
	m.Descriptor = d // with the annotations that the index or the list gave
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, err
	}
	return &Node{Manifest: m, Outline: o}, nil
}

func (w *walk) leaveOut(d store.Descriptor, why string) {
	w.opts.Events.Emit(store.Event{Kind: store.Warning, Desc: d, Name: store.NameOf(d), Text: why})
}

// opReferrers is the operation of an Error about a list of referrers.
const opReferrers = "list referrers of"

// referrers lists them where the walk follows referrers.
func (w *walk) referrers(ctx context.Context, d store.Descriptor) ([]store.Descriptor, error) {
	if !w.opts.Referrers {
		return nil, nil
	}
	list, err := store.Collect(w.src.Referrers(ctx, d.Digest, ""))
	if err != nil {
		return nil, fail(Source, opReferrers, d, err)
	}
	for _, r := range list {
		if !store.IsManifestType(r.MediaType) && w.opts.OnError == nil {
			return nil, fail(Source, opReferrers, d,
				fmt.Errorf("%w: the referrer %s is of type %s, which is no kind of manifest that stet can read", store.ErrUnsupported, r.Digest, r.MediaType))
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
