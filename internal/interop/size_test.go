package interop

import (
	"os"
	"strings"
	"testing"
	"time"
)

// The ceilings of the program.
const (
	maxBinary = 13_000_000            // bytes, stripped
	maxStart  = 15 * time.Millisecond // of `stet version`, the best of startRuns
	startRuns = 20
)

func TestBinarySize(t *testing.T) {
	fi, err := os.Stat(stet)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the stripped binary has %d bytes", fi.Size())
	if fi.Size() > maxBinary {
		t.Errorf("the stripped binary has %d bytes, want at most %d", fi.Size(), maxBinary)
	}
}

// TestStart takes the best of many runs: what the machine does beside it is
// not the program's.
func TestStart(t *testing.T) {
	best := time.Hour
	for range startRuns {
		res := run{}.do(t, "version")
		if res.code != 0 || !strings.Contains(res.stdout, "Version:") {
			t.Fatalf("exit %d\n%s%s", res.code, res.stdout, res.stderr)
		}
		best = min(best, res.took)
	}
	t.Logf("stet version takes %v at best", best)
	if best > maxStart {
		t.Errorf("stet version takes %v at best, want at most %v", best, maxStart)
	}
}
