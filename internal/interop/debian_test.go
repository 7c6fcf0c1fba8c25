package interop

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// required tells that a missing registry is a fault and no reason to skip.
func required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("STET_REQUIRE_REGISTRIES") == "1"
}

// debian is the path of docker-registry.
func debian(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("docker-registry")
	switch {
	case err == nil:
		return path
	case required():
		t.Fatal("docker-registry is not installed, and CI=true or STET_REQUIRE_REGISTRIES=1 asks for it: apt-get install docker-registry")
	}
	t.Skip("docker-registry is not installed: apt-get install docker-registry")
	return ""
}

func startDebian(t *testing.T) string { return startDebianWith(t, "") }

// startDebianWith starts docker-registry over a directory of the test; more is
// added to its config file.
func startDebianWith(t *testing.T, more string) string {
	t.Helper()
	path, dir := debian(t), t.TempDir()
	// The port is free when it is asked for and may be another's when the
	// registry listens, so a start is tried again.
	for range 5 {
		if host := tryDebian(t, path, dir, more); host != "" {
			return host
		}
	}
	t.Fatal("docker-registry does not start")
	return ""
}

func tryDebian(t *testing.T, path, dir, more string) string {
	t.Helper()
	addr := freePort(t)
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: "%s"}
%s`, filepath.Join(dir, "data"), addr, more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-gone
		}
	}
	_, port, _ := net.SplitHostPort(addr)
	host := net.JoinHostPort("localhost", port)
	if err := answers(t.Context(), "http://"+addr+"/v2/", gone); err != nil {
		stop()
		t.Logf("docker-registry on %s: %v\n%s", addr, err, out)
		return ""
	}
	t.Cleanup(stop)
	return host
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers waits until the URL answers anything, or its server is gone.
func answers(ctx context.Context, url string, gone <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-gone:
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lockedBuffer takes the output of a process.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
