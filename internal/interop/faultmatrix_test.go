package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// The patience of the commands in the matrix, which is short for a stall only
// where there is one: a busy machine looks like that too. Bounded is how long each
// may take before the test calls it endless.
const (
	longStall  = "30s"
	shortStall = "1s"
	bounded    = 90 * time.Second
)

// inFlight is what connections hold when they break, whatever the size of the blob.
const inFlight = 1 << 20

// How many cells run at a time: those that stall do little but wait.
const (
	atOnce      = 8
	stallAtOnce = 32
)

// The content of the matrix: two small blobs, and a big one that is over the
// size from which stet asks before it sends.
const bigInMatrix = 5 << 20

func matrixFiles() map[string]string {
	raw := make([]byte, bigInMatrix)
	_, _ = rand.NewChaCha8([32]byte{5}).Read(raw)
	return map[string]string{"big.bin": string(raw), "small.txt": "small\n"}
}

// command is what runs in a cell.
type command string

// The commands. Of a copy one side has faults.
const (
	pushNew   command = "push"          // to a repository that is new: the big blob is streamed
	pushKnown command = "push, tags"    // to one that has tags: its digest is known before it is sent
	pull      command = "pull"          //
	pullParts command = "pull, ranges"  // of a blob that comes in parallel ranges
	pullRest  command = "pull, resumed" // the first connection breaks at half; the fault strikes what goes on
	cpFrom    command = "cp, source"
	cpTo      command = "cp, target"
)

// cell is one entry of the matrix, and what came of it.
type cell struct {
	cmd   command
	fault fault
	want  want

	code  int
	hits  int
	size  int64 // of the big blob
	again int64 // bytes of blobs beyond what had to move
	open  bool  // it does not hold, which is known
}

// wait is how long a cell takes beside others: what takes longest begins first.
func (c *cell) wait() int {
	switch {
	case c.fault.what == stall && c.fault.when == answered:
		return 2
	case c.fault.times == forever:
		return 1
	}
	return 0
}

func (c *cell) name() string {
	often := "once"
	if c.fault.times == forever {
		often = "always"
	}
	return fmt.Sprintf("%s/%s/%s/%s/%s", c.cmd, c.stage(), c.fault.when, c.fault.what, often)
}

func (c *cell) stage() string {
	if c.fault.after > 0 {
		return fmt.Sprintf("%s %d", c.fault.at, c.fault.after+1)
	}
	return string(c.fault.at)
}

// TestFaultMatrix breaks each stage of push, pull and cp in each way, once and
// for ever: the command succeeds with the right digest, or fails in bounded
// time with the right class. No file with wrong bytes gets its final name, and
// no manifest is put before its blobs.
func TestFaultMatrix(t *testing.T) {
	needsIdle(t)
	for _, reg := range []registry{
		{name: ours, start: startServe},
		{name: "docker-registry-2.8", start: startDebian},
	} {
		t.Run(reg.name, func(t *testing.T) {
			m := newMatrix(t, reg)
			cells := matrixCells(reg.name, m.stages(t))
			order := make([]*cell, len(cells))
			for i := range cells {
				order[i] = &cells[i]
			}
			slices.SortStableFunc(order, func(a, b *cell) int { return b.wait() - a.wait() })
			busy, idle := make(chan struct{}, atOnce), make(chan struct{}, stallAtOnce)
			var group sync.WaitGroup
			for i, c := range order {
				places := busy
				if c.fault.what == stall {
					places = idle
				}
				group.Go(func() {
					places <- struct{}{}
					defer func() { <-places }()
					t.Run(c.name(), func(t *testing.T) { m.run(t, c, fmt.Sprintf("cell%d", i)) })
				})
			}
			group.Wait()
			t.Log(matrixTable(cells))
			if reg.name == ours {
				checkOpen(t, cells)
			}
		})
	}
}

