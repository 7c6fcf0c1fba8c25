package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/stet-oci/stet/internal/bench/proxy"
)

// Sample is what one run of one client cost.
type Sample struct {
	Seconds     float64 // from the start of the process to its end
	CPU         float64 // seconds of all cores, of the client alone
	Peak        int64   // bytes of memory
	Requests    int
	Connections int
	Trips       int // on the critical path; only where there is a round-trip time
	Up, Down    int64
}

// outcome is what became of one run.
type outcome struct {
	Sample
	record proxy.Record
	output string
}

// run does a task with a client, in a process of its own, and says what it cost.
func (l *lab) run(ctx context.Context, peer string, t task) (s outcome, err error) {
	cmd, out, err := l.command(ctx, peer, t)
	if err != nil {
		return s, err
	}
	l.log.Take()
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	peak := watchPeak(cmd.Process.Pid)
	err = cmd.Wait()
	s.Seconds = time.Since(start).Seconds()
	s.Peak = peak()
	s.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	for _, p := range l.proxies {
		if !p.Quiet() {
			return s, fmt.Errorf("%s %s: its connections stay open after its end", peer, t.Op)
		}
	}
	s.record, s.output = l.log.Take(), out.String()
	s.Requests, s.Connections, s.Trips = len(s.record.Requests), len(s.record.Connections), s.record.Trips()
	s.Up, s.Down = s.record.Bytes()
	if err != nil {
		return s, failed(peer, t, s.output, err)
	}
	return s, nil
}

// command is the program stet, or this one as a worker, in a bare environment.
func (l *lab) command(ctx context.Context, peer string, t task) (*exec.Cmd, *bytes.Buffer, error) {
	home := t.Home
	if home == "" {
		var err error
		if home, err = os.MkdirTemp(l.dir, "home"); err != nil {
			return nil, nil, err
		}
	}
	cmd := exec.CommandContext(ctx, l.self, "worker", peer)
	if peer == peerStet {
		cmd = exec.CommandContext(ctx, l.stet, arguments(t)...)
	} else {
		raw, err := json.Marshal(t)
		if err != nil {
			return nil, nil, err
		}
		cmd.Stdin = bytes.NewReader(raw)
	}
	out := &bytes.Buffer{}
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.Dir, out, out
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + l.dir}
	return cmd, out, nil
}

// errNotYet is that of a command that this build of the program does not have.
type errNotYet struct{ op op }

func (e errNotYet) Error() string { return fmt.Sprintf("stet has no command for %q", e.op) }

func failed(peer string, t task, out string, err error) error {
	if peer == peerStet && strings.Contains(out, "unknown command") {
		return errNotYet{t.Op}
	}
	if len(out) > 2000 {
		out = out[:2000] + "…"
	}
	return fmt.Errorf("%s: %s: %w\n%s", peer, t.Op, err, out)
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

// median gives the median of each figure on its own.
func median(all []Sample) (m Sample) {
	m.Seconds = middle(all, func(s Sample) float64 { return s.Seconds })
	m.CPU = middle(all, func(s Sample) float64 { return s.CPU })
	m.Peak = middle(all, func(s Sample) int64 { return s.Peak })
	m.Requests = middle(all, func(s Sample) int { return s.Requests })
	m.Connections = middle(all, func(s Sample) int { return s.Connections })
	m.Trips = middle(all, func(s Sample) int { return s.Trips })
	m.Up = middle(all, func(s Sample) int64 { return s.Up })
	m.Down = middle(all, func(s Sample) int64 { return s.Down })
	return m
}

func middle[T int | int64 | float64](all []Sample, of func(Sample) T) T {
	if len(all) == 0 {
		return 0
	}
	var v []T
	for _, s := range all {
		v = append(v, of(s))
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// Overhead is what the proxy itself costs, with neither round-trip time nor rate.
type Overhead struct {
	DirectMicros, ProxyMicros   float64 // a small request
	DirectSeconds, ProxySeconds float64 // a large blob
	Bytes                       int64   // of that blob
}

// overhead asks the registry the same directly and through a proxy.
func (l *lab) overhead(ctx context.Context) (o Overhead, err error) {
	path, size := l.file("overhead"), l.sizes.large/4
	if err := randomFile(path, "overhead", size); err != nil {
		return o, err
	}
	d, err := fileBlob(path)
	if err != nil {
		return o, err
	}
	err = l.from.putBlob(ctx, "bench/overhead", d, func() (io.ReadCloser, error) { return os.Open(path) })
	if err != nil {
		return o, err
	}
	p, err := proxy.Start("null", l.from.host, proxy.Options{}, &proxy.Log{})
	if err != nil {
		return o, err
	}
	o.Bytes = size
	blob := "/v2/bench/overhead/blobs/" + d.Digest.String()
	steps := []struct {
		url   string
		times int
		to    *float64
		unit  float64
	}{
		{"http://" + l.from.host + "/v2/", 300, &o.DirectMicros, 1e6},
		{"http://" + p.Addr() + "/v2/", 300, &o.ProxyMicros, 1e6},
		{"http://" + l.from.host + blob, 5, &o.DirectSeconds, 1},
		{"http://" + p.Addr() + blob, 5, &o.ProxySeconds, 1},
	}
	for _, s := range steps {
		var all []Sample
		for range s.times {
			start := time.Now()
			if err := get(ctx, s.url); err != nil {
				return o, err
			}
			all = append(all, Sample{Seconds: time.Since(start).Seconds()})
		}
		*s.to = median(all).Seconds * s.unit
	}
	seeder.CloseIdleConnections()
	return o, p.Close()
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := seeder.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
