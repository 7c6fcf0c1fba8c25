package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// NewMemory gives an empty store in memory. It is safe for use by several
// goroutines and is gone with the process.
func NewMemory() store.Store { return newMemory("") }

func newMemory(name string) *memory {
	return &memory{
		name:      name,
		blobs:     map[digest.Digest][]byte{},
		manifests: map[digest.Digest]stored{},
		tags:      map[string]digest.Digest{},
	}
}

type memory struct {
	name string          // in a registry; "" stands alone
	in   *memoryRegistry // nil stands alone

	mu        sync.RWMutex
	exists    bool // something was written to it
	blobs     map[digest.Digest][]byte
	manifests map[digest.Digest]stored
	tags      map[string]digest.Digest
}

// stored is a manifest with what it says of itself; the outline may be nil.
type stored struct {
	store.Manifest
	outline *store.Outline
}

// memoryHome is the host in Blob.Home of what lies in a memory registry. It
// cannot be the name of a registry: it has neither dot nor port.
const memoryHome = "memory/"

func notFound(what string) error { return fmt.Errorf("%w: %s", store.ErrNotFound, what) }

// find gives the manifest of a tag or digest; the caller holds the lock.
func (s *memory) find(ref string) (stored, error) {
	dgst := digest.Digest(ref)
	if !store.IsDigest(ref) {
		// An unknown tag gives "", which no manifest has.
		dgst = s.tags[ref]
	}
	m, ok := s.manifests[dgst]
	if !ok {
		return stored{}, notFound("manifest " + ref)
	}
	return m, nil
}

func (s *memory) Resolve(ctx context.Context, ref string) (store.Descriptor, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Descriptor{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	m, err := s.find(ref)
	return m.Descriptor, err
}

// Manifest gives a copy, which the caller may change.
func (s *memory) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Manifest{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	m, err := s.find(ref)
	m.Raw = bytes.Clone(m.Raw)
	return m.Manifest, err
}

func (s *memory) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Blob{}, err
	}
	raw, ok := s.content(d.Digest)
	if !ok {
		return store.Blob{}, notFound("blob " + d.Digest.String())
	}
	size := int64(len(raw))
	if d.Size >= 0 && d.Size != size {
		return store.Blob{}, store.Mismatch("%s has %d bytes, expected %d", d.Digest, size, d.Size)
	}
	// The bytes are kept by the reader: a delete meanwhile does not cut it off.
	b := store.Blob{Descriptor: d}
	b.Size = size
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		if offset < 0 || offset > size {
			return nil, fmt.Errorf("%w: %s has %d bytes, no byte %d", store.ErrRange, d.Digest, size, offset)
		}
		return contextReadCloser{contextReader{ctx, bytes.NewReader(raw[offset:])}, io.NopCloser(nil)}, nil
	}
	if s.in != nil { // alone, there is nowhere to mount from
		b.Home = memoryHome + s.name
	}
	return b, nil
}

// content gives a blob's bytes, which nobody changes.
func (s *memory) content(d digest.Digest) ([]byte, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	raw, ok := s.blobs[d]
	return raw, ok
}

// Tags are sorted, so that a list can go on after a tag that was removed. They
// are copied first: who reads them may change the store meanwhile.
func (s *memory) Tags(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s.mu.RLock()
		// A repository begins with its first write; a store alone is always there.
		known := s.in == nil || s.exists
		tags := slices.Sorted(maps.Keys(s.tags))
		s.mu.RUnlock()
		if !known {
			yield("", notFound("repository "+s.name))
			return
		}
		yieldAfter(ctx, tags, after, yield)
	}
}

// yieldAfter gives out the sorted names that come after `after`.
func yieldAfter(ctx context.Context, names []string, after string, yield func(string, error) bool) {
	for _, name := range names {
		if after != "" && name <= after {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			yield("", err)
			return
		}
		if !yield(name, nil) {
			return
		}
	}
}

