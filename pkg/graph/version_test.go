package graph_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/graph"
)

// Tags come in one order, whatever order they were in: that of semver.org §11
// with its own example, then what is no version.
func TestSortVersions(t *testing.T) {
	want := strings.Fields(`
		v0.0.1 0.9.0 v0.9
		1.0.0-0 1.0.0-2 1.0.0-10 1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1
		1 1.0 1.0.0 1.0.0_build.7 v1.0.0
		1.2.3 v1.2.10 v1.10.0 2 2.0.1 010.0.0
		99999999999999999999.0.0 100000000000000000000.0.0
		-x 1.2.3.4 1.x V1.0.0 latest main sha256-ab v v1.0.0- va`)
	for range 50 {
		got := slices.Clone(want)
		rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		graph.SortVersions(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("order (-want +got):\n%s", diff)
		}
	}
}
