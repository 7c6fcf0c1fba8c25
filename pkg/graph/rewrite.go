package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// Reason is why another manifest stands for an old one.
type Reason string

// The reasons.
const (
	TypeChange   Reason = "type-change"   // it is of another kind now
	SubjectMoved Reason = "subject-moved" // its subject has another digest
	ChildMoved   Reason = "child-moved"   // an entry of the index has another digest
)

// Moved gives the manifest that stands for the one that a descriptor names.
type Moved func(store.Descriptor) (store.Manifest, bool)

// Change is what a rewrite makes of one manifest.
type Change struct {
	store.Manifest // the node's own where nothing changes

	Blobs     []store.Blob     // content that this change needs and that the source may not have
	Referrers []store.Manifest // manifests to put after it, each with Manifest as its subject
	Leave     bool             // the node has no place in the new graph: it is not put and not mapped
}

// Mapped is an old manifest and what stands for it.
type Mapped struct {
	Old       *Node
	New       store.Manifest
	Reasons   []Reason
	Referrers []store.Manifest // of the Change

	Dangling bool               // the subject is not in the source; it is named as before
	Left     []store.Descriptor // what refers to the old manifest and was not taken along
}

// RewriteOptions say how far a rewrite goes and what it does to each manifest.
type RewriteOptions struct {
	Options
	Referrers bool // take along what refers to the root, to its children, and so on
	Same      bool // source and destination are one repository: only what is new is put
	DryRun    bool // read and work out everything, put nothing
	// Change is asked for each manifest, after everything that it names. It
	// has to give the same answer whenever it is asked the same.
	Change func(context.Context, *Node, Moved) (Change, error)
}

// Rewritten is what a Rewrite came to.
type Rewritten struct {
	Result
	Map []Mapped // each after what it names; the same order whatever the store
}

// Rewrite makes a new graph of the one under root: subjects before what refers
// to them, children before their index, tags last. Old manifests stay as they
// are. What the destination has is not put again, so a second run changes
// nothing, and its map is the same.
//
// Before a tag is set it is asked what it names: if that is something else than
// when the rewrite began, it is ErrExists. All that was put is read back.
func Rewrite(ctx context.Context, src store.Reader, dst store.Store, root store.Descriptor, opts RewriteOptions) (Rewritten, error) {
	r := &rewriter{
		copier: newCopier(src, dst, CopyOptions{Options: opts.Options, Referrers: true}),
		opts:   opts, moved: map[digest.Digest]store.Manifest{}, made: map[digest.Digest]store.Blob{},
	}
	err := r.run(ctx, root)
	return Rewritten{r.res, r.mapped}, err
}

type rewriter struct {
	*copier
	opts RewriteOptions

	moved  map[digest.Digest]store.Manifest // old digest → new manifest
	mapped []Mapped
	nodes  []*Node                      // what is to be put, in order
	made   map[digest.Digest]store.Blob // content of changes
	before map[string]digest.Digest     // what each tag named at the beginning
	root   store.Manifest               // the new one
}

func (r *rewriter) run(ctx context.Context, root store.Descriptor) error {
	old, err := Walk(ctx, r.src, root, WalkOptions{Referrers: r.opts.Referrers, Concurrency: r.opts.limit(), Events: r.sink})
	if err != nil {
		return err
	}
	if err := r.changeAll(ctx, ordered(old), root); err != nil {
		return err
	}
	if err := r.look(ctx); err != nil || r.opts.DryRun {
		return err
	}
	if r.before, err = r.readTags(ctx); err != nil {
		return err
	}
	if err := r.findPresent(ctx, descriptors(r.nodes)); err != nil {
		return err
	}
	if err := r.preflight(ctx, r.nodes); err != nil {
		return err
	}
	if err := r.putContent(ctx); err != nil {
		return r.withPut(err)
	}
	if err := r.putNodes(ctx, r.nodes, nil); err != nil {
		return r.withPut(err)
	}
	if err := r.proveAll(ctx); err != nil {
		return err
	}
	return r.tag(ctx)
}

