package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

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
	fileAnnotations         []string
	stdinAs                 string
	created                 string
	compress                string
	preserve                []string
	exportManifest          string
	anyPath                 bool
	stdin                   bool // one of the files is standard input
}

func (f *packFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.manifestKind, "manifest-kind", "", "`KIND` of manifest: image (default), image-v1.0 or artifact")
	fs.StringVar(&f.imageSpec, "image-spec", "", "the same as --manifest-kind in ORAS's `SPELLING`: v1.1, v1.0, v1.1-image, v1.1-artifact")
	fs.StringVar(&f.artifactType, "artifact-type", "", "media `TYPE` of the artifact")
	fs.StringVar(&f.config, "config", "", "`FILE[:TYPE]` to use as the config")
	fs.StringVar(&f.platform, "artifact-platform", "", "write the platform `OS/ARCH[/VARIANT]` into the config")
	fs.StringArrayVarP(&f.annotations, "annotation", "a", nil, "annotate the manifest with `KEY=VALUE`")
	fs.StringVar(&f.annotationFile, "annotation-file", "", "JSON `FILE` of annotations for $manifest, $config and files")
	fs.StringArrayVar(&f.fileAnnotations, "file-annotation", nil, "annotate a file with `FILE:KEY=VALUE`; may be repeated")
	fs.StringVar(&f.stdinAs, "stdin-as", "", "push standard input, which is the file -, as the file `NAME[:TYPE]`")
	fs.StringVar(&f.created, "created", "", "write this `TIME` (RFC 3339, or now) as org.opencontainers.image.created")
	fs.StringVar(&f.compress, "compress", "", "compress directories in this `WAY`: gzip (default), zstd or none")
	fs.StringSliceVar(&f.preserve, "preserve", nil, "keep these `PROPERTIES`: mode of files and in directories, mtime in directories; they are then in the digest")
	fs.StringVar(&f.exportManifest, "export-manifest", "", "write the manifest to `FILE`")
	fs.BoolVar(&f.anyPath, "disable-path-validation", false, "take names and links that pull refuses: absolute paths, .. and control characters")
	cmd.MarkFlagsMutuallyExclusive("annotation", "annotation-file")
	cmd.MarkFlagsMutuallyExclusive("file-annotation", "annotation-file")
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
	if r.Files, err = f.files(a, args); err != nil {
		return r, err
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
	if r.Annotations, err = f.allAnnotations(r.Files); err != nil {
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

// parts are the package as graph.Push takes it. Whether the manifest can be
// exported is found before anything is sent; exported writes it, where err is
// nil, and gives err or its own.
func (f *packFlags) parts(pkg *artifact.Package) (parts graph.Parts, exported func(err error) error, err error) {
	out, err := openExport(f.exportManifest)
	if err != nil {
		return parts, nil, err
	}
	finish := func(descs []store.Descriptor) (store.Manifest, error) {
		m, err := pkg.Finish(descs)
		out.keep(m.Raw)
		return m, err
	}
	parts = graph.Parts{MediaType: pkg.Decision.MediaType, Blobs: pkg.Blobs, Finish: finish, Hash: pkg.Hash}
	if f.stdin {
		parts.Hash = nil // what is read once is read while it is sent
	}
	return parts, out.end, nil
}
