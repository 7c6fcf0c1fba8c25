package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// memorySizes are those of one blob. With STET_BIG=1 the last takes 16 GB of disk: each of
// two registries and a directory have it.
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

// How much memory a transfer may have at its peak beside the same transfer of
// another size. The heap grows by steps of megabytes, and whether it takes another
// one is luck: the smallest blob is moved several times, to know how much it takes.
const (
	maxGrowth   = 1.1
	timesAtOnce = 5
	slowEnough  = 20 << 20 // bytes a second of a connection that is not enough alone
)

// transfer is one command whose peak is measured. Blobs of the first size come in
// one stream also over a slow link; larger ones in ranges, which have a fixed room
// beside it.
type transfer struct {
	name string
	slow bool
	args func(n int) []string // for the run n
}

// transfers are all that are measured. The proxies give one stream whatever is
// asked for, and connections that are slow.
func transfers(host, one, slow, target string) []transfer {
	pull := func(from string) func(int) []string {
		return func(int) []string { return []string{"pull", "-o", "out", from + "/app0:v1"} }
	}
	cp := func(from, repo string) func(int) []string {
		return func(n int) []string {
			return []string{"cp", from + "/app0:v1", fmt.Sprintf("%s/%s%d:v1", target, repo, n)}
		}
	}
	return []transfer{
		{"push", false, func(n int) []string { return []string{"push", fmt.Sprintf("%s/app%d:v1", host, n), "big.bin"} }},
		{"pull", false, pull(one)},
		{"cp", false, cp(one, "one")},
		{"pull, slow link", true, pull(slow)},
		{"cp, slow link", true, cp(slow, "slow")},
	}
}

// TestMemory: the peak memory of a transfer does not depend on its size.
func TestMemory(t *testing.T) {
	needsIdle(t)
	start := run{}.do(t, "version").peak
	if start == 0 {
		t.Skip("the peak memory is not known on this system")
	}
	t.Logf("%-20s %5.1f MiB", "start-up", mib(start))
	bound, ranges := map[string]int64{}, map[string]int64{}
	for i, size := range memorySizes(t) {
		t.Run(fmt.Sprintf("%d MiB", size>>20), func(t *testing.T) {
			dir := t.TempDir()
			sparseFile(t, filepath.Join(dir, "big.bin"), size)
			host, target := startServeProcess(t), startServeProcess(t)
			one := newFaultProxy(t, host, &fault{at: atRange, when: whole, what: wholeFor, times: forever})
			slow := newFaultProxy(t, host)
			slow.set(func() { slow.rate = slowEnough })
			for _, tc := range transfers(host, one.host, slow.host, target) {
				if i == 0 {
					bound[tc.name] = tc.peak(t, dir, timesAtOnce)
					continue
				}
				peak, most := tc.peak(t, dir, 1), maxGrowth*float64(bound[tc.name])
				if tc.slow {
					if before := ranges[tc.name]; before > 0 && float64(peak) > maxGrowth*float64(before) {
						t.Errorf("%s: from %.1f to %.1f MiB", tc.name, mib(before), mib(peak))
					}
					ranges[tc.name], most = peak, maxGrowth*float64(bound[tc.name]+rangesInMemory)
				}
				if float64(peak) > most || peak > maxPeak {
					t.Errorf("%s: %.1f MiB, want at most %.1f", tc.name, mib(peak), mib(min(int64(most), maxPeak)))
				}
			}
		})
	}
}

// peak is the most of several runs.
func (tc transfer) peak(t *testing.T, dir string, runs int) (most int64) {
	t.Helper()
	var all []string
	for n := range runs {
		res := run{dir: dir}.do(t, tc.args(n)...)
		if res.code != 0 {
			t.Fatalf("stet %s: exit %d\n%s", tc.args(n), res.code, res.stderr)
		}
		if err := os.RemoveAll(filepath.Join(dir, "out")); err != nil {
			t.Fatal(err)
		}
		most = max(most, res.peak)
		all = append(all, fmt.Sprintf("%.1f", mib(res.peak)))
	}
	t.Logf("%-20s %s MiB", tc.name, strings.Join(all, " "))
	return most
}

// sparseFile takes no room on the disk.
func sparseFile(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.WriteFile(path, []byte("not all of it is zero"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
