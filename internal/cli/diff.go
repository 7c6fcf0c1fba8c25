package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type diffOptions struct {
	progressFlags
	formatFlags
	from, to  targetFlags
	recursive bool
	contents  bool
	platform  string
	limit     int
	resolve   []string
}

func newDiff(a *app) *cobra.Command {
	o := &diffOptions{}
	o.from.prefix, o.to.prefix = "from-", "to-"
	o.from.connections, o.to.connections = several, several
	cmd := &cobra.Command{
		Use:   "diff [flags] A[:TAG|@DIGEST] B[:TAG|@DIGEST]|./DIR",
		Short: "Show in what two artifacts or repositories differ, and why",
		Long: `Compare two artifacts, in any two stores: the kind of manifest and its types,
configs value by value, files, annotations, the subject, the manifests of an
index by platform, and with -r what refers to any of them. Where the digests are
equal there is nothing more to compare. Where they are not, and the reason can
be told, it is: only the time of creation, only the white space of the JSON,
another compression of the same files, another kind of manifest.

Without tag and digest on both sides, two repositories or layouts are compared:
their tags, and what those name. Tags of the referrers tag schema are no tags of
anybody; what they list is compared with -r.

Where the second is a directory, written as ./DIR or with its whole path, the
files of the artifact are compared with those on disk: content, links, and what
can be executed.

The exit code is 0 where they are equal and 3 where they differ.`,
		Example: `  {name} diff localhost:5000/app:v1 localhost:5000/app:v2

  # is the mirror complete, with all signatures?
  {name} diff -r localhost:5000/app localhost:5001/app

  # what changed in the directory that was pushed
  {name} diff --contents oci:old:v1 oci:new:v1

  # are these the files that were pushed?
  {name} diff localhost:5000/app:v1 ./dist`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return runDiff(cmd.Context(), a, o, args[0], args[1]) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.recursive, "recursive", "r", false, "compare what refers to the artifacts too")
	fs.BoolVar(&o.contents, "contents", false, "look into packed directories and image layers that differ; both are read whole")
	fs.StringVar(&o.platform, "platform", "", "compare only this `OS[/ARCH[/VARIANT]][:OSVERSION]` of two indexes")
	concurrencyFlag(cmd, &o.limit, artifact.DefaultDiffConcurrency)
	cmd.Flag("concurrency").Usage = "`NUMBER` of manifests that are compared at once"
	fs.StringArrayVar(&o.resolve, "resolve", nil, "`HOST:PORT:ADDRESS[:PORT]` for both sides: --from-resolve and --to-resolve in one")
	o.from.register(a, cmd, &o.progressFlags, true)
	o.to.register(a, cmd, &o.progressFlags, true)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runDiff(ctx context.Context, a *app, o *diffOptions, from, to string) error {
	format, err := o.parse()
	if err != nil {
		return err
	}
	o.from.resolve = append(slices.Clone(o.resolve), o.from.resolve...)
	o.to.resolve = append(slices.Clone(o.resolve), o.to.resolve...)
	d := &diffing{diffOptions: o}
	if d.a, err = o.from.compared(from); err != nil {
		return cannot("compare", d.a, err)
	}
	if d.dir = o.to.directory(to); d.dir != "" {
		d.b = store.Ref{Scheme: schemeDirectory, Path: d.dir}
	} else if d.b, err = o.to.compared(to); err != nil {
		return cannot("compare", d.b, err)
	}
	d.whole = d.a.Reference() == ""
	switch {
	case d.dir != "" && (d.whole || d.recursive):
		err = fmt.Errorf("%w: a directory is compared with the files of one artifact: give a tag or digest, and no -r", store.ErrUsage)
	case d.dir != "":
	case d.whole != (d.b.Reference() == ""):
		err = fmt.Errorf("%w: give a tag or digest on both sides, or on none for whole repositories", store.ErrUsage)
	case d.whole && o.platform != "":
		err = fmt.Errorf("%w: --platform needs a tag or digest on both sides", store.ErrUsage)
	}
	if err != nil {
		return cannot(d.what(), store.Ref{}, err)
	}
	t := o.quiet(a)
	list, err := d.run(ctx, a, t.sink)
	t.finish()
	if err != nil {
		return d.failed(err)
	}
	value := d.result(list, t.seen.Notes()).Colored(a.streams.OutColor())
	if err := ui.Print(a.streams.Out, format, value, value.Text); err != nil {
		return err
	}
	if !value.Equal {
		return &verdict{fmt.Sprintf("%d differences", len(list))}
	}
	return nil
}

// schemeDirectory is how a directory on disk is shown where others are stores.
const schemeDirectory store.Scheme = "directory"

// directory is the argument where it means a directory on disk, else "": no
// reference begins so, unless a flag says that it is a layout.
func (t *targetFlags) directory(arg string) string {
	if t.layout || t.layoutPath != "" {
		return ""
	}
	first, _, _ := strings.Cut(filepath.ToSlash(arg), "/")
	if first == "." || first == ".." || filepath.IsAbs(arg) {
		return arg
	}
	return ""
}

// compared reads an argument that names one manifest or a whole repository.
func (t *targetFlags) compared(arg string) (store.Ref, error) {
	ref, err := t.parse(arg)
	if err == nil && ref.Reference() != "" {
		err = require(ref)
	}
	return ref, err
}

// diffing is one comparison at work.
type diffing struct {
	*diffOptions
	a, b  store.Ref
	whole bool   // repositories are compared
	dir   string // the directory that is compared with, or ""
	roots [2]digest.Digest
}

func (d *diffing) what() string {
	with := d.b.String()
	if d.dir != "" {
		with = d.dir
	}
	return "compare " + d.a.String() + " with " + with
}

func (d *diffing) run(ctx context.Context, a *app, sink store.Sink) (list []artifact.Difference, err error) {
	opts := artifact.DiffOptions{
		Referrers: d.recursive, Contents: d.contents, Concurrency: d.limit,
		SkipTag: func(tag string) bool {
			_, suffix, ok := graph.SplitDigestTag(tag)
			return ok && suffix == ""
		},
	}
	err = a.within(d.a, &d.from, sink, func(from store.Store) (err error) {
		if d.dir != "" {
			x := artifact.Side{Store: from}
			if x.Root, err = resolveIn(ctx, from, d.a, d.platform); err == nil {
				d.roots[0] = x.Root.Digest
				list, err = artifact.DiffFiles(ctx, x, d.dir)
			}
			return err
		}
		return a.within(d.b, &d.to, sink, func(to store.Store) (err error) {
			if d.whole {
				list, err = artifact.DiffAll(ctx, from, to, opts)
				return err
			}
			x, y := artifact.Side{Store: from}, artifact.Side{Store: to}
			group, gctx := errgroup.WithContext(ctx)
			group.Go(func() (err error) {
				x.Root, err = resolveIn(gctx, from, d.a, d.platform)
				return d.at(d.a, err)
			})
			group.Go(func() (err error) {
				y.Root, err = resolveIn(gctx, to, d.b, d.platform)
				return d.at(d.b, err)
			})
			if err := group.Wait(); err != nil {
				return err
			}
			d.roots = [2]digest.Digest{x.Root.Digest, y.Root.Digest}
			list, err = artifact.Diff(ctx, x, y, opts)
			return err
		})
	})
	return list, err
}

// at is an error about one of the two sides.
func (d *diffing) at(ref store.Ref, err error) error {
	if err == nil {
		return nil
	}
	return &failure{what: d.what(), ref: ref, err: fmt.Errorf("%s: %w", ref, err)}
}

// failed gives an error of the comparison the side that it is about.
func (d *diffing) failed(err error) error {
	var side *artifact.SideError
	switch {
	case errors.As(err, &side) && side.Second:
		err = d.at(d.b, err)
	case side != nil:
		err = d.at(d.a, err)
	}
	return cannot(d.what(), store.Ref{}, err)
}

func (d *diffing) result(list []artifact.Difference, notes ui.Notes) ui.DiffResult {
	value := ui.NewDiffResult(d.a, d.b, d.roots[0], d.roots[1], notes)
	if d.dir != "" {
		value.To.Reference = d.dir
	}
	value.Equal, value.Recursive = len(list) == 0, d.recursive
	for _, x := range list {
		e := ui.Difference{Path: x.Path, Kind: string(x.Kind), Change: string(x.Change), Why: x.Why}
		if x.Change != artifact.Added {
			e.From = &x.From
		}
		if x.Change != artifact.Removed {
			e.To = &x.To
		}
		if x.Change == artifact.Changed && x.From == "" && x.To == "" {
			e.From, e.To = nil, nil // the reason is all there is
		}
		value.Differences = append(value.Differences, e)
	}
	return value
}