// checkOpen: what holds again is no longer open.
func checkOpen(t *testing.T, cells []cell) {
	for i, o := range open {
		ran, fails := 0, 0
		for _, c := range cells {
			if openAt(&c) == i && c.hits > 0 {
				ran++
				if c.open {
					fails++
				}
			}
		}
		switch {
		case fails > 0:
			t.Logf("open: %s (%d of %d cells)", o.why, fails, ran)
		case ran > 0:
			t.Errorf("it holds now, so its entry in open has to go: %s", o.why)
		}
	}
}

// matrix is what the cells of one registry share.
type matrix struct {
	host  string // the registry itself, with the source of pulls and copies
	dir   string // the files
	big   digest.Digest
	parts digest.Digest // of the blob that comes in ranges
	want  string        // the digest of the artifact
}

// inRanges is a size from which stet asks for ranges where a connection is slow.
const inRanges = 34 << 20

func newMatrix(t *testing.T, reg registry) *matrix {
	t.Helper()
	m := &matrix{host: reg.start(t), dir: t.TempDir()}
	files := matrixFiles()
	write(t, m.dir, files)
	m.big = digest.FromString(files["big.bin"])
	m.parts = bigFile(t, filepath.Join(m.dir, "parts.bin"), inRanges)
	at := run{dir: m.dir}
	at.ok(t, "push", m.host+"/source:v1", "big.bin", "small.txt")
	at.ok(t, "push", m.host+"/parts:v1", "parts.bin")
	m.want = digestOf(t, m.host+"/source:v1")
	return m
}

// stages runs each command without a fault, and gives what it asks for.
func (m *matrix) stages(t *testing.T) []stops {
	t.Helper()
	var all []stops
	for i, cmd := range []command{pushNew, pushKnown, pull, cpFrom, cpTo} {
		c := cell{cmd: cmd}
		p := newFaultProxy(t, m.host)
		p.big, p.guarded = m.big, true
		res := run{dir: m.dir}.within(t, bounded, m.args(t, &c, p, fmt.Sprintf("healthy%d", i), t.TempDir())...)
		if res.code != codeOK {
			t.Fatalf("%s without a fault: exit %d\n%s", cmd, res.code, res.stderr)
		}
		all = append(all, stops{cmd, p.seen})
	}
	return all
}

// run runs one cell in a repository of its own.
func (m *matrix) run(t *testing.T, c *cell, repo string) {
	struck := c.fault
	p := newFaultProxy(t, m.host, &struck)
	p.big, p.guarded = m.big, c.fault.at == atToken || c.fault.what == expired
	out := filepath.Join(t.TempDir(), "out")
	args := append(m.args(t, c, p, repo, out), "--retry", "3", "--retry-max-wait", "5s", "--stall-timeout", longStall)
	switch {
	case c.fault.times == forever:
		args = append(args, "--retry", "2", "--stall-timeout", shortStall)
	case c.fault.what == stall || c.fault.what == slow:
		// More tries: where the machine is busy, other requests stall as well.
		args = append(args, "--retry", "20", "--retry-max-wait", bounded.String(), "--stall-timeout", shortStall)
	}
	if c.want.timeout > 0 {
		args = append(args, "--timeout", c.want.timeout.String())
	}
	res := run{dir: m.dir}.within(t, bounded, args...)
	c.code, c.hits, c.again = res.code, p.hits, max(0, p.up.Load()+p.down.Load()-c.size)
	m.judge(t, c, p)
	if strings.HasPrefix(string(c.cmd), "pull") {
		m.checkFiles(t, c, out)
	} else {
		m.checkTag(t, c, repo)
	}
	if t.Failed() || c.open {
		t.Logf("stet %s: exit %d after %v\n%s\n%s", strings.Join(args, " "), res.code, res.took.Round(time.Millisecond), res.stderr, strings.Join(p.log, "\n"))
	}
}

