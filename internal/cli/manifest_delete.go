package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type manifestDeleteOptions struct {
	progressFlags
	formatFlags
	targetFlags
	force      bool
	descriptor bool
	pretty     bool
}

// maxStandingTags is how many tags of a registry are asked for what they name.
const maxStandingTags = 1000

func newManifestDelete(a *app) *cobra.Command {
	o := &manifestDeleteOptions{}
	cmd := &cobra.Command{
		Use:     "delete [flags] NAME{:TAG|@DIGEST}",
		Aliases: []string{"remove", "rm"},
		Short:   "Delete a manifest and all tags that point at it",
		Long: `Delete a manifest and all tags that point at it. A tag stands for the manifest
that it names: the question says which that is, and which other tags go with it.
--force does not ask.

A manifest that an index lists is not deleted, because the index would be broken;
with --force it is, with a warning. For that the tags are looked through, and the
indexes that they name; in a repository of a registry with more than 1000 tags they
are not, and only --force deletes. An index that no tag leads to is not seen.`,
		Example: `  {name} manifest delete localhost:5000/app:v1
  {name} manifest delete -f localhost:5000/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runManifestDelete(cmd.Context(), a, o, args[0])
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.force, "force", "f", false, "do not ask, delete what an index lists as well, and do not mind when it is gone already")
	fs.BoolVar(&o.descriptor, "descriptor", false, "print the descriptor of what was deleted")
	fs.BoolVar(&o.pretty, "pretty", false, "indent the descriptor")
	o.actions = toDelete
	o.targetFlags.register(a, cmd, &o.progressFlags, true)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runManifestDelete(ctx context.Context, a *app, o *manifestDeleteOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.named("delete", arg)
	if err != nil {
		return err
	}
	t := o.quiet(a)
	x := &deleting{manifestDeleteOptions: o, ref: ref, sink: t.sink}
	err = a.within(ref, &o.targetFlags, t.sink, func(s store.Store) error { return x.run(ctx, a, s) })
	t.finish()
	missing := o.force && errors.Is(err, store.ErrNotFound)
	switch {
	case missing:
		x.d, x.tags = store.Descriptor{Digest: ref.Digest}, nil
	case err != nil:
		return cannot("delete", ref, err)
	case !x.deleted:
		_, err := fmt.Fprintln(a.streams.Err, "Operation cancelled.")
		return err
	case o.descriptor:
		return printJSON(a.streams.Out, x.d, o.pretty)
	default:
		fmt.Fprintf(a.streams.Err, "%s: %s is deleted, and all tags that named it%s\n", a.name, x.d.Digest, inBrackets(x.tags))
	}
	value := ui.NewDeleteResult(ref, x.d, t.seen.Notes())
	value.Missing, value.Tags = missing, x.tags
	return ui.Print(a.streams.Out, format, value, value.Text)
}

// inBrackets lists names behind a sentence that speaks of them.
func inBrackets(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (" + ui.Escape(strings.Join(names, ", ")) + ")"
}

// deleting is one delete of a manifest.
type deleting struct {
	*manifestDeleteOptions
	ref     store.Ref
	sink    store.Sink
	d       store.Descriptor
	tags    []string // that name it, as far as that is known
	deleted bool
}

func (x *deleting) run(ctx context.Context, a *app, s store.Store) (err error) {
	if x.d, err = s.Resolve(ctx, x.ref.Reference()); err != nil {
		return err
	}
	if err := x.look(ctx, a, s); err != nil {
		return err
	}
	if !x.force {
		if others := x.others(); len(others) > 0 {
			fmt.Fprintf(a.streams.Err, "%s: %s is also named by %s\n", a.name, x.d.Digest, ui.Escape(strings.Join(others, ", ")))
		}
		yes, err := a.confirm(ctx, fmt.Sprintf("Are you sure you want to delete the manifest %q and all tags associated with it?", x.d.Digest))
		if !yes || err != nil {
			return err
		}
	}
	x.deleted = true
	return s.DeleteManifest(ctx, x.d)
}

// others are the tags that go as well, beside the one that was given.
func (x *deleting) others() (names []string) {
	for _, t := range x.tags {
		if len(x.ref.Tags) == 0 || t != x.ref.Tags[0] {
			names = append(names, t)
		}
	}
	return names
}

// look finds the tags that name the manifest, and the indexes that list it.
// Who may delete need not be allowed to list: what cannot be looked at is told,
// and stops nothing.
func (x *deleting) look(ctx context.Context, a *app, s store.Store) error {
	limit := maxStandingTags
	if x.ref.Scheme != store.SchemeRegistry {
		limit = 0 // looking costs nothing
	}
	standing, err := graph.FindStanding(ctx, s, x.d.Digest, limit)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	x.tags = standing.Tags
	if errors.Is(err, store.ErrTooLarge) && !x.force {
		return &failure{
			what: "delete " + x.ref.String(), ref: x.ref, err: fmt.Errorf("%w: whether an index lists it was not looked at: %w", store.ErrRefused, err),
			do: "--force deletes it all the same; an index that lists it is broken then",
		}
	}
	if err != nil {
		x.warn("whether an index lists it was not looked at: " + err.Error())
	}
	if len(standing.Holders) == 0 {
		return nil
	}
	var held []string
	for _, h := range standing.Holders {
		held = append(held, fmt.Sprintf("the index %s (%s)", h.Index, strings.Join(h.Tags, ", ")))
	}
	where := "it is listed by " + strings.Join(held, " and ")
	if x.force {
		x.warn(where + ", which is broken without it")
		return nil
	}
	first := standing.Holders[0]
	return &failure{
		what: "delete " + x.ref.String(), ref: x.ref, err: fmt.Errorf("%w: %s", store.ErrRefused, where),
		do: fmt.Sprintf("take it out with `%s manifest index update %s --remove %s`, delete the index first, or give --force",
			a.name, x.ref.WithTags(first.Tags[:1]...), x.d.Digest),
	}
}

func (x *deleting) warn(text string) {
	x.sink.Emit(store.Event{Kind: store.Warning, Desc: x.d, Name: x.ref.String(), Text: text})
}
