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

// CopyOptions say what a Copy takes along.
type CopyOptions struct {
	Options
	// Referrers copies what refers to the root, to its children, and so on.
	Referrers bool
	// SkipExtinct leaves out, with a warning each, referrers that are artifact
	// manifests, as they lie beside their converted forms.
	SkipExtinct bool
	// NoPreflight puts without asking first what the destination takes; the
	// first refusal then ends the copy half way.
	NoPreflight bool
	// DryRun only counts what would be sent, mounted and skipped.
	DryRun bool
	// Host is the registry host of the destination, "" elsewhere: what a source
	// on the same host has would be mounted.
	Host string
}

// Copy copies the manifest that ref names, and everything under it, byte by
// byte: blobs in parallel, manifests after what they name, tags last. What the
// destination has is not sent again. Referrers that were written are read back.
func Copy(ctx context.Context, src store.Reader, dst store.Store, ref string, opts CopyOptions) (Result, error) {
	root, err := src.Resolve(ctx, ref)
	if err != nil {
		return Result{}, fail(Source, fmt.Sprintf("resolve %q", ref), store.Descriptor{}, err)
	}
	c := &copier{mover: mover{dst: dst, sink: opts.Events}, src: src, opts: opts}
	c.res.Root = root
	missing, err := c.missingTags(ctx, root)
	if err != nil {
		return c.res, err
	}
	if len(missing) == 0 && !opts.Referrers {
		c.res.Exists = true
		c.present(root)
		return c.res, nil
	}
	err = c.run(ctx, root, missing)
	return c.res, err
}

type copier struct {
	mover
	src  store.Reader
	opts CopyOptions

	there map[digest.Digest]bool // manifests that the destination has; filled before it is read
}

func (c *copier) present(d store.Descriptor) {
	c.sink.Emit(store.Event{Kind: store.Done, Desc: d, Name: store.NameOf(d), How: store.Present})
}

