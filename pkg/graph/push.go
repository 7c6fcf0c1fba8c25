package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	// Hash reads all blobs and gives their descriptors without sending them. It
	// is nil where one of them can be read only once.
	Hash func(context.Context, store.Sink) ([]store.Descriptor, error)
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
// already, because the repository has tags, it is read just before that for its
// digest, so that what is there is not sent again.
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
	mayBeThere, done, err := m.hashFirst(ctx, parts, blobs, opts.Tags)
	if done || err != nil {
		return m.res, err
	}
	m.plan(blobs)
	descs := make([]store.Descriptor, len(blobs))
	for i, b := range blobs {
		descs[i] = b.Descriptor
	}
	err = spread(ctx, slices.Clone(descs), opts.limit(), func(ctx context.Context, i int) (err error) {
		if mayBeThere {
			if err := m.hashLarge(ctx, &blobs[i]); err != nil {
				return err
			}
		}
		descs[i], err = m.put(ctx, blobs[i])
		return err
	})
	if err != nil {
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

// hashFirst looks for signs that large content may be there already: then its
// digest has to be known before it is put, so that PutBlob asks before it sends.
// Where the tag names an artifact all digests are filled into blobs, to compare;
// where it is the very same one, all is done.
func (m *mover) hashFirst(ctx context.Context, parts Parts, blobs []store.Blob, tags []string) (mayBeThere, done bool, err error) {
	large := func(b store.Blob) bool {
		return b.Digest == "" && (b.Size > largeBlob || b.Size < 0 && parts.Hash != nil)
	}
	if !slices.ContainsFunc(blobs, large) {
		return false, false, nil
	}
	old, err := m.namedNow(ctx, tags)
	if err != nil {
		return false, false, err
	}
	switch {
	case old.Digest != "" && parts.Hash == nil:
		return true, false, nil
	case old.Digest != "":
		done, err = m.compare(ctx, parts, blobs, old, len(tags))
		return true, done, err
	}
	for _, err := range m.dst.Tags(ctx, "") {
		// Without a repository, or where nobody may list it, there is an error. One
		// with a tag is in use. What has no size yet is packed while it is sent all
		// the same; packing it twice would cost more than it could save.
		return err == nil, false, nil
	}
	return false, false, nil
}

// namedNow is what the first tag names; the zero Descriptor where it is not
// there, or where one may push and not ask.
func (m *mover) namedNow(ctx context.Context, tags []string) (store.Descriptor, error) {
	if len(tags) == 0 {
		return store.Descriptor{}, nil
	}
	old, err := m.dst.Resolve(ctx, tags[0])
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDenied) {
		return store.Descriptor{}, nil
	}
	return old, fail(Destination, fmt.Sprintf("resolve %q", tags[0]), store.Descriptor{}, err)
}

// compare makes the artifact without sending it and holds it against old.
func (m *mover) compare(ctx context.Context, parts Parts, blobs []store.Blob, old store.Descriptor, tags int) (same bool, _ error) {
	descs, err := parts.Hash(ctx, m.sink)
	if err != nil {
		return false, err
	}
	for i, d := range descs {
		blobs[i].Digest, blobs[i].Size = d.Digest, d.Size
	}
	root, err := parts.Finish(descs)
	if err != nil || root.Digest != old.Digest || tags > 1 {
		return false, err
	}
	m.res.Root, m.res.Exists, m.res.Present = root.Descriptor, true, len(blobs)
	m.sink.Emit(store.Event{Kind: store.Done, Desc: root.Descriptor, Name: store.NameOf(root.Descriptor), How: store.Present})
	return true, nil
}

// hashLarge reads a large blob of known size for its digest.
func (m *mover) hashLarge(ctx context.Context, b *store.Blob) error {
	if b.Digest != "" || b.Size <= largeBlob {
		return nil
	}
	d, err := store.HashBlob(ctx, *b, m.sink)
	if err != nil {
		return fail(Source, "read blob", b.Descriptor, err)
	}
	b.Digest, b.Size = d.Digest, d.Size
	return nil
}
