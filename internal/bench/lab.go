package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/stet-oci/stet/internal/bench/proxy"
)

// lab is where the measuring is done: two registries, the programs, and for each
// row the network between them.
type lab struct {
	dir        string // for everything; removed at the end
	stet, self string // programs
	registries string // the built internal/bench/registries, "" where nothing needs it
	kind       string // of the two registries
	sizes      sizes
	trace      string // directory for request logs, "" for none

	from, to *registry // what is read, and what is wiped and written
	log      *proxy.Log
	proxies  []*proxy.Proxy
}

// sizes are how much work there is.
type sizes struct {
	runs   int   // of each client in a row
	points int   // runs of each point of a curve, at most
	many   int   // small files
	tree   int   // files of a tree of sources
	large  int64 // bytes of the large blob
	capped int64 // bytes of the blob over slow connections
}

// openLab builds what is measured and starts the registries below dir.
func openLab(ctx context.Context, dir, kind string, s sizes) (*lab, error) {
	dir, err := os.MkdirTemp(dir, "stet-bench")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, kind: kind, sizes: s, log: &proxy.Log{}, stet: filepath.Join(dir, "stet"), registries: filepath.Join(dir, "registries")}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	if l.from, err = l.start(ctx, kind, "from"); err == nil {
		l.to, err = l.start(ctx, kind, "to")
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// build builds the programs as they are released: static and stripped.
func (l *lab) build(ctx context.Context) (err error) {
	if l.self, err = os.Executable(); err != nil {
		return err
	}
	for _, b := range []struct{ from, pkg, to string }{{"../..", "./cmd/stet", l.stet}, {".", "./registries", l.registries}} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-gcflags=github.com/stet-oci/stet/...=-l", "-ldflags", "-s -w", "-o", b.to, b.pkg)
		cmd.Dir = b.from
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s (the benchmark runs in internal/bench): %w\n%s", b.pkg, err, out)
		}
	}
	return nil
}

func (l *lab) start(ctx context.Context, kind, name string) (*registry, error) {
	dir := filepath.Join(l.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return startRegistry(ctx, kind, l.registries, dir)
}

func (l *lab) close() error {
	for _, r := range []*registry{l.from, l.to} {
		if r != nil {
			r.stop()
		}
	}
	return os.RemoveAll(l.dir)
}

func (l *lab) file(name string) string { return filepath.Join(l.dir, name) }

// scene is the lab set up for one row.
type scene struct {
	*lab
	id           string
	fromAt, toAt string // the registries as clients reach them
}

// within sets the network up, and takes it down when do has ended. A row may
// ask for registries of another kind.
func (l *lab) within(ctx context.Context, r row, do func(*scene) error) (err error) {
	in := *l
	if r.registry != "" && r.registry != l.kind {
		if in.from, err = l.start(ctx, r.registry, "other"); err != nil {
			return err
		}
		defer in.from.stop()
		in.to = in.from
	}
	opts := proxy.Options{RTT: r.rtt, Rate: r.rate}
	s := &scene{lab: &in, id: r.id}
	for _, side := range []struct {
		name string
		reg  *registry
		at   *string
	}{{"from", in.from, &s.fromAt}, {"to", in.to, &s.toAt}} {
		p, err := proxy.Start(side.name, side.reg.host, opts, l.log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		in.proxies = append(in.proxies, p)
		*side.at = "localhost" + p.Addr()[len("127.0.0.1"):]
	}
	return do(s)
}

// turn is one client's turn in a row.
type turn struct {
	peer string
	n    int // from 0
}

func (t turn) key() string {
	return fmt.Sprintf("%s-%d", map[string]string{
		peerStet: "stet", peerLibrary: "library", peerORAS: "oras", peerRegclient: "regclient", peerGGCR: "ggcr",
	}[t.peer], t.n)
}

// step is what a client does in its turn.
type step struct {
	task
	before *task                       // done first by the same client, and not measured
	prove  func(context.Context) error // that the work was done
	says   string                      // what the program prints, where that is the work
	clean  func() error                // what it left on the disk
}

// measureRow lets the clients do the work in turn.
func (l *lab) measureRow(ctx context.Context, r row) (res Row, err error) {
	res = Row{ID: r.id, Title: r.title, RTT: r.rtt.Seconds() * 1000, Rate: r.rate, Registry: r.registry, Results: map[string]*Result{}}
	began := time.Now()
	err = l.within(ctx, r, func(s *scene) error {
		stage, err := r.stage(ctx, s)
		if err != nil {
			return fmt.Errorf("setting up: %w", err)
		}
		for n := range l.sizes.runs {
			// Each round begins with another client: who comes first pays for
			// what the setting up left to the disk.
			first := n % len(peers())
			for _, peer := range append(peers()[first:], peers()[:first]...) {
				if err := s.take(ctx, turn{peer, n}, stage, &res); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, p := range res.Results {
		p.Median = median(p.Samples)
	}
	res.Took = time.Since(began).Seconds()
	if err != nil {
		return res, fmt.Errorf("row %s: %w", r.id, err)
	}
	for _, t := range r.targets {
		res.Verdicts = append(res.Verdicts, t.judge(res))
	}
	return res, nil
}

// take is one turn of one client.
func (s *scene) take(ctx context.Context, at turn, stage stage, res *Row) error {
	result := res.result(at.peer)
	if result.Note != "" {
		return nil // said in an earlier turn
	}
	step, err := stage(ctx, at)
	if err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	if ops, library := libraries()[at.peer]; library && step.Op != opNothing && ops[step.Op] == nil {
		result.Note = "–"
		return nil
	}
	if step.before != nil {
		if _, err := s.run(ctx, at.peer, *step.before); err != nil {
			return err
		}
	}
	sample, err := s.finish(ctx, at, step)
	if missing := (errNotYet{}); errors.As(err, &missing) {
		result.Note = "not available"
		return nil
	}
	if err != nil {
		return err
	}
	result.Samples = append(result.Samples, sample)
	return nil
}

// finish does the measured part of a turn, proves it, and cleans up.
func (s *scene) finish(ctx context.Context, at turn, step step) (Sample, error) {
	o, err := s.run(ctx, at.peer, step.task)
	if err == nil && at.peer == peerStet && !strings.Contains(o.output, step.says) {
		err = fmt.Errorf("%s did not do it: %q is not in its output:\n%s", at.peer, step.says, o.output)
	}
	if err == nil && step.prove != nil {
		if err = step.prove(ctx); err != nil {
			err = fmt.Errorf("%s did not do it: %w", at.peer, err)
		}
	}
	if err == nil {
		err = s.keep(at, o.record)
	}
	if err == nil && step.clean != nil {
		err = step.clean()
	}
	return o.Sample, err
}

// keep writes the request log of a turn, if asked for.
func (s *scene) keep(at turn, rec proxy.Record) error {
	if s.trace == "" {
		return nil
	}
	f, err := os.Create(filepath.Join(s.trace, s.id+"-"+at.key()+".log"))
	if err != nil {
		return err
	}
	rec.Print(f)
	return f.Close()
}
