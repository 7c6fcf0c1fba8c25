package graph

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// Branch is a manifest with what Discover found on it.
type Branch struct {
	store.Descriptor
	Tag      string // the digest tag that it was found by, such as cosign's; else ""
	Repeated bool   // it was met before, and its own branches stand there

	Referrers  []*Branch // by artifact type, then time of creation, then digest
	Manifests  []*Branch // of an index, in its order
	DigestTags []*Branch // by tag
}

// DiscoverOptions say how far a Discover goes.
type DiscoverOptions struct {
	// Depth is how many levels below the root are looked at; 0 is all. What
	// refers to a manifest, what an index holds and what a digest tag names are
	// one level below it.
	Depth int
	// ArtifactType and Keep filter what refers to something, on every level:
	// what is left out is not followed either. "" and nil keep all.
	ArtifactType string
	Keep         func(store.Descriptor) bool
	Manifests    bool // also what indexes hold, and what refers to that
	DigestTags   bool // also what digest tags name: the tags are listed once
	// Latest keeps, of the referrers of one manifest that have one artifact
	// type, the newest by org.opencontainers.image.created. Those that do not
	// say when they were made come before all others; of equals it is the one
	// with the greatest digest.
	Latest      bool
	Concurrency int // requests at once; 0 is DefaultConcurrency
	Events      store.Sink
}

// Discover lists what refers to root, level by level in parallel. It takes the
// word of lists, and reads a manifest only to see what an index holds and what
// a digest tag names. A manifest that is met again is not looked at again, so
// that circles end.
func Discover(ctx context.Context, src store.Reader, root store.Descriptor, opts DiscoverOptions) (*Branch, error) {
	d := &discovery{src: src, opts: opts}
	if opts.DigestTags {
		var err error
		if d.tags, err = DigestTags(ctx, src); err != nil {
			return nil, err
		}
	}
	top := &Branch{Descriptor: root}
	seen := map[digest.Digest]bool{root.Digest: true}
	level := []*Branch{top}
	for depth := 0; len(level) > 0 && (opts.Depth == 0 || depth < opts.Depth); depth++ {
		if depth > MaxDepth {
			return nil, fmt.Errorf("%w: what refers to %s is more than %d levels deep", store.ErrInvalid, root.Digest, MaxDepth)
		}
		if err := d.level(ctx, level); err != nil {
			return nil, err
		}
		level = nextBranches(level, seen)
	}
	return top, nil
}

type discovery struct {
	src  store.Reader
	opts DiscoverOptions
	tags map[digest.Digest][]string
}

// level looks at all branches of a level in parallel.
func (d *discovery) level(ctx context.Context, level []*Branch) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(Options{Concurrency: d.opts.Concurrency}.limit())
	for _, b := range level {
		group.Go(func() error { return d.referrers(gctx, b) })
		if d.opts.Manifests && isIndexType(b.MediaType) {
			group.Go(func() error { return d.manifests(gctx, b) })
		}
		tags := d.tags[b.Digest]
		slices.Sort(tags)
		b.DigestTags = make([]*Branch, len(tags))
		for i, tag := range tags {
			group.Go(func() (err error) {
				b.DigestTags[i], err = d.tagged(gctx, tag)
				return err
			})
		}
	}
	err := group.Wait()
	for _, b := range level {
		b.DigestTags = slices.DeleteFunc(b.DigestTags, func(t *Branch) bool { return t == nil })
	}
	return err
}

// nextBranches are the branches to look at next: what was not met before and can have
// something on it.
func nextBranches(level []*Branch, seen map[digest.Digest]bool) []*Branch {
	var found []*Branch
	for _, b := range level {
		for _, n := range slices.Concat(b.Referrers, b.Manifests, b.DigestTags) {
			n.Repeated = seen[n.Digest]
			seen[n.Digest] = true
			if !n.Repeated && store.IsManifestType(n.MediaType) {
				found = append(found, n)
			}
		}
	}
	return found
}

func isIndexType(mediaType string) bool {
	return mediaType == store.MediaTypeIndex || mediaType == store.MediaTypeDockerIndex
}

