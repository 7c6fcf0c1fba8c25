package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type pushOptions struct {
	progressFlags
	formatFlags
	targetFlags
	packFlags
	dryRun      bool
	concurrency int
}

func newPush(a *app) *cobra.Command {
	o := &pushOptions{}
	cmd := &cobra.Command{
		Use:   "push [flags] NAME[:TAG[,TAG...]] [FILE[:TYPE]...]",
		Short: "Push files and directories as an artifact",
		Long: `Push files and directories as an artifact. The digest depends on names, content
and flags alone: not on the clock, the machine or the registry. The kind of
manifest is what --manifest-kind says; a registry that does not take it is an
error, never a reason for another kind.

Without a file it is an empty artifact, of annotations and a type alone.

The media type of a file follows its last colon; a name with a colon ends with
one more (a:b:).

- as a FILE is standard input, pushed as the file that --stdin-as names; so the
digest is that of such a file. It is read once, while it is sent: more than a few
MiB of it cannot be sent again when the connection breaks.

--annotation is about the manifest. --file-annotation FILE:KEY=VALUE is about a
file, which is named as on the command line, without its type; the longest name
that fits counts. An annotation file has all of them.`,
		Example: `  {name} push localhost:5000/app:v1 hello.txt:text/plain
  {name} push localhost:5000/app:v1,latest ./site --artifact-type application/vnd.example.site
  {name} push --dry-run localhost:5000/app:v1 ./site
  {name} push --file-annotation hello.txt:org.example.lang=en localhost:5000/app:v1 hello.txt:text/plain
  pg_dump app | {name} push localhost:5000/dump:v1 - --stdin-as dump.sql:application/sql`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runPush(cmd.Context(), a, o, args[0], args[1:]) },
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the digest that a push would make; use no network")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	o.packFlags.register(cmd)
	o.connections = several
	o.actions = toPush
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerChunks(cmd)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runPush(ctx context.Context, a *app, o *pushOptions, arg string, files []string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.targetFlags.parse(arg)
	if err == nil && ref.Digest != "" {
		err = &store.RefError{Ref: arg, Reason: "a push makes its digest; give a tag, or nothing"}
	}
	if err != nil {
		return cannot("push to", ref, err)
	}
	request, err := o.request(a, files)
	if err == nil {
		err = o.checkStdin(&o.packFlags)
	}
	if err != nil {
		return cannot("push", ref, err)
	}
	pkg, err := artifact.Pack(ctx, request)
	if err != nil {
		return cannot("push", ref, err)
	}
	if len(files) == 0 {
		fmt.Fprintf(a.streams.Err, "%s: no files: an empty artifact\n", a.name)
	}
	t, err := o.start(a, ui.PushVerbs())
	if err != nil {
		return err
	}
	root, err := o.send(ctx, a, ref, pkg, t.sink)
	t.finish()
	if err != nil {
		return cannot("push", ref, err)
	}
	root.ArtifactType = pkg.Decision.Type()
	value := ui.NewPushResult(ref, root, t.seen.Notes())
	if o.dryRun {
		value.DryRun = true
		return ui.Print(a.streams.Out, format, value, value.DryRunText)
	}
	return ui.Print(a.streams.Out, format, value, value.Text)
}

// send sends the package, or for a dry run only reads it.
func (o *pushOptions) send(ctx context.Context, a *app, ref store.Ref, pkg *artifact.Package, sink store.Sink) (root store.Descriptor, err error) {
	parts, exported, err := o.parts(pkg)
	if err != nil {
		return root, err
	}
	defer func() { err = exported(err) }()
	if o.dryRun {
		descs, err := pkg.Hash(ctx, sink)
		if err != nil {
			return root, err
		}
		m, err := parts.Finish(descs)
		return m.Descriptor, err
	}
	err = a.within(ref, &o.targetFlags, sink, func(s store.Store) error {
		result, err := graph.Push(ctx, parts, s, graph.Options{Tags: ref.Tags, Concurrency: o.concurrency, Events: sink})
		root = result.Root
		return err
	})
	return root, err
}
