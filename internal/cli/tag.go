package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/store"
)

type tagOptions struct {
	progressFlags
	formatFlags
	targetFlags
	concurrency int
}

func newTag(a *app) *cobra.Command {
	o := &tagOptions{}
	cmd := &cobra.Command{
		Use:     "tag [flags] NAME{:TAG|@DIGEST} TAG...",
		Short:   "Point tags at an artifact",
		Example: `  {name} tag localhost:5000/app:v1 v1.0 latest`,
		Args:    cobra.MinimumNArgs(2),
		RunE:    func(cmd *cobra.Command, args []string) error { return runTag(cmd.Context(), a, o, args[0], args[1:]) },
	}
	o.actions = toPush
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	cmd.Flags().IntVar(&o.concurrency, "concurrency", 0, "")
	_ = cmd.Flags().MarkHidden("concurrency") // ORAS has it; tags are one request each
	return cmd
}

func runTag(ctx context.Context, a *app, o *tagOptions, arg string, tags []string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.targetFlags.parse(arg)
	if err == nil {
		err = require(ref)
	}
	if err == nil {
		err = o.checkTags(ref, tags)
	}
	if err != nil {
		return cannot("tag", ref, err)
	}
	t := o.quiet(a)
	m, err := o.tagAll(ctx, a, ref, tags, t.sink)
	t.finish()
	if err != nil {
		return cannot("tag", ref, err)
	}
	value := ui.NewPushResult(ref.WithTags(tags...), m.Descriptor, t.seen.Notes())
	return ui.Print(a.streams.Out, format, value, value.TagText)
}

// checkTags reads each new tag as part of a reference, so that one grammar decides.
func (o *tagOptions) checkTags(ref store.Ref, tags []string) error {
	if ref.Scheme != store.SchemeRegistry {
		return nil
	}
	for _, t := range tags {
		if r, err := store.ParseRef(ref.Name() + ":" + t); err != nil || len(r.Tags) != 1 || r.Digest != "" {
			return fmt.Errorf("%w: %q is not a tag", store.ErrUsage, t)
		}
	}
	return nil
}

// tagAll puts the exact bytes of the manifest again under each tag, which is
// how the distribution-spec tags.
func (o *tagOptions) tagAll(ctx context.Context, a *app, ref store.Ref, tags []string, sink store.Sink) (m store.Manifest, err error) {
	err = a.within(ref, &o.targetFlags, sink, func(s store.Store) error {
		if m, err = s.Manifest(ctx, ref.Reference()); err != nil {
			return err
		}
		return s.PutManifest(ctx, m, tags...)
	})
	return m, err
}