// ordered puts nodes into an order that does not depend on how a store lists
// referrers: those that name nothing first, and by digest among themselves.
func ordered(nodes []*Node) []*Node {
	all := levels(nodes)
	for _, level := range all {
		slices.SortFunc(level, func(a, b *Node) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	}
	return slices.Concat(all...)
}

// changeAll asks for the change of each node and works out the reasons.
func (r *rewriter) changeAll(ctx context.Context, old []*Node, root store.Descriptor) error {
	moved := func(d store.Descriptor) (store.Manifest, bool) { m, ok := r.moved[d.Digest]; return m, ok }
	seen := map[digest.Digest]bool{}
	for _, n := range old {
		c, err := r.opts.Change(ctx, n, moved)
		if err != nil {
			return fail(Source, "convert manifest", n.Descriptor, err)
		}
		if n.Digest == root.Digest {
			r.root, r.res.Root = c.Manifest, c.Descriptor
		}
		if c.Leave {
			continue
		}
		changed := c.Digest != n.Digest
		if changed {
			r.mapped = append(r.mapped, Mapped{Old: n, New: c.Manifest, Reasons: r.reasons(n, c.Manifest), Referrers: c.Referrers})
			r.moved[n.Digest] = c.Manifest
		}
		for _, b := range c.Blobs {
			r.made[b.Digest] = b
		}
		for _, m := range append([]store.Manifest{c.Manifest}, c.Referrers...) {
			if seen[m.Digest] || r.opts.Same && !changed {
				continue
			}
			seen[m.Digest] = true
			o, err := store.ParseOutline(m)
			if err != nil {
				return fail(Source, "convert manifest", n.Descriptor, err)
			}
			r.nodes = append(r.nodes, &Node{Manifest: m, Outline: o})
		}
	}
	return nil
}

func (r *rewriter) reasons(n *Node, m store.Manifest) []Reason {
	var why []Reason
	if m.MediaType != n.MediaType {
		why = append(why, TypeChange)
	}
	if s := n.Outline.Subject; s != nil && r.moved[s.Digest].Digest != "" {
		why = append(why, SubjectMoved)
	}
	if slices.ContainsFunc(n.Outline.Manifests, func(d store.Descriptor) bool { return r.moved[d.Digest].Digest != "" }) {
		why = append(why, ChildMoved)
	}
	return why
}

// look asks the source for what the map tells beside digests, and whether the
// content of converted manifests is there: a registry that took an artifact
// manifest without its blobs would be left with an image that has none.
func (r *rewriter) look(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(r.opts.limit())
	for i := range r.mapped {
		m := &r.mapped[i]
		group.Go(func() error { return r.lookAt(gctx, m) })
	}
	return group.Wait()
}

func (r *rewriter) lookAt(ctx context.Context, m *Mapped) error {
	if s := m.Old.Outline.Subject; s != nil && r.moved[s.Digest].Digest == "" {
		_, err := r.src.Resolve(ctx, s.Digest.String())
		if m.Dangling, err = absent(err); err != nil {
			return fail(Source, "resolve", *s, err)
		}
	}
	if !r.opts.Referrers {
		left, err := store.Collect(r.src.Referrers(ctx, m.Old.Digest, ""))
		if err != nil {
			return fail(Source, "list referrers of", m.Old.Descriptor, err)
		}
		slices.SortFunc(left, func(a, b store.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
		m.Left = left
	}
	if !slices.Contains(m.Reasons, TypeChange) {
		return nil
	}
	for _, d := range m.Old.Blobs() {
		if len(d.URLs) > 0 {
			continue // a foreign layer, which lies elsewhere
		}
		ask := d
		ask.Size = store.UnknownSize
		if _, err := r.src.Blob(ctx, ask); err != nil {
			return fail(Source, "find blob", d, err)
		}
	}
	return nil
}

// readTags is what the tags name; a tag that is not there is not in it.
func (r *rewriter) readTags(ctx context.Context) (map[string]digest.Digest, error) {
	names := map[string]digest.Digest{}
	for _, tag := range r.opts.Tags {
		d, err := r.dst.Resolve(ctx, tag)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fail(Destination, fmt.Sprintf("resolve %q", tag), store.Descriptor{}, err)
		}
		names[tag] = d.Digest
	}
	return names, nil
}

// putContent puts the blobs of manifests that the destination lacks. Within one
// repository only what the changes made is new.
func (r *rewriter) putContent(ctx context.Context) error {
	seen := map[digest.Digest]bool{}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(r.opts.limit())
	for _, n := range r.nodes {
		if r.there[n.Digest] {
			continue
		}
		for _, d := range n.Blobs() {
			b, made := r.made[d.Digest]
			if seen[d.Digest] || !made && r.opts.Same || gctx.Err() != nil {
				continue
			}
			seen[d.Digest] = true
			group.Go(func() error {
				if !made {
					return r.putBlob(gctx, wanted{Descriptor: d})
				}
				_, err := r.put(gctx, b)
				return err
			})
		}
	}
	return group.Wait()
}

// proveAll reads back what stands for old manifests, byte by byte, and the lists
// of their subjects: some registries say that they took a manifest, and have
// not, or list it nowhere.
func (r *rewriter) proveAll(ctx context.Context) error {
	subjects, byDigest := map[digest.Digest]*Node{}, map[digest.Digest]*Node{}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(r.opts.limit())
	for _, n := range r.nodes {
		byDigest[n.Digest] = n
		if s := n.Outline.Subject; s != nil {
			if subjects[s.Digest] == nil {
				subjects[s.Digest] = &Node{Manifest: store.Manifest{Descriptor: *s}}
			}
			subjects[s.Digest].Referrers = append(subjects[s.Digest].Referrers, n.Descriptor)
		}
		group.Go(func() error {
			m, err := r.dst.Manifest(gctx, n.Digest.String())
			if err == nil && (m.MediaType != n.MediaType || !bytes.Equal(m.Raw, n.Raw)) {
				err = store.Mismatch("a %s of %d bytes was put, a %s of %d bytes came back", n.MediaType, n.Size, m.MediaType, m.Size)
			}
			return fail(Destination, "read back manifest", n.Descriptor, err)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, s := range subjects {
		if err := r.readBackOne(ctx, s, byDigest); err != nil {
			return err
		}
	}
	return nil
}

// tag points the tags at the new root, last of all. No registry offers a
// conditional PUT, so the tag is asked for again just before.
func (r *rewriter) tag(ctx context.Context) error {
	now, err := r.readTags(ctx)
	if err != nil {
		return err
	}
	var todo []string
	for _, tag := range r.opts.Tags {
		if now[tag] != r.before[tag] {
			return fail(Destination, "tag", r.root.Descriptor, fmt.Errorf("%w: the tag %q named %s when the conversion began, and now %s; it was left so",
				store.ErrExists, tag, orNothing(r.before[tag]), orNothing(now[tag])))
		}
		if now[tag] != r.root.Digest {
			todo = append(todo, tag)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if err := r.putManifest(ctx, r.root, todo...); err != nil {
		return err
	}
	now, err = r.readTags(ctx)
	if err != nil {
		return err
	}
	for _, tag := range todo {
		if now[tag] != r.root.Digest {
			return fail(Destination, "read back tag", r.root.Descriptor, store.Mismatch("the tag %q was set, and names %s", tag, orNothing(now[tag])))
		}
	}
	return nil
}

func orNothing(d digest.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.String()
}
