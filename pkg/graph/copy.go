package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// CopyOptions say what a Copy takes along, and how far it trusts.
type CopyOptions struct {
	Options
	// Referrers copies what refers to the root, to its children, and so on.
	Referrers bool
	// ArtifactTypes are the referrers that are copied; empty is all of them.
	// What refers to one that is left out is left out too.
	ArtifactTypes []string
	// DigestTags copies what the source names by digest tags, as cosign does,
	// of every manifest that is copied: each under its own tag.
	DigestTags bool
	// SkipExtinct leaves out, with a warning each, referrers that are artifact
	// manifests, as they lie beside their converted forms.
	SkipExtinct bool
	// Force looks for everything under a manifest that the destination has, and
	// puts what is missing. Without it such a manifest is trusted. A manifest that
	// is damaged there is put anew.
	Force bool
	mend  bool // of Force only the last
	// NoPreflight puts without asking first what the destination takes; the
	// first refusal then ends the copy half way.
	NoPreflight bool
	// DryRun only counts what would be sent, mounted and skipped.
	DryRun bool
	// Together puts the manifests of a batch at one time, however many blobs are
	// put at once: a layout lists them in one change of its index, instead of
	// writing that for every few of them.
	Together bool
	// Host is the registry host of the destination, "" elsewhere: what a source
	// on the same host has would be mounted.
	Host string
}

// Root is one artifact of a CopyAll.
type Root struct {
	Ref  string   // at the source: a tag or digest
	Tags []string // at the destination; none leaves it there by digest alone
}

// RootResult is what became of a Root.
type RootResult struct {
	Root
	Desc   store.Descriptor // the zero Descriptor where it was not found
	Exists bool             // all was there, under all its tags
	Err    error            // why it was not copied; it has no new tag then
}

// AllResult is what a CopyAll did.
type AllResult struct {
	Result // of all together; its Root means nothing
	// Roots are in the order in which they were given. What digest tags brought
	// along comes after them.
	Roots []RootResult
}

// FailedError says that some of many artifacts were not copied. It is what the
// first of them failed by; AllResult has every one.
type FailedError struct {
	Failed, Of int
	First      RootResult
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("%d of %d artifacts were not copied; %s: %v", e.Failed, e.Of, e.First.Ref, e.First.Err)
}

// Unwrap gives the cause of the first.
func (e *FailedError) Unwrap() error { return e.First.Err }

// Copy copies the manifest that ref names, and everything under it, byte by
// byte: blobs in parallel, manifests after what they name, tags last. What the
// destination has is not sent again. Referrers that were written are read back.
func Copy(ctx context.Context, src store.Reader, dst store.Store, ref string, opts CopyOptions) (Result, error) {
	c := newCopier(src, dst, opts)
	all, err := c.all(ctx, []Root{{Ref: ref, Tags: opts.Tags}})
	res := all.Result
	res.Root = all.Roots[0].Desc
	return res, err
}

// CopyAll copies many artifacts of one store, each with everything under it, as
// Copy does. What they have in common is read and sent once. The Tags of opts
// mean nothing here.
//
// An artifact that fails gets no tag, and the others go on: the error is then a
// *FailedError. Only what would fail all of them ends it early.
func CopyAll(ctx context.Context, src store.Reader, dst store.Store, roots []Root, opts CopyOptions) (AllResult, error) {
	c := newCopier(src, dst, opts)
	c.goOn = true
	res, err := c.all(ctx, roots)
	if err != nil {
		return res, err
	}
	return res, failedOf(res.Roots)
}

// failedOf is the FailedError of those that failed, if any did.
func failedOf(roots []RootResult) error {
	failed := slices.DeleteFunc(slices.Clone(roots), func(r RootResult) bool { return r.Err == nil })
	if len(failed) == 0 {
		return nil
	}
	return &FailedError{len(failed), len(roots), failed[0]}
}

// copier is one Copy or CopyAll. Its maps know content by digest alone, so that
// thousands of artifacts cost little memory: manifests are kept for one batch.
type copier struct {
	mover
	src  store.Reader
	opts CopyOptions
	goOn bool // a failure is one of the artifacts that it concerns, and the others go on

	names     []*name
	digestTag map[digest.Digest][]string // digest tags of the source, by what they are about
	taken     map[string]bool            // references that are among names
	check     *checker

	there     map[digest.Digest]bool // whether the destination has a manifest; only what was asked or put is in it
	sent      map[digest.Digest]bool // blobs that were put, or found there
	done      map[digest.Digest]bool // manifests that nothing is left to do for, with all that hangs on them
	referrers map[digest.Digest]bool // those that were taken along
	leftOut   map[digest.Digest]bool // those of other types than the wanted

	bad map[digest.Digest]error // content of the batch that failed; guarded by mu
}

