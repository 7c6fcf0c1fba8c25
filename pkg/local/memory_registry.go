package local

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/stet-oci/stet/pkg/store"
)

// NewMemoryRegistry gives an empty registry in memory. A repository is there
// from the first write to it; a blob whose Home is another repository of the
// same registry is mounted without being read.
func NewMemoryRegistry() store.Registry {
	return &memoryRegistry{repos: map[string]*memory{}}
}

type memoryRegistry struct {
	mu    sync.Mutex
	repos map[string]*memory
}

func (r *memoryRegistry) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		// The lock is not held while names are given out: who reads them may
		// open repositories meanwhile.
		r.mu.Lock()
		names := slices.Sorted(maps.Keys(r.repos))
		r.mu.Unlock()
		names = slices.DeleteFunc(names, func(name string) bool {
			_, ok := r.existing(name)
			return !ok
		})
		yieldAfter(ctx, names, after, yield)
	}
}

// Repository makes the store on asking, but it is listed only from its first
// write on.
func (r *memoryRegistry) Repository(_ context.Context, name string) (store.Store, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.repos[name]
	if !ok {
		s = newMemory(name)
		s.in, r.repos[name] = r, s
	}
	return s, nil
}

// existing gives a repository that was written to.
func (r *memoryRegistry) existing(name string) (*memory, bool) {
	r.mu.Lock()
	s, ok := r.repos[name]
	r.mu.Unlock()
	if !ok {
		return nil, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s, s.exists
}

func (r *memoryRegistry) Close() error { return nil }
