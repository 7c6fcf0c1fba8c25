package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// Parts are what a Push puts together: artifact.Pack makes them from files.
type Parts struct {
	// MediaType is the kind of manifest that Finish makes.
	MediaType string
	// Blobs in any order; an empty digest is learnt while the blob is sent.
	Blobs []store.Blob
	// Finish makes the manifest from the descriptors of the blobs, given in
	// the order of Blobs.
	Finish func([]store.Descriptor) (store.Manifest, error)
	// Hash reads all blobs and gives their descriptors without sending them.
	Hash func(context.Context) ([]store.Descriptor, error)
}

// Options are what Push and Copy have in common.
type Options struct {
	Tags        []string // the tags to point at the root, after everything else
	Concurrency int      // blobs at once; 0 is DefaultConcurrency
	Events      store.Sink
}

func (o Options) limit() int {
	if o.Concurrency > 0 {
		return o.Concurrency
	}
	return DefaultConcurrency
}

// largeBlob is from where on it is worth asking whether content is there
// before reading it: a request costs less than sending as much.
const largeBlob = 1 << 20

// Push sends blobs in parallel, then the manifest made of them, then the tags.
//
// Content is read once, while it is sent. Only where a large blob may be there
// already, because the tag exists, it is read beforehand for its digest, so
// that what is there is not sent again.
func Push(ctx context.Context, parts Parts, dst store.Store, opts Options) (Result, error) {
	m := &mover{dst: dst, sink: opts.Events}
	check := newChecker(dst, opts.Events)
	if err := check.kind(ctx, store.Descriptor{MediaType: parts.MediaType}); err != nil {
		return m.res, err
	}
	if err := check.result(); err != nil {
		return m.res, err
	}
	blobs := slices.Clone(parts.Blobs)
	old, err := m.namedNow(ctx, blobs, opts.Tags)
	if err != nil {
		return m.res, err
	}
	if old.Digest != "" {
		root, err := hashFirst(ctx, parts, blobs)
		if err != nil {
			return m.res, err
		}
		if root.Digest == old.Digest && len(opts.Tags) == 1 {
			m.res.Root, m.res.Exists, m.res.Present = root.Descriptor, true, len(blobs)
			m.sink.Emit(store.Event{Kind: store.Done, Desc: root.Descriptor, Name: store.NameOf(root.Descriptor), How: store.Present})
			return m.res, nil
		}
	}
	descs := make([]store.Descriptor, len(blobs))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(opts.limit())
	for i, b := range blobs {
		group.Go(func() (err error) {
			descs[i], err = m.put(gctx, b)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return m.res, m.withPut(err)
	}
	root, err := parts.Finish(descs)
	if err != nil {
		return m.res, err
	}
	m.res.Root = root.Descriptor
	err = m.putManifest(ctx, root, opts.Tags...)
	return m.res, m.withPut(err)
}

// namedNow asks what the first tag names now, if the answer could save the
// sending of a large blob.
func (m *mover) namedNow(ctx context.Context, blobs []store.Blob, tags []string) (store.Descriptor, error) {
	large := slices.ContainsFunc(blobs, func(b store.Blob) bool {
		return b.Digest == "" && (b.Size < 0 || b.Size > largeBlob)
	})
	if !large || len(tags) == 0 {
		return store.Descriptor{}, nil
	}
	old, err := m.dst.Resolve(ctx, tags[0])
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDenied) {
		return store.Descriptor{}, nil // denied: who may only push cannot ask
	}
	return old, fail(Destination, fmt.Sprintf("resolve %q", tags[0]), store.Descriptor{}, err)
}

// hashFirst fills the digests into blobs and gives the manifest that they make.
func hashFirst(ctx context.Context, parts Parts, blobs []store.Blob) (store.Manifest, error) {
	descs, err := parts.Hash(ctx)
	if err != nil {
		return store.Manifest{}, err
	}
	for i, d := range descs {
		blobs[i].Digest, blobs[i].Size = d.Digest, d.Size
	}
	return parts.Finish(descs)
}
