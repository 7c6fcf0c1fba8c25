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

type untagOptions struct {
	progressFlags
	formatFlags
	targetFlags
	force bool
}

func newUntag(a *app) *cobra.Command {
	o := &untagOptions{}
	cmd := &cobra.Command{
		Use:   "untag [flags] NAME:TAG[,TAG...]...",
		Short: "Remove tags, and leave what they name",
		Long: `Remove tags. The manifests that they name stay, under their digests and other
tags: a registry that cannot remove a tag alone is not asked for more, and one
that deletes the manifest with it is an error.

Nothing is removed of a repository unless all tags given of it are there. A
manifest without any tag may be taken by the registry's garbage collection; the
result says its digest, so that it can be tagged again.`,
		Example: `  {name} untag localhost:5000/app:v1
  {name} untag -f localhost:5000/app:v1,v2 oci:backup:old`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runUntag(cmd.Context(), a, o, args) },
	}
	cmd.Flags().BoolVarP(&o.force, "force", "f", false, "do not mind when a tag is gone already")
	o.actions = toDelete
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runUntag(ctx context.Context, a *app, o *untagOptions, args []string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	var refs []store.Ref
	for _, arg := range args {
		ref, err := o.tagsIn(arg)
		if err != nil {
			return cannot("untag", ref, err)
		}
		refs = append(refs, ref)
	}
	t := o.quiet(a)
	var value ui.UntagResult
	for _, ref := range refs {
		err := a.within(ref, &o.targetFlags, t.sink, func(s store.Store) error {
			done, err := graph.Untag(ctx, s, ref.Tags, o.force)
			for _, u := range done {
				value.Add(ref, u.Tag, u.Was, u.Missing)
			}
			return err
		})
		if err != nil {
			t.finish()
			return untagFailed(ref, value, err)
		}
	}
	t.finish()
	value.Notes = t.seen.Notes()
	return ui.Print(a.streams.Out, format, value, value.Text)
}

// tagsIn reads an argument, which has to name tags and nothing else.
func (o *untagOptions) tagsIn(arg string) (store.Ref, error) {
	ref, err := o.targetFlags.parse(arg)
	switch {
	case err != nil:
	case ref.Digest != "":
		err = &store.RefError{Ref: arg, Reason: "a digest cannot be untagged; `manifest delete` deletes a manifest"}
	case len(ref.Tags) == 0:
		err = &store.RefError{Ref: arg, Reason: "a tag is missing"}
	}
	return ref, err
}

// untagFailed says with an error what was removed before it: stdout has
// nothing of a command that failed.
func untagFailed(ref store.Ref, done ui.UntagResult, err error) error {
	var lost *graph.LostError
	isLost := errors.As(err, &lost)
	if len(done.Untagged) > 0 {
		var names []string
		for _, u := range done.Untagged {
			names = append(names, u.Name()+" ("+u.Digest.String()+")")
		}
		err = fmt.Errorf("%w; removed before that: %s", err, strings.Join(names, ", "))
	}
	f := &failure{what: "untag " + ref.String(), ref: ref, err: err}
	switch {
	case errors.Is(err, store.ErrUnsupported) && !isLost:
		f.do = "point the tag at something else, or delete the manifest with all of its tags (`manifest delete`)"
	case isLost:
		f.do = "push or copy the manifest again under the tags that it needs, and do not remove single tags in this registry"
	}
	return f
}
