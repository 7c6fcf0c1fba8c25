package local

import (
	"bytes"
	"context"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/stet-oci/stet/pkg/store"
)

// listing is a manifest that is to be listed in index.json, under its tags.
type listing struct {
	manifest store.Manifest
	tags     []string
	allowed  func(*index) error // asked under the lock; nil is always
	done     chan struct{}      // closed when err stands
	err      error
}

// announce says that a manifest will wait to be listed; the caller says by
// calling arrived that it waits, or that it does not come.
func (l *layout) announce() (arrived func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.coming == nil {
		l.coming = new(sync.WaitGroup)
	}
	l.coming.Add(1)
	return sync.OnceFunc(l.coming.Done)
}

// list lists a manifest. index.json is written as a whole, so that a thousand
// manifests put one by one cost a million entries; those that are put at one
// time share one change. Whoever gets the lock first makes it for all who wait
// or are on their way, and each returns when the file says what it put.
func (l *layout) list(ctx context.Context, root *os.Root, one *listing, arrived func()) error {
	l.mu.Lock()
	l.waiting = append(l.waiting, one)
	l.mu.Unlock()
	arrived()
	unlock, err := l.lockUntil(ctx, root, one.done)
	if err != nil {
		l.mu.Lock()
		l.waiting = slices.DeleteFunc(l.waiting, func(w *listing) bool { return w == one })
		l.mu.Unlock()
		return l.fail(err)
	}
	if unlock == nil { // another has done it
		return one.err
	}
	defer unlock()
	batch := l.gather()
	l.listAll(root, batch)
	<-one.done
	return one.err
}

// gather takes all manifests that wait, once those have arrived that are on
// their way now: they write their files, and need no lock for it. Those that
// come later are left to the next.
func (l *layout) gather() []*listing {
	l.mu.Lock()
	coming := l.coming
	l.coming = nil
	l.mu.Unlock()
	if coming != nil {
		coming.Wait()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.waiting
	l.waiting = nil
	return batch
}

// listAll makes one change for all. A manifest that cannot be listed fails
// alone: the others are begun anew without it.
func (l *layout) listAll(root *os.Root, batch []*listing) {
	for len(batch) > 0 {
		failed, dirs := -1, map[string]bool{}
		err := l.editLocked(root, func(x *index) (changed bool, err error) {
			for i, one := range batch {
				listed, err := l.listOne(root, x, one)
				if err != nil {
					failed = i
					return false, err
				}
				changed = changed || listed
				dirs[path.Dir(blobPath(one.manifest.Digest))] = true
			}
			for dir := range dirs { // the files last before the entries that name them
				syncDir(root, dir)
			}
			return changed, nil
		})
		if failed < 0 {
			for _, one := range batch {
				one.err = err
				close(one.done)
			}
			return
		}
		batch[failed].err = err
		close(batch[failed].done)
		batch = slices.Delete(batch, failed, failed+1)
	}
}

func (l *layout) listOne(root *os.Root, x *index, one *listing) (changed bool, err error) {
	if one.allowed != nil {
		if err := one.allowed(x); err != nil {
			return false, err
		}
	}
	// Written and compared a moment ago, but a delete may have come before the
	// lock was ours.
	if size, err := l.size(root, one.manifest.Digest); err != nil || size != one.manifest.Size {
		if err := l.writeManifest(root, one.manifest); err != nil {
			return false, err
		}
	}
	changed, err = x.put(one.manifest.Descriptor)
	for _, tag := range one.tags {
		if err != nil {
			return false, err
		}
		var moved bool
		moved, err = x.tag(one.manifest.Descriptor, tag)
		changed = changed || moved
	}
	return changed, err
}

// writeManifest puts the bytes of m in their place before index.json names
// them. What lies there is compared byte for byte: a manifest is small, and a
// damaged one would make the layout unreadable for ever. The directory is
// synced by listAll, for all at once.
func (l *layout) writeManifest(root *os.Root, m store.Manifest) error {
	name := blobPath(m.Digest)
	if old, err := readFile(root, name, m.Size); err == nil && bytes.Equal(old, m.Raw) {
		return nil
	}
	return l.fail(l.replaceFile(root, name, m.Raw))
}
