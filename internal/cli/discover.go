package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type discoverOptions struct {
	progressFlags
	formatFlags
	targetFlags
	output       string
	platform     string
	artifactType string
	annotations  []string
	depth        int
	manifests    bool
	digestTags   bool
	latest       bool
}

// discoverForms are the values of --format, the default first.
func discoverForms() []ui.Kind {
	return []ui.Kind{ui.KindTree, ui.KindTable, ui.KindJSON, ui.KindTemplate, ui.KindMermaid, ui.KindDot}
}

// tableDepth is how far a table looks where no depth is given, as ORAS's does.
const tableDepth = 1

// showManifests is the default of --manifests.
const showManifests = true

func newDiscover(a *app) *cobra.Command {
	o := &discoverOptions{}
	o.connections = several
	cmd := &cobra.Command{
		Use:   "discover [flags] NAME{:TAG|@DIGEST}",
		Short: "Show what refers to an artifact",
		Long: `Show what refers to an artifact, what refers to that, and so on, as a tree.
Referrers stand by artifact type, then by when they were made
(org.opencontainers.image.created), then by digest. What is no referrer stands in
brackets: annotations, the manifests of an index, what a digest tag names.

A level of the tree is what refers to something, what an index holds, and with
--digest-tags what cosign's tags name (ALG-HEX.sig, .att, .sbom). --artifact-type
and --annotation filter every level: what is left out is not followed. The
manifests of an index are never left out by them.

--latest shows, of the referrers of one artifact that have the same type, the
newest alone. Those that do not say when they were made count as the oldest; of
several that are equally new it is the one with the greatest digest, and where
more than one says nothing, a warning tells that.

A table has one level unless --depth says otherwise.`,
		Example: `  {name} discover localhost:5000/app:v1
  {name} discover --artifact-type application/spdx+json --latest --format json localhost:5000/app:v1
  {name} discover --digest-tags --annotation reviewed-by=alice oci:backup:v1
  {name} discover --format dot localhost:5000/app:v1 | dot -Tsvg > app.svg`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runDiscover(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.artifactType, "artifact-type", "", "show only referrers of this `TYPE`")
	fs.StringArrayVar(&o.annotations, "annotation", nil, "show only referrers that have this annotation, `KEY[=VALUE]`")
	fs.Var((*atLeastOne)(&o.depth), "depth", "show this `NUMBER` of levels; all by default")
	fs.StringVar(&o.platform, "platform", "", "begin at this `OS[/ARCH[/VARIANT]][:OSVERSION]` of an index")
	fs.BoolVar(&o.manifests, "manifests", showManifests, "also show the manifests of an index, and what refers to them")
	fs.BoolVar(&o.digestTags, "digest-tags", false, "also show what tags made of a digest name, such as cosign's; lists all tags")
	fs.BoolVar(&o.latest, "latest", false, "show only the newest referrer of each type")
	fs.BoolVar(&o.noTTY, "no-tty", false, "no colours, also on a terminal")
	o.targetFlags.register(a, cmd, &o.progressFlags, true)
	o.registerDebug(cmd)
	var forms []string
	for _, f := range discoverForms() {
		forms = append(forms, string(f))
	}
	fs.StringVar(&o.format, "format", string(ui.KindTree), "`FORM` of the result: "+strings.Join(forms, ", ")+"; go-template takes =TEMPLATE")
	fs.StringVar(&o.template, "template", "", templateUsage)
	complete(cmd, "format", forms...)
	fs.StringVarP(&o.output, "output", "o", "", "")
	_ = fs.MarkHidden("output") // ORAS's old name of --format
	cmd.MarkFlagsMutuallyExclusive("output", "format")
	return cmd
}

// form reads --format, or ORAS's old --output, and sets what depends on it.
func (o *discoverOptions) form() (ui.Format, error) {
	flag, kinds := o.format, discoverForms()
	if o.output != "" {
		flag, kinds = o.output, []ui.Kind{ui.KindTree, ui.KindJSON, ui.KindTable}
	}
	format, err := ui.ParseFormat(flag, o.template, kinds...)
	if format.Kind == ui.KindTable && o.depth == 0 {
		o.depth = tableDepth
	}
	return format, err
}

// keep is the filter of --annotation: every one has to be there.
func (o *discoverOptions) keep() (func(store.Descriptor) bool, error) {
	for _, want := range o.annotations {
		if want == "" || want[0] == '=' {
			return nil, fmt.Errorf("%w: --annotation %q is not KEY or KEY=VALUE", store.ErrUsage, want)
		}
	}
	return func(d store.Descriptor) bool {
		for _, want := range o.annotations {
			key, value, given := strings.Cut(want, "=")
			if has, there := d.Annotations[key]; !there || given && has != value {
				return false
			}
		}
		return true
	}, nil
}

func runDiscover(ctx context.Context, a *app, o *discoverOptions, arg string) error {
	format, err := o.form()
	if err != nil {
		return err
	}
	keep, err := o.keep()
	if err != nil {
		return err
	}
	ref, err := o.named("list what refers to", arg)
	if err != nil {
		return err
	}
	t := o.quiet(a)
	opts := graph.DiscoverOptions{
		Depth: o.depth, ArtifactType: o.artifactType, Keep: keep,
		Manifests: o.manifests, DigestTags: o.digestTags, Latest: o.latest, Events: t.sink,
	}
	var top *graph.Branch
	err = a.within(ref, &o.targetFlags, t.sink, func(s store.Store) error {
		root, err := resolveIn(ctx, s, ref, o.platform)
		if err != nil {
			return err
		}
		top, err = graph.Discover(ctx, s, root, opts)
		return err
	})
	t.finish()
	if err != nil {
		return cannot("list what refers to", ref, err)
	}
	value := ui.NewDiscoverResult(ref, discovered(ref, top), t.seen.Notes())
	texts := map[ui.Kind]func(io.Writer) error{
		ui.KindTree:    value.Tree(a.streams.OutColor() && !o.noTTY, o.verbose),
		ui.KindTable:   value.Table,
		ui.KindMermaid: value.Mermaid,
		ui.KindDot:     value.Dot,
	}
	return ui.Print(a.streams.Out, format, value, texts[format.Kind])
}

// discovered is a branch as results show it.
func discovered(ref store.Ref, b *graph.Branch) ui.Discovered {
	d := ui.Discovered{Descriptor: ui.Describe(ref, b.Descriptor), Platform: b.Platform, Tag: b.Tag, Repeated: b.Repeated}
	for _, r := range b.Referrers {
		d.Referrers = append(d.Referrers, discovered(ref, r))
	}
	for _, m := range b.Manifests {
		d.Manifests = append(d.Manifests, discovered(ref, m))
	}
	for _, t := range b.DigestTags {
		d.DigestTags = append(d.DigestTags, discovered(ref, t))
	}
	return d
}
