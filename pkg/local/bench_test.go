package local_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// putMany puts n manifests under the tags v0, v1 and so on, 64 at a time.
func putMany(b *testing.B, s store.Store, n int) {
	b.Helper()
	var group errgroup.Group
	group.SetLimit(64)
	for i := range n {
		group.Go(func() error {
			tag := fmt.Sprintf("v%d", i)
			return s.PutManifest(b.Context(), manifest(tag), tag)
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLayoutPutManifest puts manifests into one layout, many at a time. What
// one of them costs must not grow with their number.
func BenchmarkLayoutPutManifest(b *testing.B) {
	for _, n := range []int{64, 512, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				s := openLayout(b, filepath.Join(b.TempDir(), "layout"))
				putMany(b, s, n)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/manifest")
		})
	}
}

// BenchmarkLayoutResolve asks a layout of many manifests for each of them.
func BenchmarkLayoutResolve(b *testing.B) {
	s := openLayout(b, filepath.Join(b.TempDir(), "layout"))
	const n = 4096
	putMany(b, s, n)
	i := 0
	for b.Loop() {
		if _, err := s.Resolve(b.Context(), fmt.Sprintf("v%d", i%n)); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
