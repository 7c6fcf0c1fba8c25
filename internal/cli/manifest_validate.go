package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

type manifestValidateOptions struct {
	progressFlags
	formatFlags
	targetFlags
	mediaType string
}

func newManifestValidate(a *app) *cobra.Command {
	o := &manifestValidateOptions{}
	cmd := &cobra.Command{
		Use:   "validate [flags] {FILE|-|NAME{:TAG|@DIGEST}}",
		Short: "Hold a manifest against its specification",
		Long: `Hold a manifest against its specification: the fields of its kind, the grammar of
media types and digests, and JSON that can be read in one way only. Each fault
is told with its place, a JSON pointer. Errors break a MUST, and the exit code is
then 3; warnings are about what SHOULD be.

The document alone is looked at, not what it names. What exists as a file is a
file, as is what begins with ./ or /; anything else is a reference. A document
that does not say its mediaType is taken for what its fields are of, unless
--media-type says it.`,
		Example: `  {name} manifest validate manifest.json
  {name} manifest validate localhost:5000/app:v1
  {name} manifest fetch oci:backup:v1 | {name} manifest validate --format json -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runManifestValidate(cmd.Context(), a, o, args[0])
		},
	}
	cmd.Flags().StringVar(&o.mediaType, "media-type", "", "media `TYPE` of a file that does not say it")
	complete(cmd, "media-type", store.ManifestTypes()...)
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runManifestValidate(ctx context.Context, a *app, o *manifestValidateOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	m, ref, err := o.read(ctx, a, arg)
	if err != nil {
		return &failure{what: "check " + arg, ref: ref, err: err}
	}
	faults := artifact.Validate(m)
	value := ui.ValidateResult{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, Valid: !artifact.HasErrors(faults), Path: arg}
	if ref.Scheme != "" {
		value.Path, value.Reference = "", ui.Describe(ref, m.Descriptor).Reference
	}
	for _, f := range faults {
		value.Faults = append(value.Faults, ui.ManifestFault{Severity: string(f.Severity), Pointer: f.Pointer, Text: f.Text})
	}
	if err := ui.Print(a.streams.Out, format, value, value.Text); err != nil || value.Valid {
		return err
	}
	return &verdict{counted(faults)}
}

// read gives the manifest that arg means, and the reference where it is one.
func (o *manifestValidateOptions) read(ctx context.Context, a *app, arg string) (m store.Manifest, ref store.Ref, err error) {
	if !o.isFile(arg) {
		ref, err = o.targetFlags.parse(arg)
		if err == nil {
			err = require(ref)
		}
		if err != nil {
			return m, ref, err
		}
		t := o.quiet(a)
		defer t.finish()
		err = a.within(ref, &o.targetFlags, t.sink, func(s store.Store) error {
			m, err = s.Manifest(ctx, ref.Reference())
			return err
		})
		return m, ref, err
	}
	raw, err := readDocument(a, arg)
	if err != nil {
		return m, ref, err
	}
	mediaType := o.mediaType
	if mediaType == "" {
		mediaType = kindOf(raw)
	}
	return store.NewManifest(mediaType, raw), ref, nil
}

// isFile tells a file from a reference. What is neither is called a missing
// file, unless it could be a reference.
func (o *manifestValidateOptions) isFile(arg string) bool {
	if o.layout || o.layoutPath != "" {
		return false
	}
	if arg == "-" || strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") {
		return true
	}
	if _, err := os.Stat(arg); err == nil {
		return true
	}
	_, err := store.ParseRef(arg)
	return err != nil && !strings.Contains(arg, "@") && !strings.HasPrefix(arg, "oci:") && !strings.HasPrefix(arg, "tar:")
}

// kindOf is the media type that a document says it has, else the one whose
// fields it has. What cannot be read is checked as an image: that it cannot be
// read is what will be told.
func kindOf(raw []byte) string {
	var doc struct {
		MediaType any             `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
		Blobs     json.RawMessage `json:"blobs"`
	}
	_ = json.Unmarshal(raw, &doc)
	said, _ := doc.MediaType.(string)
	switch {
	case said != "":
		return said
	case doc.Manifests != nil:
		return store.MediaTypeIndex
	case doc.Blobs != nil:
		return store.MediaTypeArtifact
	}
	return store.MediaTypeImage
}

// counted sums faults up.
func counted(faults []artifact.Fault) string {
	n := map[artifact.Severity]int{}
	for _, f := range faults {
		n[f.Severity]++
	}
	return fmt.Sprintf("errors: %d, warnings: %d", n[artifact.SeverityError], n[artifact.SeverityWarning])
}

// refuseInvalid is what stops the push of a manifest that breaks its
// specification. Warnings do not, nor kinds that nothing is known of: a
// registry may keep them (image-spec considerations.md).
func refuseInvalid(a *app, file string, ref store.Ref, m store.Manifest) error {
	faults := artifact.Validate(m)
	for _, f := range faults {
		if f.Severity != artifact.SeverityError {
			continue
		}
		place := f.Pointer
		if place == "" {
			place = "the document"
		}
		return &failure{
			what: "push the manifest " + file + " to " + ref.String(), ref: ref,
			err: fmt.Errorf("%w: %s: %s: %s (%s)", store.ErrInvalid, file, place, f.Text, counted(faults)),
			do:  fmt.Sprintf("run `%s manifest validate %s` for all of it; --no-validate pushes it as it is", a.name, file),
		}
	}
	return nil
}