func newCopier(src store.Reader, dst store.Store, opts CopyOptions) *copier {
	set := func() map[digest.Digest]bool { return map[digest.Digest]bool{} }
	return &copier{
		mover: mover{dst: dst, sink: opts.Events}, src: src, opts: opts, taken: map[string]bool{},
		there: set(), sent: set(), done: set(), referrers: set(), leftOut: set(), bad: map[digest.Digest]error{},
	}
}

// batchSize is how many artifacts are walked and copied at once.
const batchSize = 64

func (c *copier) all(ctx context.Context, roots []Root) (AllResult, error) {
	for _, r := range roots {
		c.add(r)
	}
	err := c.copyNames(ctx)
	if len(c.leftOut) > 0 {
		c.sink.Emit(store.Event{
			Kind: store.Warning,
			Text: fmt.Sprintf("referrers of other artifact types, and what refers to them, are left out: %d", len(c.leftOut)),
		})
	}
	c.res.Referrers, c.res.LeftOut = len(c.referrers), len(c.leftOut)
	c.res.Exists = true
	res := AllResult{}
	for i, n := range c.names {
		if err != nil && !n.ended && (n.err == nil || errors.Is(n.err, context.Canceled)) {
			n.err = fmt.Errorf("not tried, or not finished: %w", err)
		}
		c.res.Exists = c.res.Exists && n.exists && n.err == nil
		if i >= len(roots) && n.err == nil {
			c.res.DigestTags = append(c.res.DigestTags, n.Ref)
		}
		res.Roots = append(res.Roots, RootResult{n.Root, n.desc, n.exists, n.err})
	}
	res.Result = c.res
	return res, err
}

// copyNames finds out what the names mean, and copies it batch by batch.
func (c *copier) copyNames(ctx context.Context) error {
	if err := c.resolve(ctx, c.names); err != nil {
		return err
	}
	if c.opts.DigestTags {
		var err error
		if c.digestTag, err = DigestTags(ctx, c.src); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(c.targets(c.names), batchSize) {
		if err := c.copyBatch(ctx, batch); err != nil {
			return err
		}
		if err := unanswered(batch); c.goOn && err != nil {
			return err
		}
	}
	return nil
}

// unanswered is an error where nothing of a batch arrived for want of an answer: what
// comes after it would wait for each of its requests as well.
func unanswered(batch []*target) error {
	for _, t := range batch {
		if !errors.Is(t.err, store.ErrUnavailable) {
			return nil
		}
	}
	return batch[0].err
}

// copyBatch copies targets together: they are one graph.
func (c *copier) copyBatch(ctx context.Context, batch []*target) error {
	clear(c.bad)
	nodes, batch, err := c.survey(ctx, batch)
	if err != nil {
		return err
	}
	if nodes, err = c.settle(batch, nodes); err != nil {
		return err
	}
	c.countReferrers(batch, nodes)
	if !c.opts.NoPreflight {
		if err := c.preflight(ctx, nodes); err != nil {
			return err
		}
		if nodes, err = c.settle(batch, nodes); err != nil {
			return err
		}
	}
	if c.opts.DryRun {
		if err := c.estimate(ctx, nodes); err != nil {
			return err
		}
		if _, err := c.settle(batch, nodes); err != nil {
			return err
		}
	} else if err := c.putAll(ctx, batch, nodes); err != nil {
		return c.withPut(err)
	}
	c.end(batch)
	return nil
}

// countReferrers keeps which manifests with a subject go along.
func (c *copier) countReferrers(batch []*target, nodes []*Node) {
	roots := map[digest.Digest]bool{}
	for _, t := range batch {
		roots[t.Digest] = true
	}
	for _, n := range nodes {
		if n.Outline.Subject != nil && !roots[n.Digest] {
			c.referrers[n.Digest] = true
		}
	}
}

// broken takes a failure of content. Where one failure ends all it is given
// back, else it is kept for the artifacts that need the content.
func (c *copier) broken(d digest.Digest, err error) error {
	if err == nil || !c.goOn || endsAll(err) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad[d] = err
	return nil
}

// endsAll tells errors that every other artifact would fail by as well.
func endsAll(err error) bool {
	for _, is := range []error{context.Canceled, context.DeadlineExceeded, store.ErrUnauthorized, store.ErrLocked} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// failure is why content failed, or nil.
func (c *copier) failure(d digest.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bad[d]
}
