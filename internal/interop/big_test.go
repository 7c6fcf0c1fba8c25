package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// maxPeak is the memory that a transfer may have at its peak, in bytes.
const maxPeak = 32_000_000

// bigSize is 1 GiB where time does not matter: with STET_BIG=1 or CI=true. An
// ordinary run takes a file that is several times maxPeak.
func bigSize(t *testing.T) int64 {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("large files are not for -short")
	case os.Getenv("STET_BIG") == "1" || os.Getenv("CI") == "true":
		return 1 << 30
	}
	t.Log("256 MiB; STET_BIG=1 takes 1 GiB")
	return 256 << 20
}

// bigFile writes a file that does not compress and has no two blocks alike.
func bigFile(t *testing.T, path string, size int64) digest.Digest {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	hash := digest.Canonical.Digester()
	block := make([]byte, 1<<20)
	if _, err := io.ReadFull(rand.NewChaCha8([32]byte{1}), block); err != nil {
		t.Fatal(err)
	}
	w := io.MultiWriter(f, hash.Hash())
	for n := int64(0); n < size; n += int64(len(block)) {
		copy(block, fmt.Sprintf("%016x", n))
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return hash.Digest()
}

func digestOfFile(t *testing.T, path string) digest.Digest {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := digest.Canonical.FromReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// startServeProcess runs `stet serve` over a directory as a process of its
// own, so that what it keeps is on disk and not in the test's memory.
func startServeProcess(t *testing.T) string {
	t.Helper()
	return serveProcess(t, t.TempDir()).host
}

// served is a `stet serve` of its own. stop ends it, once, as does the test.
type served struct {
	host string
	pid  int
	stop func()
}

func serveProcess(t *testing.T, args ...string) *served {
	t.Helper()
	// Not t.Context: that ends before the cleanup, and would kill it.
	cmd := run{}.command(context.Background(), t, append([]string{"serve", "--addr", "localhost:0"}, args...)...)
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &served{pid: cmd.Process.Pid, stop: sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("serve: %v\n%s", err, out)
		}
	})}
	t.Cleanup(s.stop)
	for range 500 {
		if n, _ := fmt.Sscanf(out.String(), "Serving http://%s\n", &s.host); n == 1 {
			return s
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("serve does not start\n%s", out)
	return nil
}

// TestBig moves one large file: with memory that does not grow with it, and
// through a pull that is killed. It does not run beside other tests, because
// the disk is what it measures against.
func TestBig(t *testing.T) {
	size, dir := bigSize(t), t.TempDir()
	at := run{dir: dir}
	want := bigFile(t, filepath.Join(dir, "big.bin"), size)
	for _, tc := range []struct {
		name  string
		start func(t *testing.T) string
	}{{"serve", startServeProcess}, {"docker-registry-2.8", startDebian}} {
		t.Run(tc.name, func(t *testing.T) {
			host := tc.start(t)
			moved := func(args ...string) {
				t.Helper()
				res := at.do(t, args...)
				if res.code != 0 {
					t.Fatalf("stet %s: exit %d\n%s", args, res.code, res.stderr)
				}
				t.Logf("%-4s %4d MiB in %v, peak %d MiB", args[0], size>>20, res.took.Round(time.Millisecond), res.peak>>20)
				if res.peak == 0 && runtime.GOOS == "linux" {
					t.Error("the peak memory is not known")
				}
				if res.peak > maxPeak {
					t.Errorf("%s: peak memory %d KiB, want at most %d KiB", args[0], res.peak>>10, maxPeak>>10)
				}
			}
			out := filepath.Join(t.TempDir(), "out")
			moved("push", host+"/app:v1", "big.bin")
			moved("pull", "-o", out, host+"/app:v1")
			if got := digestOfFile(t, filepath.Join(out, "big.bin")); got != want {
				t.Fatalf("pulled %s, want %s", got, want)
			}
			if err := os.RemoveAll(out); err != nil {
				t.Fatal(err)
			}
			other := startServeProcess(t)
			moved("cp", host+"/app:v1", other+"/copy:v1")
			killedPull(t, host, want)
		})
	}
}

// killedPull kills a pull in its middle with SIGKILL: no file has its final
// name. The pull that follows goes on from there and succeeds.
func killedPull(t *testing.T, host string, want digest.Digest) {
	t.Helper()
	out := t.TempDir()
	gate := newGate(t, host)
	gate.stopAfter(64 << 20)
	ctx, kill := context.WithCancel(t.Context())
	defer kill() // exec kills with SIGKILL
	cmd := run{}.command(ctx, t, "pull", "-o", out, gate.host+"/app:v1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // in the middle: the gate holds the rest back
		gate.wait(ctx)
		kill()
	}()
	err := cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the pull was not killed: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(out, "big.bin")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a killed pull left a file under its final name: %v", err)
	}
	kept := sizeBelow(t, out)
	if kept == 0 {
		t.Error("a killed pull kept nothing to go on from")
	}

	gate.open()
	run{}.ok(t, "pull", "-o", out, gate.host+"/app:v1")
	if got := digestOfFile(t, filepath.Join(out, "big.bin")); got != want {
		t.Errorf("pulled %s, want %s", got, want)
	}
	total := sizeBelow(t, out)
	if sent := gate.sent.Load(); sent > total-kept+1<<20 {
		t.Errorf("the second pull took %d bytes, although %d of %d were there", sent, kept, total)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 1 {
		t.Errorf("%d files are left beside the one that was pulled, %v", len(entries)-1, err)
	}
}

func sizeBelow(t *testing.T, dir string) (n int64) {
	t.Helper()
	eachFile(t, dir, func(path string) error {
		fi, err := os.Stat(path)
		if err == nil && fi.Mode().IsRegular() {
			n += fi.Size()
		}
		return err
	})
	return n
}

// gate is a proxy before a registry that holds an answer back after some bytes
// and counts what went through.
type gate struct {
	host    string
	limit   atomic.Int64 // bytes that may pass; 0 for all
	sent    atomic.Int64
	reached chan struct{}
}

func newGate(t *testing.T, host string) *gate {
	t.Helper()
	g := &gate{reached: make(chan struct{}, 1)}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	proxy.ModifyResponse = func(resp *http.Response) error {
		resp.Body = &gated{resp.Body, g, resp.Request.Context()}
		return nil
	}
	g.host = listen(t, proxy)
	return g
}

func (g *gate) stopAfter(n int64) { g.limit.Store(n) }

func (g *gate) open() { g.limit.Store(0); g.sent.Store(0) }

// wait waits until the limit was reached and the client had time to write.
func (g *gate) wait(ctx context.Context) {
	select {
	case <-g.reached:
		time.Sleep(200 * time.Millisecond)
	case <-ctx.Done():
	}
}

type gated struct {
	io.ReadCloser
	gate *gate
	ctx  context.Context
}

func (b *gated) Read(p []byte) (int, error) {
	if limit := b.gate.limit.Load(); limit > 0 && b.gate.sent.Load() >= limit {
		select {
		case b.gate.reached <- struct{}{}:
		default:
		}
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	n, err := b.ReadCloser.Read(p)
	b.gate.sent.Add(int64(n))
	return n, err
}
