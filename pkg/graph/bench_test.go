package graph_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// BenchmarkBackup backs up artifacts of one small layer each to a directory.
// What one of them costs must not grow with their number.
func BenchmarkBackup(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			src := builder{b, local.NewMemory()}
			tags := make([]string, n)
			for i := range tags {
				tags[i] = fmt.Sprintf("v%d", i)
				src.image(tags[i], nil, tags[i])
			}
			for b.Loop() {
				dst, err := local.OpenLayout(filepath.Join(b.TempDir(), "layout"), local.LayoutOptions{})
				if err != nil {
					b.Fatal(err)
				}
				run := graph.NewBackup(nil, graph.BackupOptions{})
				if _, err := run.Repository(b.Context(), src.s, graph.Kept{Store: store.VerifyManifests(dst)}, tags); err != nil {
					b.Fatal(err)
				}
				if err := dst.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/artifact")
		})
	}
}
