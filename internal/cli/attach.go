package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

type attachOptions struct {
	progressFlags
	formatFlags
	targetFlags
	packFlags
	platform    string
	concurrency int
}

func newAttach(a *app) *cobra.Command {
	o := &attachOptions{}
	cmd := &cobra.Command{
		Use:   "attach [flags] --artifact-type TYPE NAME{:TAG|@DIGEST} {FILE[:TYPE]|--annotation KEY=VALUE}...",
		Short: "Attach files or annotations to an artifact",
		Long: `Attach files or annotations to an artifact: an artifact of its own, which names
the other as its subject and is found through it. The subject stays as it is.

Where a registry has no referrers API, the list of referrers is kept under a
tag (distribution-spec, "Referrers tag schema"); that is said when it happens,
and --distribution-spec forbids or forces it.`,
		Example: `  {name} attach --artifact-type application/vnd.example.sbom localhost:5000/app:v1 sbom.json:application/json
  {name} attach --artifact-type application/vnd.example.review -a reviewed-by=alice localhost:5000/app:v1`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAttach(cmd.Context(), a, o, args[0], args[1:])
		},
	}
	cmd.Flags().StringVar(&o.platform, "platform", "", "attach to this `OS[/ARCH[/VARIANT]][:OSVERSION]` of an index")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	o.packFlags.register(cmd)
	o.connections = several
	o.actions = toPush
	o.targetFlags.register(a, cmd, &o.progressFlags, true)
	o.registerChunks(cmd)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runAttach(ctx context.Context, a *app, o *attachOptions, arg string, files []string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.targetFlags.parse(arg)
	if err == nil {
		err = require(ref)
	}
	if err == nil && o.artifactType == "" {
		err = fmt.Errorf("%w: --artifact-type is missing: what is attached is found by it", store.ErrUsage)
	}
	if err == nil && len(files) == 0 && len(o.annotations) == 0 && o.annotationFile == "" {
		err = fmt.Errorf("%w: there is neither a file nor an annotation to attach", store.ErrUsage)
	}
	if err != nil {
		return cannot("attach to", ref, err)
	}
	t, err := o.start(a, ui.PushVerbs())
	if err != nil {
		return err
	}
	at := &attaching{attachOptions: o, ref: ref, sink: t.sink}
	err = at.run(ctx, a, files)
	t.finish()
	if err != nil {
		return cannot("attach to", ref, err)
	}
	at.root.ArtifactType = o.artifactType
	value := ui.NewAttachResult(ref, at.subject.Digest, at.root, t.seen.Notes())
	return ui.Print(a.streams.Out, format, value, value.Text)
}

// attaching is one attach: what is attached to what.
type attaching struct {
	*attachOptions
	ref     store.Ref
	sink    store.Sink
	subject store.Descriptor
	root    store.Descriptor
}

func (at *attaching) run(ctx context.Context, a *app, files []string) (err error) {
	request, err := at.request(a, files)
	if err == nil {
		err = at.checkStdin(&at.packFlags)
	}
	if err != nil {
		return err
	}
	s, err := a.open(at.ref, &at.targetFlags, at.sink)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if at.subject, err = resolveIn(ctx, s, at.ref, at.platform); err != nil {
		return fmt.Errorf("the subject: %w", err)
	}
	if at.distributionSpec == string(remote.ReferrersAPI) {
		// Asked before anything is sent; where the way is not pinned, the answer
		// to the push itself tells it, and the request is saved.
		if _, err := store.Collect(s.Referrers(ctx, at.subject.Digest, "")); err != nil {
			return err
		}
	}
	request.Subject = &at.subject
	pkg, err := artifact.Pack(ctx, request)
	if err != nil {
		return err
	}
	parts, exported, err := at.parts(pkg)
	if err != nil {
		return err
	}
	defer func() { err = exported(err) }()
	result, err := graph.Push(ctx, parts, s, graph.Options{Concurrency: at.concurrency, Events: at.sink})
	at.root = result.Root
	return err
}
