package interop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killedSize is 1 GiB with STET_BIG=1.
func killedSize(t *testing.T) int64 {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("large files are not for -short")
	case os.Getenv("STET_BIG") == "1":
		return 1 << 30
	}
	t.Log("256 MiB; STET_BIG=1 takes 1 GiB")
	return 256 << 20
}

// keptBack is what may move again however little is left: what lies between two marks
// of a hash, and what a connection held.
const keptBack = 4 << 20

// rangesInMemory is what a download may have fetched ahead of what it wrote.
const rangesInMemory = 12 << 20

// killedAt are the parts of a transfer after which it is killed.
var killedAt = []float64{0.2, 0.5, 0.9}

// TestKilled kills transfers with SIGKILL: the next run moves only what is left.
func TestKilled(t *testing.T) {
	needsIdle(t)
	size, dir := killedSize(t), t.TempDir()
	want := bigFile(t, filepath.Join(dir, "big.bin"), size)
	source, ours := startServeProcess(t), startServeProcess(t)
	distribution := startDistribution(t)
	run{dir: dir}.ok(t, "push", source+"/app:v1", "big.bin")
	artifact := digestOf(t, source+"/app:v1")
	for _, tc := range []struct {
		name   string
		target string
		args   func(source, target, out string) []string
	}{
		{
			"pull", ours,
			func(source, _, out string) []string { return []string{"pull", "-o", out, source + "/app:v1"} },
		},
		{
			"push", ours,
			func(_, target, _ string) []string { return []string{"push", target, "big.bin"} },
		},
		{
			"cp", ours,
			func(source, target, _ string) []string { return []string{"cp", source + "/app:v1", target} },
		},
		{
			"push to Distribution", distribution,
			func(_, target, _ string) []string { return []string{"push", target, "big.bin"} },
		},
	} {
		for _, at := range killedAt {
			t.Run(fmt.Sprintf("%s/%.0f %%", tc.name, at*100), func(t *testing.T) {
				from, to := newFaultProxy(t, source), newFaultProxy(t, tc.target)
				repo := fmt.Sprintf("/%s-%.0f:v1", strings.ToLower(strings.ReplaceAll(tc.name, " ", "-")), at*100)
				watched := to
				if tc.name == "pull" {
					watched = from
				}
				watched.hold.Store(int64(at * float64(size)))
				out := t.TempDir()
				k := killed{run{dir: dir, env: []string{"HOME=" + t.TempDir()}}, tc.args(from.host, to.host+repo, out)}
				k.kill(t, watched.struck)
				watched.release()
				time.Sleep(10 * settle) // what it sent last arrives
				from.calm()
				to.calm()
				k.ok(t, k.args...)
				if tc.name == "pull" {
					if got := digestOfFile(t, filepath.Join(out, "big.bin")); got != want {
						t.Errorf("pulled %s, want %s", got, want)
					}
				} else if got := digestOf(t, tc.target+repo); got != artifact {
					t.Errorf("%s made %s, want %s", tc.name, got, artifact)
				}
				left := size - int64(at*float64(size))
				most := left + max(left/20, keptBack)
				t.Logf("of %d MiB %d were left; down %d, up %d", size>>20, left>>20, from.down.Load()>>20, to.up.Load()>>20)
				if from.down.Load() > most || to.up.Load() > most {
					t.Errorf("down %d and up %d bytes moved, want at most %d each", from.down.Load(), to.up.Load(), most)
				}
			})
		}
	}
}

// killed is a command that is killed, and run again.
type killed struct {
	run
	args []string
}

// kill runs the command and kills it when struck.
func (k *killed) kill(t *testing.T, struck <-chan struct{}) {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill() // exec kills with SIGKILL
	cmd := k.command(ctx, t, k.args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		select {
		case <-struck:
			time.Sleep(10 * settle) // what has passed is written
			kill()
		case <-ctx.Done():
		}
	}()
	err := cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("stet %s was not killed: %v", k.args, err)
	}
}