func (d *discovery) referrers(ctx context.Context, b *Branch) error {
	list, err := store.Collect(d.src.Referrers(ctx, b.Digest, d.opts.ArtifactType))
	if err != nil {
		return fmt.Errorf("referrers of %s: %w", b.Digest, err)
	}
	list = slices.DeleteFunc(list, func(r store.Descriptor) bool { return d.opts.Keep != nil && !d.opts.Keep(r) })
	slices.SortStableFunc(list, compareReferrers)
	list = slices.CompactFunc(list, func(a, b store.Descriptor) bool { return a.Digest == b.Digest })
	if d.opts.Latest {
		list = d.latest(b.Digest, list)
	}
	for _, r := range list {
		b.Referrers = append(b.Referrers, &Branch{Descriptor: r})
	}
	return nil
}

// compareReferrers is the order in which referrers are shown; the newest of a
// type is its last.
func compareReferrers(a, b store.Descriptor) int {
	return cmp.Or(
		strings.Compare(a.ArtifactType, b.ArtifactType),
		createdAt(a).Compare(createdAt(b)),
		strings.Compare(a.Digest.String(), b.Digest.String()),
	)
}

// createdAt is the zero time where d does not say it, or not in the form of
// image-spec annotations.md.
func createdAt(d store.Descriptor) time.Time {
	t, err := time.Parse(time.RFC3339, d.Annotations[ocispec.AnnotationCreated])
	if err != nil {
		return time.Time{}
	}
	return t
}

// latest leaves the last of each artifact type. A choice that no time of
// creation supports is told.
func (d *discovery) latest(subject digest.Digest, list []store.Descriptor) (kept []store.Descriptor) {
	for i, r := range list {
		if i+1 < len(list) && list[i+1].ArtifactType == r.ArtifactType {
			continue
		}
		kept = append(kept, r)
		if i > 0 && list[i-1].ArtifactType == r.ArtifactType && createdAt(list[i-1]).Equal(createdAt(r)) {
			d.warn(r, fmt.Sprintf("which referrer of %s with the type %q is the newest cannot be told from %s; %s is taken for its digest",
				subject, r.ArtifactType, ocispec.AnnotationCreated, r.Digest))
		}
	}
	return kept
}

// manifests reads what an index holds.
func (d *discovery) manifests(ctx context.Context, b *Branch) error {
	m, err := d.src.Manifest(ctx, b.Digest.String())
	if errors.Is(err, store.ErrNotFound) {
		d.warn(b.Descriptor, fmt.Sprintf("the index %s is listed, and is not there", b.Digest))
		return nil
	}
	if err != nil {
		return fmt.Errorf("manifest %s: %w", b.Digest, err)
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return err
	}
	for _, c := range o.Manifests {
		b.Manifests = append(b.Manifests, &Branch{Descriptor: c})
	}
	return nil
}

// tagged reads what a digest tag names; nil where a filter leaves it out, or it
// is gone since the tags were listed.
func (d *discovery) tagged(ctx context.Context, tag string) (*Branch, error) {
	m, err := d.src.Manifest(ctx, tag)
	if errors.Is(err, store.ErrNotFound) {
		d.warn(store.Descriptor{}, fmt.Sprintf("the tag %s is listed, and is not there", tag))
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", tag, err)
	}
	b := &Branch{Descriptor: store.Plain(m.Descriptor), Tag: tag}
	if store.IsManifestType(m.MediaType) {
		o, err := store.ParseOutline(m)
		if err != nil {
			return nil, err
		}
		b.ArtifactType, b.Annotations = o.ArtifactType, o.Annotations
	}
	if t := d.opts.ArtifactType; t != "" && b.ArtifactType != t || d.opts.Keep != nil && !d.opts.Keep(b.Descriptor) {
		return nil, nil
	}
	return b, nil
}

func (d *discovery) warn(about store.Descriptor, text string) {
	d.opts.Events.Emit(store.Event{Kind: store.Warning, Desc: about, Name: store.NameOf(about), Text: text})
}
