package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type repoTagsOptions struct {
	progressFlags
	formatFlags
	targetFlags
	last         string
	limit        int
	sort         string
	noDigestTags bool
	details      bool
}

// tagOrders are the values of --sort.
func tagOrders() map[string]func([]string) {
	return map[string]func([]string){"name": slices.Sort[[]string], "semver": graph.SortVersions}
}

func newRepoTags(a *app) *cobra.Command {
	o := &repoTagsOptions{}
	cmd := &cobra.Command{
		Use:     "tags [flags] NAME[:TAG|@DIGEST]",
		Aliases: []string{"show-tags"},
		Short:   "List the tags of a repository",
		Long: `List the tags of a repository in its own order, or in that of --sort; with a tag
or digest, only those that name the same manifest, which is asked of each.

--sort semver is the order of versions, oldest first: v1.2, v1.10.0-rc.1, 1.10.0.
Missing numbers count as 0; what is no version stands after the versions, by name.

--details reads what each tag names: its digest, the size of the manifest with
its blobs (not of an index), the kind of manifest, the artifact type, and when it
was created, which for an image is in its config and costs another request. What
cannot be read has its reason in the JSON, and on stderr.

The list is printed when all of it is there.`,
		Example: `  {name} repo tags localhost:5000/app
  {name} repo tags --sort semver --exclude-digest-tags --details localhost:5000/app
  {name} repo tags localhost:5000/app:latest`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runRepoTags(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.last, "last", "", "begin after this `TAG`, in the repository's order")
	fs.Var((*atLeastOne)(&o.limit), "limit", "list this `NUMBER` of tags at most; all by default")
	fs.StringVar(&o.sort, "sort", "", "`ORDER` of the tags: semver or name; the repository's by default")
	fs.BoolVar(&o.noDigestTags, "exclude-digest-tags", false, "leave out tags that are made of a digest, as sha256-HEX and sha256-HEX.sig are")
	fs.BoolVar(&o.details, "details", false, "show what each tag names")
	complete(cmd, "sort", "semver", "name")
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runRepoTags(ctx context.Context, a *app, o *repoTagsOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	order := tagOrders()[o.sort]
	if o.sort != "" && order == nil {
		return fmt.Errorf("%w: --sort is semver or name, not %q", store.ErrUsage, o.sort)
	}
	ref, err := o.targetFlags.parse(arg)
	if err == nil && ref.Reference() != "" {
		err = require(ref)
	}
	if err != nil {
		return cannot("list the tags of", ref, err)
	}
	t := o.quiet(a)
	opts := graph.TagsOptions{After: o.last, NoDigestTags: o.noDigestTags, Sort: order, Limit: o.limit, Events: t.sink}
	var tags []string
	var details []graph.TagDetail
	err = a.within(ref, &o.targetFlags, t.sink, func(s store.Store) error {
		if name := ref.Reference(); name != "" {
			d, err := s.Resolve(ctx, name)
			if err != nil {
				return err
			}
			opts.Of = d.Digest
		}
		if tags, err = graph.ListTags(ctx, s, opts); err != nil || !o.details {
			return err
		}
		details, err = graph.DetailTags(ctx, s, tags, graph.Options{Events: t.sink})
		return err
	})
	t.finish()
	if err != nil {
		return cannot("list the tags of", ref, err)
	}
	if !o.details {
		value := ui.TagsResult{Tags: tags, Notes: t.seen.Notes()}
		return ui.Print(a.streams.Out, format, value, value.Text)
	}
	value := detailed(ref, details, t.seen.Notes())
	return ui.Print(a.streams.Out, format, value, value.Table)
}

// detailed is the result of --details: a tag that went away meanwhile is in no list.
func detailed(ref store.Ref, details []graph.TagDetail, notes ui.Notes) ui.TagsResult {
	var list ui.List[ui.TagDetail]
	value := ui.TagsResult{Notes: notes, Details: &list}
	for _, d := range details {
		shown := ui.NewTagDetail(ref, d.Tag, d.Descriptor, d.Content)
		shown.Created = d.Created
		if d.Err != nil {
			shown.Error = d.Err.Error()
		}
		value.Tags = append(value.Tags, d.Tag)
		list = append(list, shown)
	}
	return value
}
