package artifact

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// DefaultDiffConcurrency is how many pairs are read and compared at once.
const DefaultDiffConcurrency = 8 // as many as graph.DefaultConcurrency

// maxDiffDepth bounds the levels of a comparison, as graph.Walk bounds its own.
const maxDiffDepth = 1000

// DiffOptions say how far a comparison goes.
type DiffOptions struct {
	Referrers   bool                  // also what refers to the artifacts, to their children, and so on
	Contents    bool                  // look into packed directories that differ
	Concurrency int                   // 0 is DefaultDiffConcurrency
	SkipTag     func(tag string) bool // tags that DiffAll leaves out; nil leaves out none
}

// Side is an artifact to compare, and where it is.
type Side struct {
	Store store.Reader
	Root  store.Descriptor
}

// Diff says in what the second artifact differs from the first, and why as far
// as that can be told; nothing, where they are equal. Equal digests are equal
// content: what is below them is not read, but for its referrers where those
// are asked for. The order of the result is the same in every run.
func Diff(ctx context.Context, from, to Side, opts DiffOptions) ([]Difference, error) {
	c := newComparison(from.Store, to.Store, opts)
	root := &job{couple: couple{"", from.Root, to.Root}}
	if err := c.run(ctx, []*job{root}); err != nil {
		return nil, err
	}
	return root.all(nil), nil
}

// DiffAll compares all tags of two repositories or layouts: tags that only one
// has, and as Diff does, what the others name.
func DiffAll(ctx context.Context, from, to store.Reader, opts DiffOptions) ([]Difference, error) {
	c := newComparison(from, to, opts)
	a, b, err := both(ctx, c, couple{}, c.tags)
	if err != nil {
		return nil, err
	}
	var list []Difference
	var jobs []*job
	names := slices.Collect(maps.Keys(a))
	for t := range b {
		if _, twice := a[t]; !twice {
			names = append(names, t)
		}
	}
	slices.Sort(names)
	for _, t := range names {
		at := &job{couple: couple{path: t}}
		var inA, inB bool
		at.from, inA = a[t]
		at.to, inB = b[t]
		switch {
		case !inB:
			list = append(list, removed(DiffTag, t, described(&at.from)))
		case !inA:
			list = append(list, added(DiffTag, t, described(&at.to)))
		default:
			jobs = append(jobs, at)
		}
	}
	if err := c.run(ctx, jobs); err != nil {
		return nil, err
	}
	for _, j := range jobs {
		list = j.all(list)
	}
	return list, nil
}

// tags are the tags of a store, and what they name.
func (c *comparison) tags(ctx context.Context, s store.Reader, _ store.Descriptor) (map[string]store.Descriptor, error) {
	names, err := store.Collect(s.Tags(ctx, ""))
	if err != nil {
		return nil, err
	}
	if skip := c.opts.SkipTag; skip != nil {
		names = slices.DeleteFunc(names, skip)
	}
	found := make([]store.Descriptor, len(names))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.Concurrency)
	for i, t := range names {
		group.Go(func() (err error) {
			found[i], err = s.Resolve(gctx, t)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := map[string]store.Descriptor{}
	for i, t := range names {
		all[t] = found[i]
	}
	return all, nil
}

// SideError says which of the two stores of a comparison an error is about.
type SideError struct {
	Second bool
	Err    error
}

func (e *SideError) Error() string { return e.Err.Error() }

// Unwrap gives the error of the store.
func (e *SideError) Unwrap() error { return e.Err }

// both asks both stores at once, each about its part of the pair.
func both[T any](
	ctx context.Context, c *comparison, pair couple, ask func(context.Context, store.Reader, store.Descriptor) (T, error),
) (a, b T, err error) {
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if a, err = ask(gctx, c.from, pair.from); err != nil {
			err = &SideError{false, err}
		}
		return err
	})
	group.Go(func() (err error) {
		if b, err = ask(gctx, c.to, pair.to); err != nil {
			err = &SideError{true, err}
		}
		return err
	})
	return a, b, group.Wait()
}

type comparison struct {
	from, to store.Reader
	opts     DiffOptions
	seen     map[[2]digest.Digest]string // pairs that were compared, and where
}

func newComparison(from, to store.Reader, opts DiffOptions) *comparison {
	opts.Concurrency = orDefault(opts.Concurrency, DefaultDiffConcurrency)
	return &comparison{from: from, to: to, opts: opts, seen: map[[2]digest.Digest]string{}}
}

// job is a pair of manifests to compare, and what came of it.
type job struct {
	couple
	list []Difference
	next []*job // pairs below, in order
}

// all adds the differences of the job and of what is below it.
func (j *job) all(list []Difference) []Difference {
	list = append(list, j.list...)
	for _, n := range j.next {
		list = n.all(list)
	}
	return list
}

