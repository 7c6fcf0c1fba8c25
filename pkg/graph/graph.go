// Package graph does things to whole artifacts: a root manifest with all that
// hangs on it. Every command that moves content is a Push or a Copy here;
// nothing else puts blobs and manifests into a store.
//
// It knows order (content before what names it, tags last), parallelism and
// progress. What a store is, and what a manifest kind is, it leaves to
// pkg/store; what files become, to pkg/artifact.
package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/stet-oci/stet/pkg/store"
)

// DefaultConcurrency is how many blobs are in work at once. How many requests a
// registry gets at once is for its store to say.
const DefaultConcurrency = 64

// Side says which store an error belongs to.
type Side string

// The sides of a transfer.
const (
	Source      Side = "source"
	Destination Side = "destination"
)

// Error is a failure with the side that it came from and the content it is about.
type Error struct {
	Side Side
	Op   string // "read blob", "put manifest", …
	Desc store.Descriptor
	Err  error
}

func (e *Error) Error() string {
	if e.Desc.Digest == "" {
		return fmt.Sprintf("%s: %s: %v", e.Side, e.Op, e.Err)
	}
	return fmt.Sprintf("%s: %s %s: %v", e.Side, e.Op, e.Desc.Digest, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// fail names side, operation and content of err, unless a deeper layer did.
func fail(side Side, op string, d store.Descriptor, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &Error{side, op, d, err}
}

// failAt is fail for what was read as a source is read, and is the other side.
func failAt(side Side, op string, d store.Descriptor, err error) error {
	var known *Error
	if errors.As(err, &known) {
		return &Error{side, known.Op, known.Desc, known.Err}
	}
	return fail(side, op, d, err)
}

// Result is what a Push or Copy did.
type Result struct {
	Root    store.Descriptor // what the tags now name
	Sent    int              // blobs transferred
	Mounted int              // blobs linked by the registry
	Present int              // blobs that were there
	Bytes   int64            // of the blobs transferred
	Skipped int64            // bytes of the blobs mounted or present

	Manifests int  // manifests put
	Referrers int  // manifests with a subject that were taken along, put or present
	LeftOut   int  // referrers that were left out for their artifact type
	Exists    bool // all was there, with all tags: nothing was put

	DigestTags []string // of content that came along because digest tags name it
}

// mover puts blobs into one store and keeps count.
type mover struct {
	dst  store.Store
	sink store.Sink

	mu  sync.Mutex
	res Result
}

// plan tells what will move.
func (m *mover) plan(blobs []store.Blob) {
	for _, b := range blobs {
		m.sink.Emit(store.Event{Kind: store.Planned, Desc: b.Descriptor, Name: store.NameOf(b.Descriptor)})
	}
}

// put moves one blob and tells of it.
func (m *mover) put(ctx context.Context, b store.Blob) (store.Descriptor, error) {
	name := store.NameOf(b.Descriptor)
	m.sink.Emit(store.Event{Kind: store.Start, Desc: b.Descriptor, Name: name})
	put, err := m.dst.PutBlob(ctx, store.CountBlob(sourceBlob(b), m.sink))
	if err != nil {
		m.failed(ctx, b.Descriptor, err)
		var content *store.ContentError
		if errors.As(err, &content) {
			return store.Descriptor{}, fail(Source, "read blob", b.Descriptor, err)
		}
		return store.Descriptor{}, fail(Destination, "put blob", b.Descriptor, err)
	}
	done := b.Descriptor
	done.Digest, done.Size = put.Digest, put.Size
	m.sink.Emit(store.Event{Kind: store.Done, Desc: done, Name: name, How: put.How})
	m.count(put)
	return put.Descriptor, nil
}

// failed tells of content that did not arrive. What was only cancelled, because
// something else failed or the user stopped it, is no news.
func (m *mover) failed(ctx context.Context, d store.Descriptor, err error) {
	if ctx.Err() == nil {
		m.sink.Emit(store.Event{Kind: store.Failed, Desc: d, Name: store.NameOf(d), Text: err.Error()})
	}
}

func (m *mover) count(put store.Put) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch put.How {
	case store.Sent:
		m.res.Sent++
		m.res.Bytes += put.Size
	case store.Mounted:
		m.res.Mounted++
		m.res.Skipped += put.Size
	case store.Present:
		m.res.Present++
		m.res.Skipped += put.Size
	}
}

// withPut adds to a refusal what was put before it, which stays there.
func (m *mover) withPut(err error) error {
	refused := errors.Is(err, store.ErrRefused) || errors.Is(err, store.ErrUnsupported) || errors.Is(err, store.ErrKind)
	if !refused {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.res.Sent+m.res.Mounted+m.res.Manifests == 0 {
		return fmt.Errorf("%w; nothing was uploaded", err)
	}
	return fmt.Errorf("%w; %d blobs (%d bytes) and %d manifests were put before that and stay", err, m.res.Sent+m.res.Mounted, m.res.Bytes, m.res.Manifests)
}

// refusedKind makes the refusal of an extinct kind of manifest say so: what the
// registry answers seldom names the media type. A registry that is known to
// take the kind refused for another reason.
func refusedKind(ctx context.Context, dst store.Store, d store.Descriptor, err error) error {
	if !store.IsExtinct(d.MediaType) || !errors.Is(err, store.ErrRefused) && !errors.Is(err, store.ErrUnsupported) {
		return err
	}
	if f, asked := dst.Takes(ctx, d.MediaType); asked == nil && f.Answer == store.Yes {
		return err
	}
	return fmt.Errorf("%w: %s, which may be the reason: %w", store.ErrKind, d.MediaType, err)
}

// putManifest puts one manifest and tells of it and of its tags.
func (m *mover) putManifest(ctx context.Context, man store.Manifest, tags ...string) error {
	name := store.NameOf(man.Descriptor)
	m.sink.Emit(store.Event{Kind: store.Start, Desc: man.Descriptor, Name: name})
	if err := m.dst.PutManifest(ctx, man, tags...); err != nil {
		m.failed(ctx, man.Descriptor, err)
		return fail(Destination, "put manifest", man.Descriptor, refusedKind(ctx, m.dst, man.Descriptor, err))
	}
	m.arrived(man, tags)
	return nil
}

// arrived tells of a manifest that was put, and of its tags.
func (m *mover) arrived(man store.Manifest, tags []string) {
	name := store.NameOf(man.Descriptor)
	m.sink.Emit(store.Event{Kind: store.Advance, Desc: man.Descriptor, Name: name, Bytes: man.Size})
	m.sink.Emit(store.Event{Kind: store.Done, Desc: man.Descriptor, Name: name, How: store.Sent})
	m.tagged(man.Descriptor, tags)
	m.mu.Lock()
	m.res.Manifests++
	m.mu.Unlock()
}

// tag points tags at a manifest that is there.
func (m *mover) tag(ctx context.Context, man store.Manifest, tags []string) error {
	if err := m.dst.PutManifest(ctx, man, tags...); err != nil {
		return fail(Destination, "tag", man.Descriptor, err)
	}
	m.tagged(man.Descriptor, tags)
	return nil
}

func (m *mover) tagged(d store.Descriptor, tags []string) {
	for _, t := range tags {
		m.sink.Emit(store.Event{Kind: store.Tagged, Desc: d, Name: store.NameOf(d), Text: t})
	}
}

// sourceBlob is b whose errors say that they come from the source: a store that
// takes a blob reads it, and must not be blamed for what it reads.
func sourceBlob(b store.Blob) store.Blob {
	open, d := b.Open, b.Descriptor
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset)
		if err != nil {
			return nil, fail(Source, "open blob", d, err)
		}
		return sourceReader{rc, d}, nil
	}
	return b
}

type sourceReader struct {
	io.ReadCloser
	desc store.Descriptor
}

func (r sourceReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fail(Source, "read blob", r.desc, err)
	}
	return n, err
}
