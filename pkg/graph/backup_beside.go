package graph

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// beside knows which repository of a backup has which blob, so that none has to be
// asked for each: a thousand repositories would be asked a million times.
type beside struct {
	all  func(context.Context) ([]Kept, error)
	once sync.Once

	mu      sync.Mutex // all below
	names   map[string]Kept
	holders map[digest.Digest]string
	sure    map[digest.Digest]bool // the holder's copy was proven
}

func newBeside(all func(context.Context) ([]Kept, error)) *beside {
	return &beside{all: all, names: map[string]Kept{}, holders: map[digest.Digest]string{}, sure: map[digest.Digest]bool{}}
}

func (s *beside) add(k Kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[k.Name] = k
}

// has notes that a repository has a blob. One whose copy is proven is preferred.
func (s *beside) has(name string, d digest.Digest, proven bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.holders[d]; !known || proven && !s.sure[d] {
		s.holders[d], s.sure[d] = name, proven
	}
}

// holder gives a repository that has a blob.
func (s *beside) holder(d digest.Digest) (Kept, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, known := s.holders[d]
	k, there := s.names[name]
	return k, known && there
}

// look reads what the backup has, once. It only saves transfers: what cannot be
// read is not found here, and comes from the source.
func (s *beside) look(ctx context.Context, limit int) {
	s.once.Do(func() {
		if s.all == nil {
			return
		}
		all, err := s.all(ctx)
		if err != nil {
			return
		}
		for _, k := range all {
			s.add(k)
			s.survey(ctx, k, limit)
		}
	})
}

// survey notes the blobs that the manifests of a repository name.
func (s *beside) survey(ctx context.Context, k Kept, limit int) {
	w := newWalk(k, WalkOptions{Concurrency: limit})
	w.failed = func(store.Descriptor, error) error { return nil }
	roots, _ := store.Collect(k.Manifests(ctx))
	if w.run(ctx, roots...) != nil {
		return
	}
	for _, n := range w.nodes {
		for _, d := range n.Blobs() {
			s.has(k.Name, d.Digest, false)
		}
	}
}

// nearest is a source whose blobs come from beside where they lie there.
type nearest struct {
	store.Reader
	k    *keeping
	sure bool // only what was proven there
}

func (n nearest) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	n.k.look(ctx, n.k.opts.Concurrency)
	holder, known := n.k.holder(d.Digest)
	if known && holder.Name != n.k.to && (!n.sure || n.k.isProven(holder.Name, d.Digest)) {
		// With the size given, absence might be told only by Open.
		b, err := holder.Blob(ctx, store.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: store.UnknownSize})
		if err == nil && (d.Size < 0 || b.Size == d.Size) {
			return b, nil
		}
	}
	b, err := n.Reader.Blob(ctx, d)
	b.Home = "" // nothing there is beside the backup
	return b, err
}
