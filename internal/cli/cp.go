package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type copyOptions struct {
	progressFlags
	formatFlags
	from, to    targetFlags
	recursive   bool
	platform    string
	concurrency int
	noPreflight bool
	dryRun      bool
	skipExtinct bool
	resolve     []string
}

func newCopy(a *app) *cobra.Command {
	o := &copyOptions{}
	o.from.prefix, o.to.prefix = "from-", "to-"
	cmd := &cobra.Command{
		Use:     "cp [flags] SOURCE{:TAG|@DIGEST} DESTINATION[:TAG[,TAG...]]",
		Aliases: []string{"copy"},
		Short:   "Copy an artifact, byte by byte, between any two stores",
		Long: `Copy an artifact between registries and layouts. Every byte and every digest
stays as it is; what the destination has is not sent again, and within one
registry blobs are mounted instead of sent.`,
		Example: `  # from a registry to another, under the same tag
  {name} cp localhost:5000/app:v1 localhost:5001/app:v1

  # with everything that refers to it: signatures, SBOMs
  {name} cp -r localhost:5000/app:v1 localhost:5001/app:v1

  # into a layout, and under two tags
  {name} cp localhost:5000/app:v1 oci:backup:v1,latest`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return runCopy(cmd.Context(), a, o, args[0], args[1]) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.recursive, "recursive", "r", false, "copy what refers to the artifact too")
	fs.StringVar(&o.platform, "platform", "", "copy only this `OS[/ARCH[/VARIANT]][:OSVERSION]` of an index, as its own manifest")
	fs.BoolVar(&o.noPreflight, "no-preflight", false, "copy without asking first what the destination takes")
	fs.BoolVar(&o.skipExtinct, "skip-extinct", false, "with -r, leave out artifact manifests that refer to something, with a warning each")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print what would be sent, mounted and skipped; put nothing")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	fs.StringArrayVar(&o.resolve, "resolve", nil, "--from-resolve and --to-resolve in one")
	o.from.register(cmd, &o.progressFlags, true)
	o.to.register(cmd, &o.progressFlags, true)
	o.to.registerChunks(cmd)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runCopy(ctx context.Context, a *app, o *copyOptions, from, to string) error {
	format, err := o.parse()
	if err != nil {
		return err
	}
	o.from.resolve = append(slices.Clone(o.resolve), o.from.resolve...) // the side's own come last and win
	o.to.resolve = append(slices.Clone(o.resolve), o.to.resolve...)
	src, err := o.from.parse(from)
	if err == nil {
		err = require(src)
	}
	if err != nil {
		return cannot("copy from", src, err)
	}
	dst, err := o.to.parse(to)
	if err == nil && dst.Digest != "" && dst.Digest != src.Digest {
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
	result, err := copyBetween(ctx, a, o, sides{src, dst, t.sink})
	t.finish()
	if err != nil {
		return &failure{what: "copy " + src.String() + " to " + dst.String(), ref: dst, from: src, err: err}
	}
	value := ui.NewCopyResult(src, dst, result.Root, t.seen)
	if o.dryRun {
		value.DryRun = true
		value.Counts = ui.Counts{
			Sent: result.Sent, Mounted: result.Mounted, Present: result.Present,
			Bytes: result.Bytes, Skipped: result.Skipped, Manifests: result.Manifests,
		}
		return ui.Print(a.streams.Out, format, value, value.DryRunText)
	}
	return ui.Print(a.streams.Out, format, value, value.Text)
}

// sides are the two references of a transfer and where it tells its events.
type sides struct {
	src, dst store.Ref
	sink     store.Sink
}

func copyBetween(ctx context.Context, a *app, o *copyOptions, s sides) (res graph.Result, err error) {
	from, err := a.open(s.src, &o.from, s.sink)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := a.open(s.dst, &o.to, s.sink)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	ref := s.src.Reference()
	if o.platform != "" {
		d, err := selectPlatform(ctx, from, ref, o.platform)
		if err != nil {
			return res, err
		}
		ref = d.Digest.String()
	}
	return graph.Copy(ctx, from, to, ref, graph.CopyOptions{
		Options:   graph.Options{Tags: s.dst.Tags, Concurrency: o.concurrency, Events: s.sink},
		Referrers: o.recursive, NoPreflight: o.noPreflight, SkipExtinct: o.skipExtinct, DryRun: o.dryRun, Host: s.dst.Host,
	})
}