// args are the arguments of a cell's command, with the proxy on the side that
// has the fault.
func (m *matrix) args(t *testing.T, c *cell, p *faultProxy, repo, out string) []string {
	t.Helper()
	to := "/" + repo + ":v1"
	c.size = bigInMatrix
	switch c.cmd {
	case pushKnown:
		run{dir: m.dir}.ok(t, "push", m.host+"/"+repo+":before", "small.txt")
	case pullRest:
		p.faults = append([]*fault{{at: atBlobGet, when: half, what: cut, times: 1}}, p.faults...)
	case pullParts:
		c.size, p.big, p.rate = inRanges, m.parts, slowEnough
		return []string{"pull", "-o", out, p.host + "/parts:v1"}
	case cpFrom:
		return []string{"cp", p.host + "/source:v1", m.host + to}
	case cpTo:
		return []string{"cp", m.host + "/source:v1", p.host + to}
	}
	if c.cmd == pull || c.cmd == pullRest {
		return []string{"pull", "-o", out, p.host + "/source:v1"}
	}
	return []string{"push", p.host + to, "big.bin", "small.txt"}
}

// within is do with an end to it.
func (r run) within(t *testing.T, limit time.Duration, args ...string) result {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), limit)
	defer stop()
	cmd := r.command(ctx, t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	_ = cmd.Run() // what came of it is in the exit code
	if ctx.Err() != nil {
		t.Errorf("stet %s did not end within %v", strings.Join(args, " "), limit)
	}
	return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(start)}
}

// judge compares a cell with what is expected of it.
func (m *matrix) judge(t *testing.T, c *cell, p *faultProxy) {
	if c.hits == 0 {
		t.Errorf("the fault never struck: no request is a %s any more", c.stage())
	}
	if len(p.early) > 0 {
		t.Errorf("a manifest was put before the blobs %s", p.early)
	}
	problem := t.Errorf
	if at := openAt(c); at >= 0 {
		problem = func(format string, args ...any) {
			c.open = true
			t.Logf("open (%s): %s", open[at].why, fmt.Sprintf(format, args...))
		}
	}
	if c.code != c.want.code {
		problem("exit %d, want %d", c.code, c.want.code)
	}
	if len(p.hasty) > 0 {
		problem("before the time that Retry-After named there came %s", p.hasty)
	}
	if most := int64(c.want.again*float64(c.size)) + inFlight; c.code == codeOK && c.again > most {
		problem("%d bytes moved again, want at most %d", c.again, most)
	}
}

// checkFiles: a final name has the right bytes; a failed pull leaves none, and
// a successful one nothing beside them.
func (m *matrix) checkFiles(t *testing.T, c *cell, out string) {
	want := map[string]digest.Digest{"big.bin": m.big, "small.txt": digest.FromString("small\n")}
	if c.cmd == pullParts {
		want = map[string]digest.Digest{"parts.bin": m.parts}
	}
	entries, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		d, known := want[e.Name()]
		switch {
		case !known && (c.code == 0 || !strings.HasPrefix(e.Name(), ".")):
			t.Errorf("%s is left", e.Name())
		case known && digestOfFile(t, filepath.Join(out, e.Name())) != d:
			t.Errorf("%s has other bytes than it should", e.Name())
		}
		delete(want, e.Name())
	}
	if c.code == 0 && len(want) > 0 {
		t.Errorf("%v are missing", want)
	}
}

// checkTag: the tag leads to the right manifest, or is not there.
func (m *matrix) checkTag(t *testing.T, c *cell, repo string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+m.host+"/v2/"+repo+"/manifests/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	got := resp.Header.Get("Docker-Content-Digest")
	stored := resp.StatusCode == http.StatusOK
	mayStay := c.code == 0 || c.fault.at == atManifestPut && c.fault.when == answered
	switch {
	case stored && !mayStay:
		t.Error("the command failed, and the tag is there")
	case !stored && c.code == 0:
		t.Errorf("the command succeeded, and the tag is not there: %s", resp.Status)
	case stored && got != m.want:
		t.Errorf("the tag leads to %s, want %s", got, m.want)
	}
}
