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

type copyOptions struct {
	progressFlags
	formatFlags
	from, to       targetFlags
	recursive      bool
	artifactTypes  []string
	digestTags     bool
	platforms      []string
	allowNewDigest bool
	tagFilter
	force          bool
	concurrency    int
	noPreflight    bool
	dryRun         bool
	skipExtinct    bool
	exportManifest string
	resolve        []string
}

func newCopy(a *app) *cobra.Command {
	o := &copyOptions{}
	o.from.prefix, o.to.prefix = "from-", "to-"
	o.from.connections, o.to.connections = several, several
	cmd := &cobra.Command{
		Use:     "cp [flags] {SOURCE{:TAG|@DIGEST} DESTINATION[:TAG[,TAG...]]|--all-tags SOURCE DESTINATION}",
		Aliases: []string{"copy"},
		Short:   "Copy an artifact, byte by byte, between any two stores",
		Long: `Copy an artifact between registries, layouts and archives. Every byte and every
digest stays as it is; what the destination has is not sent again, and within one
registry blobs are mounted instead of sent. A manifest that the destination has is
trusted to have everything under it; --force looks, and puts what is missing.

One --platform copies that manifest of an index alone; an OS without ARCH is that
of the machine where {name} runs. Several, each with its ARCH, make another index,
which has another digest and loses what refers to the whole one: that has to be
allowed by --allow-new-digest.

With --all-tags one tag that fails does not stop the others; the exit code is that
of the first that failed. Referrers tags (sha256-HEX), which are the registry's own
way to keep lists of referrers, are not copied as tags: -r copies referrers.`,
		Example: `  # from a registry to another, under the same tag
  {name} cp localhost:5000/app:v1 localhost:5001/app:v1

  # with everything that refers to it: signatures, SBOMs
  {name} cp -r localhost:5000/app:v1 localhost:5001/app:v1

  # with signatures that lie under cosign's tags
  {name} cp --digest-tags localhost:5000/app:v1 localhost:5001/app:v1

  # into a layout, and under two tags
  {name} cp localhost:5000/app:v1 oci:backup:v1,latest

  # every tag of a repository
  {name} cp -r --all-tags localhost:5000/app tar:app.tar

  # two platforms of an index, which make another index
  {name} cp --platform linux/amd64,linux/arm64 --allow-new-digest localhost:5000/app:v1 localhost:5001/app:v1`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return runCopy(cmd.Context(), a, o, args[0], args[1]) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.recursive, "recursive", "r", false, "copy what refers to the artifact too")
	fs.StringArrayVar(&o.artifactTypes, "artifact-type", nil, "with -r, copy only referrers of this `TYPE`, at every level")
	fs.BoolVar(&o.digestTags, "digest-tags", false, "copy what cosign's tags name of each manifest (.sig, .att, .sbom), under those tags")
	fs.StringSliceVar(&o.platforms, "platform", nil, "copy only this `OS[/ARCH[/VARIANT]][:OSVERSION]` of an index, as its own manifest; several as a new index")
	fs.BoolVar(&o.allowNewDigest, "allow-new-digest", false, "go on where several platforms make another index, with another digest")
	o.tagFilter.register(cmd)
	fs.BoolVar(&o.force, "force", false, "look for everything under manifests that the destination has, and put what is missing")
	fs.StringVar(&o.exportManifest, "export-manifest", "", "write the manifest that was copied to `FILE`")
	fs.BoolVar(&o.noPreflight, "no-preflight", false, "copy without asking first what the destination takes")
	fs.BoolVar(&o.skipExtinct, "skip-extinct", false, "with -r, leave out artifact manifests that refer to something, with a warning each")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print what would be sent, mounted and skipped; put nothing")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	fs.StringArrayVar(&o.resolve, "resolve", nil, "`HOST:PORT:ADDRESS[:PORT]` for both sides: --from-resolve and --to-resolve in one")
	o.from.register(a, cmd, &o.progressFlags, true)
	o.to.register(a, cmd, &o.progressFlags, true)
	o.to.registerChunks(cmd)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	for _, one := range []string{"platform", "export-manifest"} {
		cmd.MarkFlagsMutuallyExclusive("all-tags", one)
	}
	return cmd
}

