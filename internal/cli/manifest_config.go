package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

type fetchConfigOptions struct {
	progressFlags
	formatFlags
	targetFlags
	platform   string
	descriptor bool
	pretty     bool
	output     string
}

func newManifestFetchConfig(a *app) *cobra.Command {
	o := &fetchConfigOptions{}
	cmd := &cobra.Command{
		Use:     "fetch-config [flags] NAME{:TAG|@DIGEST}",
		Aliases: []string{"get-config"},
		Short:   "Print the exact bytes of the config of a manifest",
		Example: `  {name} manifest fetch-config --pretty localhost:5000/app:v1
  {name} manifest fetch-config --platform linux/arm64 localhost:5000/app:all
  {name} manifest fetch-config --descriptor oci:backup:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runFetchConfig(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.platform, "platform", "", "fetch the config of this `OS[/ARCH[/VARIANT]][:OSVERSION]` of an index")
	fs.BoolVar(&o.descriptor, "descriptor", false, "print the descriptor of the config instead")
	fs.BoolVar(&o.pretty, "pretty", false, "indent the JSON; the bytes printed then have another digest")
	fs.StringVarP(&o.output, "output", "o", "", "write the bytes to `FILE`; - is standard output")
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runFetchConfig(ctx context.Context, a *app, o *fetchConfigOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err == nil {
		err = checkOutput(o.output, format, o.descriptor)
	}
	if err != nil {
		return err
	}
	const doing = "fetch the config of"
	ref, err := o.named(doing, arg)
	if err != nil {
		return err
	}
	t := o.quiet(a)
	c, err := o.fetch(ctx, a, ref, t.sink)
	t.finish()
	if err == nil && o.output != "" && o.output != "-" {
		err = artifact.WriteBlob(ctx, store.NewBlob(c.MediaType, c.Raw), o.output)
	}
	switch {
	case err != nil:
		return cannot(doing, ref, err)
	case o.descriptor:
		return printJSON(a.streams.Out, c.Descriptor, o.pretty)
	case o.output != "" && o.output != "-" && format.Kind == ui.KindText:
		return nil
	}
	return ui.Print(a.streams.Out, format, ui.NewManifestResult(ref, c), func(w io.Writer) error { return writeManifest(w, c.Raw, o.pretty) })
}

// fetch gives the config with its bytes, which --descriptor alone does not need.
func (o *fetchConfigOptions) fetch(ctx context.Context, a *app, ref store.Ref, sink store.Sink) (c store.Manifest, err error) {
	err = a.within(ref, &o.targetFlags, sink, func(s store.Store) error {
		d, err := o.find(ctx, a, s, ref)
		c.Descriptor = d
		if err != nil || o.descriptor && o.output == "" {
			return err
		}
		b, err := s.Blob(ctx, d)
		if err != nil {
			return err
		}
		c.Raw, err = store.ReadBlob(ctx, b, maxConfig)
		if errors.Is(err, store.ErrTooLarge) {
			return &failure{
				what: "fetch the config of " + ref.String(), ref: ref, err: err,
				do: fmt.Sprintf("run `%s blob fetch -o FILE %s`", a.name, ref.WithDigest(d.Digest)),
			}
		}
		return err
	})
	return c, err
}

// find gives the config that the manifest names. Indexes and artifact manifests
// have none.
func (o *fetchConfigOptions) find(ctx context.Context, a *app, s store.Store, ref store.Ref) (store.Descriptor, error) {
	name := ref.Reference()
	if o.platform != "" {
		d, err := selectPlatform(ctx, s, name, o.platform)
		if err != nil {
			return d, err
		}
		name = d.Digest.String()
	}
	m, err := s.Manifest(ctx, name)
	if err != nil {
		return store.Descriptor{}, err
	}
	outline, err := store.ParseOutline(m)
	if err != nil {
		return store.Descriptor{}, err
	}
	if outline.Config != nil {
		return *outline.Config, nil
	}
	f := &failure{
		what: "fetch the config of " + ref.String(), ref: ref,
		err: fmt.Errorf("%w: %s is of type %s, which has no config", store.ErrNotFound, m.Digest, m.MediaType),
		do:  fmt.Sprintf("look at the manifest itself: `%s manifest fetch --pretty %s`", a.name, ref),
	}
	if artifact.IsIndex(m.MediaType) {
		f.do = "choose one of its manifests: with --platform, or by its digest"
	}
	return store.Descriptor{}, f
}
