package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// registry is a registry as a process, over a directory.
type registry struct {
	kind string
	host string // localhost:port, past every proxy
	data string
	cmd  *exec.Cmd
	gone chan struct{}
	end  func() // ends one that is no process
}

// The kinds of registries. The default is the first that this machine has.
const (
	kindDebian       = "docker-registry"
	kindDistribution = "distribution"
	kindOlareg       = "olareg"
)

// chooseRegistry takes Debian's docker-registry where it is installed, else CNCF
// Distribution v3. The report says which it was.
func chooseRegistry() (kind, why string) {
	if _, err := exec.LookPath(kindDebian); err != nil {
		return kindDistribution, "docker-registry is not installed (apt-get install docker-registry)"
	}
	return kindDebian, "docker-registry is installed"
}

// registryVersion is what the report calls a kind.
func registryVersion(ctx context.Context, kind string) string {
	if kind != kindDebian {
		return kind + ", as in go.mod"
	}
	out, err := exec.CommandContext(ctx, kindDebian, "--version").Output()
	if err != nil {
		return kind
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// startRegistry starts one over an empty directory below dir. program is the
// built internal/bench/registries, for the kinds that need it.
func startRegistry(ctx context.Context, kind, program, dir string) (*registry, error) {
	if kind == kindTagList {
		return startTagList()
	}
	var err error
	for range 5 { // its port is free when it is asked for, and may be another's when it listens
		var r *registry
		if r, err = tryRegistry(ctx, kind, program, dir); err == nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%s does not start: %w", kind, err)
}

func tryRegistry(ctx context.Context, kind, program, dir string) (*registry, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	r := &registry{kind: kind, host: "localhost:" + port, data: filepath.Join(dir, "data"), gone: make(chan struct{})}
	if err := os.MkdirAll(r.data, 0o755); err != nil {
		return nil, err
	}
	r.cmd = exec.Command(program, kind, addr, r.data)
	if kind == kindDebian {
		config := filepath.Join(dir, "config.yml")
		text := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: "%s"}
`, r.data, addr)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, err
		}
		r.cmd = exec.Command(kindDebian, "serve", config)
	}
	r.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	r.cmd.Stdout, r.cmd.Stderr = out, out
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = r.cmd.Wait(); close(r.gone) }()
	if err := r.answers(ctx); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// answers waits until the registry answers, or has ended.
func (r *registry) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.host+"/v2/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-r.gone:
			return errors.New("it ended; see its log")
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *registry) stop() {
	if r.end != nil {
		r.end()
		return
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.gone:
	case <-time.After(5 * time.Second):
		_ = r.cmd.Process.Kill()
		<-r.gone
	}
}

// wipe takes everything from the registry while it runs. It keeps no cache, so
// that it then is as it was when it was new.
func (r *registry) wipe() error {
	if r.kind == kindOlareg {
		return fmt.Errorf("%s keeps what it knows in memory", r.kind)
	}
	entries, err := os.ReadDir(r.data)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(r.data, e.Name())))
	}
	return err
}