func runCopy(ctx context.Context, a *app, o *copyOptions, from, to string) error {
	format, err := o.parse()
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return err
	}
	o.from.resolve = append(slices.Clone(o.resolve), o.from.resolve...) // the side's own come last and win
	o.to.resolve = append(slices.Clone(o.resolve), o.to.resolve...)
	if o.all {
		return runCopyAll(ctx, a, o, from, to)
	}
	src, err := o.from.named("copy from", from)
	if err != nil {
		return err
	}
	dst, err := o.to.parse(to)
	if err == nil && dst.Digest != "" && (dst.Digest != src.Digest || len(o.platforms) > 0) {
		err = &store.RefError{Ref: to, Reason: "a copy keeps its digest; give a tag, or nothing"}
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
	err = c.between(ctx, a, c.one)
	t.finish()
	if err != nil {
		return c.failed(err)
	}
	value := ui.NewCopyResult(src, dst, c.result.Root, t.seen)
	value.CopyDetails = c.details()
	if o.dryRun {
		value.DryRun, value.Counts = true, counts(c.result)
		return ui.Print(a.streams.Out, format, value, value.DryRunText)
	}
	return ui.Print(a.streams.Out, format, value, value.Text)
}

// check holds flags against each other.
func (o *copyOptions) check() error {
	switch {
	case len(o.artifactTypes) > 0 && !o.recursive:
		return fmt.Errorf("%w: --artifact-type is about the referrers that -r copies", store.ErrUsage)
	case o.allowNewDigest && len(o.platforms) < 2:
		return fmt.Errorf("%w: --allow-new-digest is about several platforms; any other copy keeps its digest", store.ErrUsage)
	}
	if err := checkExport(o.exportManifest); err != nil {
		return err
	}
	return o.tagFilter.check()
}

// counts are those of a dry run, which moves nothing that could be counted.
func counts(r graph.Result) ui.Counts {
	return ui.Counts{
		Sent: r.Sent, Mounted: r.Mounted, Present: r.Present,
		Bytes: r.Bytes, Skipped: r.Skipped, Manifests: r.Manifests,
	}
}

// sides are the two references of a transfer and where it tells its events.
type sides struct {
	src, dst store.Ref
	sink     store.Sink
}

// copying is one cp: from where, to where, and what came of it.
type copying struct {
	*copyOptions
	sides
	part   selection
	result graph.Result
	roots  []graph.RootResult // of --all-tags
}

// between opens both sides for do.
func (c *copying) between(ctx context.Context, a *app, do func(ctx context.Context, from, to store.Store) error) error {
	return a.within(c.src, &c.from, c.sink, func(from store.Store) error {
		return a.within(c.dst, &c.to, c.sink, func(to store.Store) error { return do(ctx, from, to) })
	})
}

// one copies one artifact.
func (c *copying) one(ctx context.Context, from, to store.Store) (err error) {
	if c.part, err = c.selectPart(ctx, from, c.src.Reference()); err != nil {
		return err
	}
	if err := c.tellSelected(ctx, c.part, c.sink); err != nil {
		return err
	}
	if c.result, err = graph.Copy(ctx, c.part.src, to, c.part.ref, c.graphOptions()); err != nil || c.exportManifest == "" {
		return err
	}
	m, err := c.part.src.Manifest(ctx, c.result.Root.Digest.String())
	if err != nil {
		return err
	}
	e, err := openExport(c.exportManifest)
	if err != nil {
		return err
	}
	e.keep(m.Raw)
	return e.end(nil)
}

func (c *copying) graphOptions() graph.CopyOptions {
	return graph.CopyOptions{
		Options:   graph.Options{Tags: c.dst.Tags, Concurrency: c.concurrency, Events: c.sink},
		Referrers: c.recursive, ArtifactTypes: c.artifactTypes, DigestTags: c.digestTags, Force: c.force,
		NoPreflight: c.noPreflight, SkipExtinct: c.skipExtinct, DryRun: c.dryRun, Host: c.dst.Host,
		Together: c.dst.Scheme != store.SchemeRegistry,
	}
}

func (c *copying) failed(err error) error {
	return &failure{
		what: "copy " + c.src.String() + " to " + c.dst.String(), ref: c.dst, from: c.src, err: err, do: remedyOf(err),
		tar: c.dst.Scheme == store.SchemeArchive,
	}
}

func (c *copying) details() ui.CopyDetails {
	d := ui.CopyDetails{LeftOut: c.result.LeftOut, DigestTags: c.result.DigestTags}
	if c.part.from != "" {
		d.NewDigest = &ui.NewDigest{Old: c.part.from, New: c.part.to}
	}
	return d
}
