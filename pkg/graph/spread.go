package graph

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// What may be in work at once beside the number of blobs.
const (
	largeAtOnce = 16      // large blobs; stores bound them further
	smallAtOnce = 8 << 20 // bytes of small ones, which stores hold in memory
)

// spread calls do for each blob, at most limit at once: large ones first, the
// largest before all, so that no long transfer is left for the end; and beside
// them small ones, in their order, so that no round trip waits for a transfer.
// do gets the index of the blob. The first error ends it.
func spread(ctx context.Context, blobs []store.Descriptor, limit int, do func(ctx context.Context, i int) error) error {
	w := newWork(blobs, limit)
	group, gctx := errgroup.WithContext(ctx)
	for range min(limit, len(blobs)) {
		group.Go(func() error {
			for {
				i, ok := w.take()
				if !ok {
					return nil
				}
				err := gctx.Err()
				if err == nil {
					err = do(gctx, i)
				}
				w.done(i)
				if err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// work is what is left to do, as indexes of blobs.
type work struct {
	blobs []store.Descriptor
	most  int // large ones at once: one place is left for small ones

	mu           sync.Mutex
	free         *sync.Cond // something was done
	large, small []int
	moving       int   // large ones in work
	bytes        int64 // of small ones in work
}

func newWork(blobs []store.Descriptor, limit int) *work {
	w := &work{blobs: blobs, most: min(largeAtOnce, max(1, limit-1))}
	w.free = sync.NewCond(&w.mu)
	for i := range blobs {
		if w.isLarge(i) {
			w.large = append(w.large, i)
		} else {
			w.small = append(w.small, i)
		}
	}
	// What has no size yet is a directory, which is seldom small.
	slices.SortStableFunc(w.large, func(a, b int) int {
		return cmp.Compare(uint64(blobs[b].Size), uint64(blobs[a].Size))
	})
	return w
}

func (w *work) isLarge(i int) bool { return w.blobs[i].Size < 0 || w.blobs[i].Size > largeBlob }

// take gives the next blob to work on, and false when there is none left.
func (w *work) take() (i int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.large)+len(w.small) > 0 {
		if len(w.large) > 0 && w.moving < w.most {
			i, w.large = w.large[0], w.large[1:]
			w.moving++
			return i, true
		}
		if len(w.small) > 0 {
			if size := w.blobs[w.small[0]].Size; w.bytes == 0 || w.bytes+size <= smallAtOnce {
				i, w.small = w.small[0], w.small[1:]
				w.bytes += size
				return i, true
			}
		}
		w.free.Wait()
	}
	return 0, false
}

func (w *work) done(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isLarge(i) {
		w.moving--
	} else {
		w.bytes -= w.blobs[i].Size
	}
	w.free.Broadcast()
}
