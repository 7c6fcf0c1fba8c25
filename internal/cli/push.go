package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// packFlags say what is packed.
type packFlags struct {
	manifestKind, imageSpec string
	artifactType            string
	config                  string
	platform                string
	annotations             []string
	annotationFile          string
	created                 string
	compress                string
	preserve                []string
	exportManifest          string
	anyPath                 bool
}

func (f *packFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.manifestKind, "manifest-kind", "", "`KIND` of manifest: image (default), image-v1.0 or artifact")
	fs.StringVar(&f.imageSpec, "image-spec", "", "ORAS's `SPELLING` of the same: v1.1, v1.0, v1.1-image, v1.1-artifact")
	fs.StringVar(&f.artifactType, "artifact-type", "", "media `TYPE` of the artifact")
	fs.StringVar(&f.config, "config", "", "`FILE[:TYPE]` to use as the config")
	fs.StringVar(&f.platform, "artifact-platform", "", "write the platform `OS/ARCH[/VARIANT]` into the config")
	fs.StringArrayVarP(&f.annotations, "annotation", "a", nil, "annotate the manifest with `KEY=VALUE`")
	fs.StringVar(&f.annotationFile, "annotation-file", "", "JSON `FILE` of annotations for $manifest, $config and files")
	fs.StringVar(&f.created, "created", "", "write this `TIME` (RFC 3339, or now) as org.opencontainers.image.created")
	fs.StringVar(&f.compress, "compress", "", "compress directories in this `WAY`: gzip (default), zstd or none")
	fs.StringSliceVar(&f.preserve, "preserve", nil, "keep these `PROPERTIES` of files in directories: mode, mtime; they are then in the digest")
	fs.StringVar(&f.exportManifest, "export-manifest", "", "write the manifest to `FILE`")
	fs.BoolVar(&f.anyPath, "disable-path-validation", false, "take absolute paths and paths with .. as they are")
	cmd.MarkFlagsMutuallyExclusive("annotation", "annotation-file")
	var kinds []string
	for _, k := range artifact.Kinds() {
		kinds = append(kinds, string(k))
	}
	complete(cmd, "manifest-kind", kinds...)
	complete(cmd, "image-spec", "v1.1", "v1.0", "v1.1-image", "v1.1-artifact")
	complete(cmd, "compress", "gzip", "zstd", "none")
	complete(cmd, "preserve", "mode", "mtime")
}

// request reads the flags and file arguments.
func (f *packFlags) request(a *app, args []string) (r artifact.PackRequest, err error) {
	r = artifact.PackRequest{ArtifactType: f.artifactType, AnyPath: f.anyPath}
	if r.Kind, err = artifact.ParseKindFlags(f.manifestKind, f.imageSpec); err != nil {
		return r, err
	}
	for _, arg := range args {
		if arg == "-" {
			return r, fmt.Errorf("%w: standard input cannot be pushed; give a file", store.ErrUsage)
		}
		file, err := artifact.ParseFileArg(arg)
		if err != nil {
			return r, err
		}
		r.Files = append(r.Files, file)
	}
	if f.config != "" {
		config, err := artifact.ParseFileArg(f.config)
		if err != nil {
			return r, err
		}
		r.Config = &config
	}
	if f.platform != "" {
		if r.Platform, err = artifact.ParsePlatform(f.platform); err != nil {
			return r, err
		}
	}
	if f.compress != "" {
		if r.Compression, err = artifact.ParseCompression(f.compress); err != nil {
			return r, err
		}
	}
	if r.Preserve, err = parsePreserve(f.preserve); err != nil {
		return r, err
	}
	if r.Annotations, err = f.allAnnotations(); err != nil {
		return r, err
	}
	return r, f.times(a, &r)
}

func parsePreserve(words []string) (p artifact.Preserve, err error) {
	for _, w := range words {
		switch w {
		case "mode":
			p.Mode = true
		case "mtime":
			p.MTime = true
		default:
			return p, fmt.Errorf("%w: --preserve takes mode and mtime, not %q", store.ErrUsage, w)
		}
	}
	return p, nil
}

func (f *packFlags) allAnnotations() (artifact.Annotations, error) {
	if f.annotationFile != "" {
		raw, err := os.ReadFile(f.annotationFile)
		if err != nil {
			return nil, err
		}
		all, err := artifact.ParseAnnotationFile(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.annotationFile, err)
		}
		return all, nil
	}
	pairs, err := artifact.ParseAnnotations(f.annotations)
	if err != nil || len(pairs) == 0 {
		return nil, err
	}
	return artifact.Annotations{artifact.AnnotationsManifest: pairs}, nil
}

// times takes the times that may go into a digest: --created, and what
// SOURCE_DATE_EPOCH says (reproducible-builds.org). The clock is read for
// "--created now" alone.
func (f *packFlags) times(a *app, r *artifact.PackRequest) error {
	if epoch := a.getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil || seconds < 0 {
			return fmt.Errorf("%w: SOURCE_DATE_EPOCH=%q is not a number of seconds", store.ErrUsage, epoch)
		}
		t := time.Unix(seconds, 0).UTC()
		r.SourceDate, r.Created = &t, &t
	}
	switch f.created {
	case "":
	case "now":
		t := a.now().UTC().Truncate(time.Second)
		r.Created = &t
	default:
		t, err := time.Parse(time.RFC3339, f.created)
		if err != nil {
			return fmt.Errorf("%w: --created %q is not a time such as 2024-01-02T03:04:05Z", store.ErrUsage, f.created)
		}
		r.Created = &t
	}
	return nil
}

// parts are the package as graph.Push takes it. The manifest is exported when it
// is made.
func (f *packFlags) parts(pkg *artifact.Package) graph.Parts {
	finish := func(descs []store.Descriptor) (store.Manifest, error) {
		m, err := pkg.Finish(descs)
		if err == nil && f.exportManifest != "" {
			err = os.WriteFile(f.exportManifest, m.Raw, 0o666)
		}
		return m, err
	}
	return graph.Parts{MediaType: pkg.Decision.MediaType, Blobs: pkg.Blobs, Finish: finish, Hash: pkg.Hash}
}

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
one more (a:b:).`,
		Example: `  {name} push localhost:5000/app:v1 hello.txt:text/plain
  {name} push localhost:5000/app:v1,latest ./site --artifact-type application/vnd.example.site
  {name} push --dry-run localhost:5000/app:v1 ./site`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runPush(cmd.Context(), a, o, args[0], args[1:]) },
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the digest that a push would make; use no network")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	o.packFlags.register(cmd)
	o.actions = toPush
	o.targetFlags.register(cmd, &o.progressFlags, false)
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
	parts := o.parts(pkg)
	if o.dryRun {
		descs, err := parts.Hash(ctx)
		if err != nil {
			return root, err
		}
		m, err := parts.Finish(descs)
		return m.Descriptor, err
	}
	s, err := a.open(ref, &o.targetFlags, sink)
	if err != nil {
		return root, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	result, err := graph.Push(ctx, parts, s, graph.Options{Tags: ref.Tags, Concurrency: o.concurrency, Events: sink})
	return result.Root, err
}
