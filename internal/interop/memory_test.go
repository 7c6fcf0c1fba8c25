package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// memorySizes are those of one blob. With STET_BIG=1 the last takes 16 GB of disk.
func memorySizes(t *testing.T) []int64 {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("large files are not for -short")
	case os.Getenv("STET_BIG") == "1":
		return []int64{16 << 20, 1 << 30, 4 << 30}
	}
	t.Log("up to 256 MiB; STET_BIG=1 goes up to 4 GiB")
	return []int64{16 << 20, 256 << 20}
}

// How much memory a transfer may have at its peak: over that of a program that
// does nothing, and beside the same transfer of the first size, of which noise is
// what the garbage collector makes of luck.
const (
	maxOverStart = 32 << 20
	maxGrowth    = 1.1
	memoryNoise  = 1 << 20
	slowEnough   = 20 << 20 // bytes a second of a connection that is not enough alone
)

// TestMemory: the peak memory of a transfer does not depend on its size. Ranges
// that are fetched ahead have a fixed room beside it.
func TestMemory(t *testing.T) {
	needsIdle(t)
	start := run{}.do(t, "version").peak
	if start == 0 {
		t.Skip("the peak memory is not known on this system")
	}
	t.Logf("%-10s %5.1f MiB", "start-up", mib(start))
	first := map[string]int64{}
	for _, size := range memorySizes(t) {
		t.Run(fmt.Sprintf("%d MiB", size>>20), func(t *testing.T) {
			dir := t.TempDir()
			bigFile(t, filepath.Join(dir, "big.bin"), size)
			host, other := startServeProcess(t), startServeProcess(t)
			one := newFaultProxy(t, host, &fault{at: atRange, when: whole, what: wholeFor, times: forever})
			many := newFaultProxy(t, host)
			many.rate = slowEnough
			for _, tc := range []struct {
				name  string
				fixed int64
				args  []string
			}{
				{"push", 0, []string{"push", host + "/app:v1", "big.bin"}},
				{"pull", 0, []string{"pull", "-o", "out", one.host + "/app:v1"}},
				{"cp", 0, []string{"cp", one.host + "/app:v1", other + "/one:v1"}},
				{"pull, ranges", rangesInMemory, []string{"pull", "-o", "out", many.host + "/app:v1"}},
				{"cp, ranges", rangesInMemory, []string{"cp", many.host + "/app:v1", other + "/many:v1"}},
			} {
				res := run{dir: dir}.do(t, tc.args...)
				if res.code != 0 {
					t.Fatalf("stet %s: exit %d\n%s", tc.args, res.code, res.stderr)
				}
				t.Logf("%-12s %5.1f MiB", tc.name, mib(res.peak))
				if first[tc.name] == 0 {
					first[tc.name] = res.peak
				}
				if most := int64(maxGrowth*float64(first[tc.name])) + memoryNoise + tc.fixed; res.peak > most {
					t.Errorf("%s: %.1f MiB, want at most %.1f", tc.name, mib(res.peak), mib(most))
				}
				if most := start + maxOverStart; res.peak > most {
					t.Errorf("%s: %.1f MiB, want at most %.1f", tc.name, mib(res.peak), mib(most))
				}
				if err := os.RemoveAll(filepath.Join(dir, "out")); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
