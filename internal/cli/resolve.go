package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/store"
)

type resolveOptions struct {
	progressFlags
	formatFlags
	targetFlags
	platform string
	full     bool
}

func newResolve(a *app) *cobra.Command {
	o := &resolveOptions{}
	cmd := &cobra.Command{
		Use:     "resolve [flags] NAME{:TAG|@DIGEST}",
		Aliases: []string{"digest"},
		Short:   "Print the digest that a tag names",
		Example: `  {name} resolve localhost:5000/app:v1
  {name} resolve -l localhost:5000/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runResolve(cmd.Context(), a, o, args[0]) },
	}
	cmd.Flags().BoolVarP(&o.full, "full-reference", "l", false, "print the whole reference with the digest")
	cmd.Flags().StringVar(&o.platform, "platform", "", "resolve this `OS[/ARCH[/VARIANT]][:OSVERSION]` of an index")
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runResolve(ctx context.Context, a *app, o *resolveOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.named("resolve", arg)
	if err != nil {
		return err
	}
	t := o.quiet(a)
	d, err := o.resolve(ctx, a, ref, t.sink)
	t.finish()
	if err != nil {
		return cannot("resolve", ref, err)
	}
	return ui.Print(a.streams.Out, format, ui.Describe(ref, d), func(w io.Writer) error {
		line := d.Digest.String()
		if o.full {
			line = ref.Name() + "@" + line
			if o.layout {
				line = ref.Display() + "@" + d.Digest.String() // as --oci-layout takes it
			}
		}
		_, err := fmt.Fprintln(w, ui.Escape(line))
		return err
	})
}

// resolve opens the store of ref and asks it what ref names.
func (o *resolveOptions) resolve(ctx context.Context, a *app, ref store.Ref, sink store.Sink) (d store.Descriptor, err error) {
	err = a.within(ref, &o.targetFlags, sink, func(s store.Store) error {
		d, err = resolveIn(ctx, s, ref, o.platform)
		return err
	})
	return d, err
}

// resolveIn asks a store what ref names, or which of its manifests is for a platform.
// What a tag names is read: the header of an answer to HEAD is only what the
// registry says, and a digest that was never computed is not to be repeated.
func resolveIn(ctx context.Context, s store.Store, ref store.Ref, platform string) (store.Descriptor, error) {
	switch {
	case platform != "":
		return selectPlatform(ctx, s, ref.Reference(), platform)
	case store.IsDigest(ref.Reference()):
		return s.Resolve(ctx, ref.Reference())
	}
	m, err := s.Manifest(ctx, ref.Reference())
	return m.Descriptor, err
}