// missingTags are the tags that do not name root yet. Without tags it is the
// digest itself, so that an empty answer means that there is nothing to do.
func (c *copier) missingTags(ctx context.Context, root store.Descriptor) ([]string, error) {
	refs := c.opts.Tags
	if len(refs) == 0 {
		refs = []string{root.Digest.String()}
	}
	is := make([]bool, len(refs))
	group, gctx := errgroup.WithContext(ctx)
	for i, ref := range refs {
		group.Go(func() error {
			d, err := c.dst.Resolve(gctx, ref)
			gone, err := absent(err)
			is[i] = !gone && err == nil && d.Digest == root.Digest
			return fail(Destination, fmt.Sprintf("resolve %q", ref), store.Descriptor{}, err)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []string
	for i, ref := range refs {
		if !is[i] {
			missing = append(missing, ref)
		}
	}
	return missing, nil
}

func (c *copier) run(ctx context.Context, root store.Descriptor, missing []string) error {
	nodes, err := c.survey(ctx, root, missing)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Outline.Subject != nil && n.Digest != root.Digest {
			c.res.Referrers++
		}
	}
	if !c.opts.NoPreflight {
		if err := c.preflight(ctx, nodes); err != nil {
			return err
		}
	}
	if c.opts.DryRun {
		return c.estimate(ctx, nodes)
	}
	if err := c.putBlobs(ctx, nodes); err != nil {
		return c.withPut(err)
	}
	return c.withPut(c.putManifests(ctx, nodes, root, slices.DeleteFunc(missing, store.IsDigest)))
}

// putManifests puts all manifests, and the tags last: with the root where
// nothing comes after it, else when its referrers are there and can be found.
func (c *copier) putManifests(ctx context.Context, nodes []*Node, root store.Descriptor, tags []string) error {
	if !slices.ContainsFunc(nodes, func(n *Node) bool { return len(n.Referrers) > 0 }) {
		return c.putNodes(ctx, nodes, root, tags)
	}
	if err := c.putNodes(ctx, nodes, root, nil); err != nil {
		return err
	}
	if err := c.readBack(ctx, nodes); err != nil || len(tags) == 0 {
		return err
	}
	at := slices.IndexFunc(nodes, func(n *Node) bool { return n.Digest == root.Digest })
	return c.tag(ctx, nodes[at].Manifest, tags)
}

// survey reads the graph at the source, and asks the destination meanwhile
// whether it has the root under another name.
func (c *copier) survey(ctx context.Context, root store.Descriptor, missing []string) (nodes []*Node, err error) {
	rootThere := len(missing) < max(1, len(c.opts.Tags)) // a tag, or the digest, was found to name it
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		nodes, err = Walk(gctx, c.src, root, WalkOptions{
			Referrers: c.opts.Referrers, Subjects: true, Concurrency: c.opts.Concurrency, Events: c.sink, SkipExtinct: c.opts.SkipExtinct,
		})
		return err
	})
	if !rootThere && len(c.opts.Tags) > 0 {
		group.Go(func() (err error) {
			rootThere, err = c.has(gctx, root)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	c.there = map[digest.Digest]bool{root.Digest: rootThere}
	return nodes, c.findPresent(ctx, nodes)
}

func (c *copier) has(ctx context.Context, d store.Descriptor) (bool, error) {
	_, err := c.dst.Resolve(ctx, d.Digest.String())
	gone, err := absent(err)
	return !gone && err == nil, fail(Destination, "resolve", d, err)
}

// findPresent asks which of the manifests that were not asked for yet the
// destination has.
func (c *copier) findPresent(ctx context.Context, nodes []*Node) error {
	if c.there == nil {
		c.there = map[digest.Digest]bool{}
	}
	is := make([]bool, len(nodes))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.limit())
	for i, n := range nodes {
		if _, asked := c.there[n.Digest]; !asked {
			group.Go(func() (err error) {
				is[i], err = c.has(gctx, n.Descriptor)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, n := range nodes {
		c.there[n.Digest] = c.there[n.Digest] || is[i]
	}
	return nil
}

// missingBlobs are the blobs of all manifests that the destination lacks, each once.
func (c *copier) missingBlobs(nodes []*Node) []store.Descriptor {
	seen := map[digest.Digest]bool{}
	var blobs []store.Descriptor
	for _, n := range nodes {
		if c.there[n.Digest] {
			continue
		}
		for _, d := range n.Blobs() {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				blobs = append(blobs, d)
			}
		}
	}
	return blobs
}

func (c *copier) putBlobs(ctx context.Context, nodes []*Node) error {
	blobs := c.missingBlobs(nodes)
	for _, d := range blobs {
		c.sink.Emit(store.Event{Kind: store.Planned, Desc: d, Name: store.NameOf(d)})
	}
	return spread(ctx, blobs, c.opts.limit(), func(ctx context.Context, i int) error { return c.putBlob(ctx, blobs[i]) })
}

// estimate counts what a copy would do, asking the destination for each blob.
func (c *copier) estimate(ctx context.Context, nodes []*Node) error {
	for _, n := range nodes {
		if !c.there[n.Digest] {
			c.res.Manifests++
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.limit())
	for _, d := range c.missingBlobs(nodes) {
		group.Go(func() error {
			src, err := c.blob(gctx, d)
			if err != nil {
				return err
			}
			_, err = c.dst.Blob(gctx, store.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: store.UnknownSize})
			gone, err := absent(err)
			put := store.Put{Descriptor: d, How: store.Present}
			switch {
			case gone && c.opts.Host != "" && strings.HasPrefix(src.Home, c.opts.Host+"/"):
				put.How = store.Mounted
			case gone:
				put.How = store.Sent
			}
			c.count(put)
			return fail(Destination, "look for blob", d, err)
		})
	}
	return group.Wait()
}

func (c *copier) putBlob(ctx context.Context, d store.Descriptor) error {
	b, err := c.blob(ctx, d)
	if err == nil {
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

// putNodes puts manifests in order, those of one depth at once, and the root
// with tags.
func (c *copier) putNodes(ctx context.Context, nodes []*Node, root store.Descriptor, tags []string) error {
	for _, level := range levels(nodes) {
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(c.opts.limit())
		for _, n := range level {
			var names []string
			if n.Digest == root.Digest {
				names = tags
			}
			if c.there[n.Digest] && len(names) == 0 {
				c.present(n.Descriptor)
				continue
			}
			group.Go(func() error { return c.putManifest(gctx, n.Manifest, names...) })
		}
		if err := group.Wait(); err != nil {
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

// readBack proves that every referrer can be found at the destination: some
// registries take a manifest with a subject and list it late or never. A
// referrer that is there without being listed is put once more, which is what
// makes a registry, or the referrers tag, list it.
func (c *copier) readBack(ctx context.Context, nodes []*Node) error {
	if !c.opts.Referrers {
		return nil
	}
	byDigest := map[digest.Digest]*Node{}
	for _, n := range nodes {
		byDigest[n.Digest] = n
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.limit())
	for _, n := range nodes {
		if len(n.Referrers) > 0 {
			group.Go(func() error { return c.readBackOne(gctx, n, byDigest) })
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