// run compares level by level, so that what is met twice is known before it is
// read twice, whatever runs at the same time.
func (c *comparison) run(ctx context.Context, level []*job) error {
	for depth := 0; len(level) > 0; depth++ {
		if depth > maxDiffDepth {
			return fmt.Errorf("%w: more than %d levels", store.ErrInvalid, maxDiffDepth)
		}
		level = slices.DeleteFunc(slices.Clone(level), c.known)
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(c.opts.Concurrency)
		for _, j := range level {
			group.Go(func() error { return c.compare(gctx, j) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		var next []*job
		for _, j := range level {
			next = append(next, j.next...)
		}
		level = next
	}
	return nil
}

// known says whether there is nothing to do for a pair. That it was compared
// elsewhere is told where the pair differs.
func (c *comparison) known(j *job) bool {
	pair := [2]digest.Digest{j.from.Digest, j.to.Digest}
	equal := pair[0] == pair[1]
	if equal && !c.opts.Referrers {
		return true
	}
	at, twice := c.seen[pair]
	if !twice {
		c.seen[pair] = j.path
		return false
	}
	if !equal {
		d := changed(DiffManifest, j.path, identity(&j.from), identity(&j.to))
		d.Why = fmt.Sprintf("the same two are compared at %q", at)
		j.list = []Difference{d}
	}
	return true
}

func (c *comparison) compare(ctx context.Context, j *job) error {
	if j.from.Digest == j.to.Digest {
		return c.compareEqual(ctx, j)
	}
	a, b, err := both(ctx, c, j.couple, readManifest)
	if err != nil {
		return err
	}
	d, err := diffManifests(j.path, a, b)
	if err != nil {
		return err
	}
	j.list = d.list
	if d.config != nil {
		if err := c.compareConfigs(ctx, j, *d.config); err != nil {
			return err
		}
	}
	if c.opts.Contents {
		for _, f := range d.files {
			more, err := c.compareContents(ctx, f)
			if err != nil {
				return err
			}
			j.list = append(j.list, more...)
		}
	}
	for _, e := range slices.Concat(d.entries, d.same) {
		j.next = append(j.next, &job{couple: e})
	}
	return c.compareReferrers(ctx, j)
}

// compareEqual looks for what refers to a manifest that both sides have, and to
// its children.
func (c *comparison) compareEqual(ctx context.Context, j *job) error {
	if t := j.from.MediaType; t == store.MediaTypeIndex || t == store.MediaTypeDockerIndex {
		m, err := readManifest(ctx, c.from, j.from)
		if err != nil {
			return err
		}
		s, err := readSide(m)
		if err != nil {
			return err
		}
		pairs, _, _ := match(s.manifests, s.manifests)
		for _, p := range pairs {
			d := s.manifests[p.from].Descriptor
			j.next = append(j.next, &job{couple: couple{join(j.path, "manifests["+p.name+"]"), d, d}})
		}
	}
	return c.compareReferrers(ctx, j)
}

func readManifest(ctx context.Context, s store.Reader, d store.Descriptor) (store.Manifest, error) {
	m, err := s.Manifest(ctx, d.Digest.String())
	if err != nil {
		return m, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return m, nil
}

func readReferrers(ctx context.Context, s store.Reader, d store.Descriptor) ([]store.Descriptor, error) {
	list, err := store.Collect(s.Referrers(ctx, d.Digest, ""))
	if err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", d.Digest, err)
	}
	slices.SortFunc(list, byType)
	return list, nil
}

// compareReferrers compares what refers to the two manifests, by artifact type
// and digest. A list may name a referrer that is gone, which is no referrer then.
func (c *comparison) compareReferrers(ctx context.Context, j *job) error {
	if !c.opts.Referrers {
		return nil
	}
	a, b, err := both(ctx, c, j.couple, readReferrers)
	if err != nil {
		return err
	}
	byDigest := map[digest.Digest]bool{}
	for _, d := range b {
		byDigest[d.Digest] = true
	}
	shared := map[digest.Digest]bool{}
	for _, d := range a {
		path := join(j.path, "referrers["+d.Digest.String()+"]")
		switch {
		case shared[d.Digest]: // listed twice
		case byDigest[d.Digest]:
			shared[d.Digest] = true
			j.next = append(j.next, &job{couple: couple{path, d, d}})
		default:
			there, err := hasReferrer(ctx, c.from, d)
			if err != nil {
				return &SideError{false, err}
			}
			if there {
				j.list = append(j.list, removed(DiffReferrer, path, referrer(d)))
			}
		}
	}
	for _, d := range b {
		if shared[d.Digest] {
			continue
		}
		there, err := hasReferrer(ctx, c.to, d)
		if err != nil {
			return &SideError{true, err}
		}
		if there {
			j.list = append(j.list, added(DiffReferrer, join(j.path, "referrers["+d.Digest.String()+"]"), referrer(d)))
		}
	}
	return nil
}

// hasReferrer says whether a store has a referrer that it lists.
func hasReferrer(ctx context.Context, s store.Reader, d store.Descriptor) (bool, error) {
	_, err := s.Resolve(ctx, d.Digest.String())
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("referrer %s: %w", d.Digest, err)
	}
	return true, nil
}

func referrer(d store.Descriptor) string {
	return strings.TrimSpace(described(&d) + " " + d.ArtifactType)
}
