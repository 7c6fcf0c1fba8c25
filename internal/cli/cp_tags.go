package cli

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// tagFilter says which tags of a repository are meant.
type tagFilter struct {
	all              bool
	include, exclude []string
}

func (f *tagFilter) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVarP(&f.all, "all-tags", "a", false, "copy every tag of the source repository")
	fs.StringArrayVar(&f.include, "include", nil, "with --all-tags, copy only tags that fit this `GLOB`")
	fs.StringArrayVar(&f.exclude, "exclude", nil, "with --all-tags, leave out tags that fit this `GLOB`")
}

func (f *tagFilter) check() error {
	for _, glob := range slices.Concat(f.include, f.exclude) {
		if !f.all {
			return fmt.Errorf("%w: --include and --exclude choose among --all-tags", store.ErrUsage)
		}
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("%w: %q is not a pattern such as v1.*", store.ErrUsage, glob)
		}
	}
	return nil
}

// takes says whether a tag fits an include, if there are any, and no exclude.
func (f *tagFilter) takes(tag string) bool {
	fits := func(glob string) bool {
		ok, _ := path.Match(glob, tag)
		return ok
	}
	return (len(f.include) == 0 || slices.ContainsFunc(f.include, fits)) && !slices.ContainsFunc(f.exclude, fits)
}

func runCopyAll(ctx context.Context, a *app, o *copyOptions, from, to string) error {
	format, err := o.parse()
	if err != nil {
		return err
	}
	src, err := o.from.parse(from)
	if err == nil {
		err = requireNone(src)
	}
	if err != nil {
		return cannot("copy from", src, err)
	}
	dst, err := o.to.parse(to)
	if err == nil {
		err = requireNone(dst)
	}
	if err != nil {
		return cannot("copy to", dst, err)
	}
	if !o.dryRun {
		o.to.pushes(src, dst)
	}
	t, err := o.start(a, ui.CopyVerbs())
	if err != nil {
		return err
	}
	c := &copying{copyOptions: o, sides: sides{src, dst, t.sink}}
	err = c.between(ctx, a, c.everyTag)
	t.finish()
	var some *graph.FailedError
	if err != nil && !errors.As(err, &some) && !slices.ContainsFunc(c.roots, func(r graph.RootResult) bool { return r.Err == nil }) {
		return c.failed(err) // there is no more to tell than that
	}
	value := ui.NewCopyAllResult(src, dst, t.seen)
	value.CopyDetails, value.DryRun = c.details(), o.dryRun
	if o.dryRun {
		value.Counts = counts(c.result)
	}
	for _, r := range c.roots {
		value.Add(r.Ref, r.Desc, r.Exists, r.Err)
		if r.Err != nil {
			o.failedTag(a, t.sink, r, r.Ref+" was not copied")
		}
	}
	// What became of each tag is told even where one failed.
	if told := ui.Print(a.streams.Out, format, value, value.Text); told != nil || err == nil {
		return told
	}
	return c.failed(err)
}

// requireNone is ErrBadReference where ref names something in its store.
func requireNone(ref store.Ref) error {
	if ref.Reference() != "" {
		return &store.RefError{Ref: ref.String(), Reason: "with --all-tags a repository is meant, without tag and digest"}
	}
	return nil
}

// everyTag copies all tags that are meant.
func (c *copying) everyTag(ctx context.Context, from, to store.Store) error {
	roots, err := c.tagsOf(ctx, from)
	if err != nil {
		return err
	}
	all, err := graph.CopyAll(ctx, from, to, roots, c.graphOptions())
	c.result, c.roots = all.Result, all.Roots
	return err
}

// tagsOf lists the tags that are meant. Referrers tags are no names that
// somebody gave, and would overwrite the lists that the destination has.
func (c *copying) tagsOf(ctx context.Context, from store.Reader) (roots []graph.Root, err error) {
	listed, lists := 0, 0
	for tag, err := range from.Tags(ctx, "") {
		if err != nil {
			return nil, &graph.Error{Side: graph.Source, Op: "list tags", Err: err}
		}
		listed++
		if _, suffix, ok := graph.SplitDigestTag(tag); ok && suffix == "" {
			lists++
		} else if c.takes(tag) {
			roots = append(roots, graph.Root{Ref: tag, Tags: []string{tag}})
		}
	}
	if lists > 0 && !c.recursive {
		c.sink.Emit(store.Event{Kind: store.Warning, Text: fmt.Sprintf("lists of referrers are left out, and the referrers in them: %d; -r copies referrers", lists)})
	}
	if len(roots) == 0 {
		return nil, &graph.Error{Side: graph.Source, Op: "list tags", Err: fmt.Errorf("%w: of %d tags none is to be copied", store.ErrNotFound, listed)}
	}
	return roots, nil
}