func (s *memory) Referrers(
	ctx context.Context, subject digest.Digest, artifactType string,
) iter.Seq2[store.Descriptor, error] {
	return func(yield func(store.Descriptor, error) bool) {
		for _, d := range s.referrers(subject) {
			if artifactType != "" && d.ArtifactType != artifactType {
				continue
			}
			if err := context.Cause(ctx); err != nil {
				yield(store.Descriptor{}, err)
				return
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

// referrers lists by digest, so that the order is the same every time.
func (s *memory) referrers(subject digest.Digest) []store.Descriptor {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []store.Descriptor
	for _, m := range s.manifests {
		if m.outline != nil && m.outline.Subject != nil && m.outline.Subject.Digest == subject {
			d := referrer(m.Descriptor, m.outline)
			d.Annotations = maps.Clone(d.Annotations)
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b store.Descriptor) int {
		return strings.Compare(a.Digest.String(), b.Digest.String())
	})
	return found
}

// PutBlob reads outside the lock: a slow source keeps nobody waiting.
func (s *memory) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Put{}, err
	}
	if b.Digest != "" {
		if err := store.CheckDigest(b.Digest); err != nil {
			return store.Put{}, err
		}
		if put, ok := s.link(b.Descriptor, s, store.Present); ok {
			return put, nil
		}
		if put, ok := s.mount(b); ok {
			return put, nil
		}
	}
	rc, err := b.Open(ctx, 0)
	if err != nil {
		return store.Put{}, err
	}
	defer rc.Close()
	var buf bytes.Buffer
	if b.Size > 0 {
		buf.Grow(int(min(b.Size, 64<<20))) // the size is a claim until it is read
	}
	got, err := take(ctx, &buf, rc, b.Descriptor)
	if err != nil {
		return store.Put{}, err
	}
	put := store.Put{Descriptor: got, How: store.Sent}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The first of several writers stays, so that readers share its bytes.
	if _, ok := s.blobs[got.Digest]; ok {
		put.How = store.Present
	} else {
		s.blobs[got.Digest] = buf.Bytes()
	}
	s.exists = true
	return put, nil
}

// mount links a blob that another repository of the same registry holds.
func (s *memory) mount(b store.Blob) (store.Put, bool) {
	from, ok := strings.CutPrefix(b.Home, memoryHome)
	if !ok || s.in == nil {
		return store.Put{}, false
	}
	other, ok := s.in.existing(from)
	if !ok {
		return store.Put{}, false
	}
	return s.link(b.Descriptor, other, store.Mounted)
}

// link makes d of the other store, which may be s itself, s's own. The two
// locks are never held together: two stores that link from each other would
// wait for ever.
func (s *memory) link(d store.Descriptor, other *memory, how store.How) (store.Put, bool) {
	raw, ok := other.content(d.Digest)
	if !ok || d.Size >= 0 && d.Size != int64(len(raw)) {
		return store.Put{}, false
	}
	d.Size = int64(len(raw))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d.Digest], s.exists = raw, true
	return store.Put{Descriptor: d, How: how}, true
}

// PutManifest keeps a copy, since the caller may change its bytes afterwards.
// The manifest and all its tags come to be seen at once.
func (s *memory) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	return s.putManifest(ctx, m, tags, func() error { return nil })
}

// Swap looks and puts under one lock.
func (s *memory) Swap(ctx context.Context, m store.Manifest, tag string, old digest.Digest) error {
	return s.putManifest(ctx, m, []string{tag}, func() error { return unmoved(tag, s.tags[tag], old) })
}

// putManifest puts m where allowed, which is asked under the lock, has nothing
// against it.
func (s *memory) putManifest(ctx context.Context, m store.Manifest, tags []string, allowed func() error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	outline, err := checkManifest(m, tags)
	if err != nil {
		return err
	}
	m = store.Manifest{Descriptor: store.Plain(m.Descriptor), Raw: bytes.Clone(m.Raw)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := allowed(); err != nil {
		return err
	}
	s.manifests[m.Digest] = stored{m, outline}
	for _, tag := range tags {
		s.tags[tag] = m.Digest
	}
	s.exists = true
	return nil
}

func (s *memory) DeleteBlob(ctx context.Context, d store.Descriptor) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.blobs[d.Digest]; !ok {
		return notFound("blob " + d.Digest.String())
	}
	delete(s.blobs, d.Digest)
	return nil
}

// DeleteManifest takes its tags away, too: a tag always leads somewhere.
func (s *memory) DeleteManifest(ctx context.Context, d store.Descriptor) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.manifests[d.Digest]; !ok {
		return notFound("manifest " + d.Digest.String())
	}
	delete(s.manifests, d.Digest)
	maps.DeleteFunc(s.tags, func(_ string, to digest.Digest) bool { return to == d.Digest })
	return nil
}

func (s *memory) Untag(ctx context.Context, tag string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.tags[tag]; !ok {
		return notFound("tag " + tag)
	}
	delete(s.tags, tag)
	return nil
}

func (s *memory) Support() store.Support {
	if s.in != nil {
		return support(store.Yes)
	}
	return support(store.No)
}

func (s *memory) Close() error { return nil }

// Takes answers yes.
func (s *memory) Takes(context.Context, string) (store.Finding, error) { return takesAll(), nil }
