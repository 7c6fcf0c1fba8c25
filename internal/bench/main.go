// bench measures stet beside other clients: the same work, on the same registry,
// through the same proxy, in turn. `make bench` runs it.
//
// Each client runs in a process of its own: stet as the program that users have,
// and stet's packages, oras-go, regclient and go-containerregistry as libraries
// in a worker, which is this program again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: bench run [flags]      measure
       bench render [flags]   write text, docs and plot from the JSON of a run
       bench worker PEER      do the task on stdin; for bench itself`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "worker":
			if len(args) == 2 {
				return work(ctx, args[1], os.Stdin)
			}
		case "run":
			return runCommand(ctx, args[1:])
		case "render":
			return renderCommand(args[1:])
		}
	}
	return errors.New(usage)
}

// options are the flags of run.
type options struct {
	outputs
	quick, failUnmet bool
	runs             int
	rows, curves     string
	dir, kind        string
	date, trace      string
}

// outputs are the files that a report is written to.
type outputs struct{ json, markdown, svg, notes string }

func (o *outputs) register(fs *flag.FlagSet) {
	fs.StringVar(&o.json, "json", "", "`FILE` for all figures")
	fs.StringVar(&o.markdown, "markdown", "", "`FILE` for the report, such as docs/performance.md")
	fs.StringVar(&o.svg, "svg", "", "`FILE` for the plot")
	fs.StringVar(&o.notes, "notes", "notes.md", "`FILE` with the reasons that go into the report")
}

// What a run does by default.
const (
	defaultRuns = 5
	quickRuns   = 2
	every       = "all"
	none        = "none"
)

func runCommand(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	o.register(fs)
	fs.BoolVar(&o.quick, "quick", false, "fewer runs of less work, in under two minutes")
	fs.IntVar(&o.runs, "runs", 0, "`N` runs of each client in each row (default 5, quick 2)")
	fs.StringVar(&o.rows, "rows", every, "comma-separated `IDS` of rows, all or none")
	fs.StringVar(&o.curves, "curves", every, "comma-separated `IDS` of scale curves, all or none")
	fs.StringVar(&o.dir, "dir", "", "`DIR` for registries and files (default: that for temporary files)")
	fs.StringVar(&o.kind, "registry", "", "docker-registry or distribution (default: the first that is installed)")
	fs.StringVar(&o.date, "date", time.Now().UTC().Format(time.DateOnly), "`DATE` that the report says")
	fs.StringVar(&o.trace, "trace", "", "`DIR` for the request log of each run")
	fs.BoolVar(&o.failUnmet, "fail-unmet", false, "exit 1 where a target is not met")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return errors.New(usage)
	}
	s := o.sizes()
	chosen, err := choose(rows(s), o.rows, func(r row) string { return r.id })
	if err != nil {
		return err
	}
	curves, err := choose(curves(o.quick), o.curves, func(c curve) string { return c.id })
	if err != nil {
		return err
	}
	report, err := o.measure(ctx, s, chosen, curves)
	if report != nil {
		report.text(os.Stdout)
		if err == nil {
			err = o.outputs.write(report)
		}
	}
	if err == nil && o.failUnmet {
		err = report.unmet()
	}
	return err
}

func (o *options) sizes() sizes {
	s := sizes{runs: defaultRuns, points: 3, many: 1000, tree: 6000, large: 512 << 20, capped: 100 << 20}
	if o.quick {
		s = sizes{runs: quickRuns, points: 1, many: 50, tree: 600, large: 32 << 20, capped: 10 << 20}
	}
	if o.runs > 0 {
		s.runs = o.runs
	}
	return s
}

// choose gives the entries that a list of ids names. An id that is not there is
// an error, so that nothing is left out by a slip.
func choose[T any](all []T, list string, id func(T) string) (chosen []T, err error) {
	switch list {
	case every, "":
		return all, nil
	case none:
		return nil, nil
	}
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(t T) bool { return id(t) == want })
		if i < 0 {
			var ids []string
			for _, t := range all {
				ids = append(ids, id(t))
			}
			return nil, fmt.Errorf("there is no %q; there are %s", want, strings.Join(ids, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// measure runs everything. A row that could not run ends it with an error; the
// report so far comes with it.
func (o *options) measure(ctx context.Context, s sizes, chosen []row, curves []curve) (report *Report, err error) {
	kind, why := o.kind, "asked for"
	if kind == "" {
		kind, why = chooseRegistry()
	}
	fmt.Fprintf(os.Stderr, "registry: %s (%s)\n", kind, why)
	if o.trace != "" {
		if err := os.MkdirAll(o.trace, 0o755); err != nil {
			return nil, err
		}
	}
	l, err := openLab(ctx, o.dir, kind, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	l.trace = o.trace
	report = &Report{Machine: describe(registryVersion(ctx, kind), l.dir), Date: o.date, Runs: s.runs, Quick: o.quick}
	if report.Overhead, err = l.overhead(ctx); err != nil {
		return report, err
	}
	for _, r := range chosen {
		row, err := l.measureRow(ctx, r)
		if err != nil {
			return report, err
		}
		fmt.Fprintf(os.Stderr, "%-14s %6.1fs  %s\n", r.id, row.Took, row.verdict())
		report.Rows = append(report.Rows, row)
	}
	for _, c := range curves {
		curve, err := l.measureCurve(ctx, c)
		if err != nil {
			return report, err
		}
		report.Curves = append(report.Curves, curve)
	}
	return report, nil
}

// unmet is an error where a target is not met.
func (r *Report) unmet() error {
	n := 0
	for _, row := range r.Rows {
		for _, v := range row.Verdicts {
			if !v.Met {
				n++
			}
		}
	}
	if n > 0 {
		return fmt.Errorf("%d targets are not met", n)
	}
	return nil
}

func renderCommand(args []string) error {
	var o outputs
	var from string
	fs := flag.NewFlagSet("render", flag.ContinueOnError)
	o.register(fs)
	fs.StringVar(&from, "from", "", "`FILE` that a run wrote with -json")
	if err := fs.Parse(args); err != nil {
		return err
	}
	report, err := readReport(from)
	if err != nil {
		return err
	}
	report.text(os.Stdout)
	return o.write(report)
}

func (o *outputs) write(r *Report) error {
	if o.json != "" {
		if err := r.writeJSON(o.json); err != nil {
			return err
		}
	}
	if o.markdown != "" {
		notes, err := os.ReadFile(o.notes)
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.markdown, []byte(r.markdown(string(notes))), 0o644); err != nil {
			return err
		}
	}
	if o.svg == "" {
		return nil
	}
	return os.WriteFile(o.svg, []byte(r.plot()), 0o644)
}
