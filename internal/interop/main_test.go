package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stet is the path of the program under test: built as it is released, static,
// stripped and without the race detector, so that its size and memory are real.
var stet string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

// STET_PROGRAM is one that was built before, for users that have no Go.
func buildAndRun(m *testing.M) int {
	if stet = os.Getenv("STET_PROGRAM"); stet != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "stet-interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	stet = filepath.Join(dir, "stet")
	build := exec.Command("go", "build", "-trimpath", "-gcflags=github.com/stet-oci/stet/...=-l", "-ldflags", "-s -w", "-o", stet, "./cmd/stet")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building stet: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// run is one call of stet: where, with what environment beside a bare one, and
// under which umask ("" for the test's own).
type run struct {
	dir   string
	env   []string
	umask string
	stdin string
}

// result is what became of it.
type result struct {
	stdout, stderr string
	code           int
	peak           int64 // bytes of memory
	took           time.Duration
}

// do runs stet and gives what became of it; the test ends where it cannot run.
func (r run) do(t *testing.T, args ...string) result {
	t.Helper()
	cmd := r.command(t.Context(), t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(r.stdin), &stdout, &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("stet %s: %v", strings.Join(args, " "), err)
	}
	peak := watchPeak(cmd.Process.Pid)
	_ = cmd.Wait() // what came of it is in the exit code
	return result{
		stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode(),
		took: time.Since(start), peak: peak(),
	}
}

// watchPeak reads the high-water mark of a process's memory again and again
// until it is gone; what is called then gives it in bytes, 0 where /proc is not.
// Maxrss of wait4 will not do: a child starts with that of its parent.
func watchPeak(pid int) func() int64 {
	status, found := fmt.Sprintf("/proc/%d/status", pid), make(chan int64)
	go func() {
		var peak int64
		for {
			raw, err := os.ReadFile(status)
			_, mark, ok := strings.Cut(string(raw), "\nVmHWM:")
			if err != nil || !ok { // gone, or dead and not waited for
				found <- peak
				return
			}
			var kib int64
			if n, _ := fmt.Sscan(mark, &kib); n == 1 {
				peak = kib << 10
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return func() int64 { return <-found }
}

func (r run) command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, stet, args...)
	if r.umask != "" { // a shell sets it for this child alone
		script := append([]string{"-c", "umask " + r.umask + `; exec "$0" "$@"`, stet}, args...)
		cmd = exec.CommandContext(ctx, "/bin/sh", script...)
	}
	cmd.Dir = r.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, r.env...)
	return cmd
}

// ok runs stet, fails the test unless that succeeds, and gives its stdout.
func (r run) ok(t *testing.T, args ...string) string {
	t.Helper()
	res := r.do(t, args...)
	if res.code != 0 {
		t.Fatalf("stet %s: exit %d\n%s", strings.Join(args, " "), res.code, res.stderr)
	}
	return res.stdout
}

// fails runs stet and asserts the class of its failure.
func (r run) fails(t *testing.T, code int, args ...string) {
	t.Helper()
	if res := r.do(t, args...); res.code != code {
		t.Fatalf("stet %s: exit %d, want %d\n%s%s", strings.Join(args, " "), res.code, code, res.stdout, res.stderr)
	}
}

// digestOf resolves a reference.
func digestOf(t *testing.T, ref string) string {
	t.Helper()
	return strings.TrimSpace(run{}.ok(t, "resolve", ref))
}

// write makes files below dir, by slashed name.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}
