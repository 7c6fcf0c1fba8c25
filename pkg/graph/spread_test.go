package graph

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// Large blobs begin first, the largest before all, and leave room for small
// ones; of these no more are in work than fit into memory.
func TestSpread(t *testing.T) {
	const large, small = largeBlob + 1, 4 << 10
	for name, c := range map[string]struct {
		sizes []int64
		limit int
		want  []int // those that begin at once, in any order
	}{
		"one at a time":        {[]int64{small, large, large + 1}, 1, []int{2}},
		"room for a small one": {[]int64{small, large, large, large, -1}, 3, []int{0, 1, 4}},
		"small ones in order":  {[]int64{small, small, small}, 2, []int{0, 1}},
		"not too many large":   {slices.Repeat([]int64{large}, 30), 64, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
		"not too many bytes":   {slices.Repeat([]int64{largeBlob}, 30), 64, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		"none":                 {nil, 8, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var blobs []store.Descriptor
				for _, size := range c.sizes {
					blobs = append(blobs, store.Descriptor{Size: size})
				}
				start := time.Now()
				var mu sync.Mutex
				var began, all []int
				err := spread(t.Context(), blobs, c.limit, func(_ context.Context, i int) error {
					mu.Lock()
					if all = append(all, i); time.Since(start) == 0 {
						began = append(began, i)
					}
					mu.Unlock()
					time.Sleep(time.Second)
					return nil
				})
				slices.Sort(began)
				if err != nil || !slices.Equal(began, c.want) || len(all) != len(blobs) {
					t.Errorf("%v: began with %v of %d, want %v", err, began, len(all), c.want)
				}
			})
		})
	}
}

// An error ends it: nothing begins after it, and who waits does not wait on.
func TestSpreadEndsAtAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		blobs := make([]store.Descriptor, 100)
		n := 0
		err := spread(t.Context(), blobs, 1, func(context.Context, int) error {
			n++
			return broken
		})
		if !errors.Is(err, broken) || n != 1 {
			t.Errorf("%v after %d", err, n)
		}
	})
}
