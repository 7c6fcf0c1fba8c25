package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

func newManifest(a *app) *cobra.Command {
	return group("manifest", "Fetch, check, push and delete manifests and indexes", nil,
		newManifestFetch(a), newManifestFetchConfig(a), newManifestPush(a), newManifestDelete(a), newManifestValidate(a),
		newIndex(a))
}

type manifestFetchOptions struct {
	progressFlags
	formatFlags
	targetFlags
	platform   string
	descriptor bool
	pretty     bool
	output     string
	mediaTypes []string
}

func newManifestFetch(a *app) *cobra.Command {
	o := &manifestFetchOptions{}
	cmd := &cobra.Command{
		Use:     "fetch [flags] NAME{:TAG|@DIGEST}",
		Aliases: []string{"get", "show"},
		Short:   "Print the exact bytes of a manifest",
		Example: `  {name} manifest fetch localhost:5000/app:v1
  {name} manifest fetch --descriptor --pretty localhost:5000/app:v1
  {name} manifest fetch -o manifest.json oci:backup:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runManifestFetch(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.platform, "platform", "", "fetch this `OS[/ARCH[/VARIANT]][:OSVERSION]` of an index")
	fs.BoolVar(&o.descriptor, "descriptor", false, "print the descriptor instead")
	fs.BoolVar(&o.pretty, "pretty", false, "indent the JSON; the bytes printed then have another digest")
	fs.StringVarP(&o.output, "output", "o", "", "write the bytes to `FILE`; - is standard output")
	fs.StringSliceVar(&o.mediaTypes, "media-type", nil, "take only these media `TYPES`")
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runManifestFetch(ctx context.Context, a *app, o *manifestFetchOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.named("fetch the manifest of", arg)
	if err != nil {
		return err
	}
	t := o.quiet(a)
	m, err := fetchManifest(ctx, a, o, ref, t.sink)
	t.finish()
	if err != nil {
		return cannot("fetch the manifest of", ref, err)
	}
	if o.output != "" && o.output != "-" {
		if err := artifact.WriteBlob(ctx, store.NewBlob(m.MediaType, m.Raw), o.output); err != nil {
			return cannot("write the manifest of", ref, err)
		}
		if format.Kind == ui.KindText && !o.descriptor {
			return nil
		}
	}
	if o.descriptor {
		return printJSON(a.streams.Out, m.Descriptor, o.pretty)
	}
	value := ui.NewManifestResult(ref, m)
	return ui.Print(a.streams.Out, format, value, func(w io.Writer) error { return writeManifest(w, m.Raw, o.pretty) })
}

func fetchManifest(ctx context.Context, a *app, o *manifestFetchOptions, ref store.Ref, sink store.Sink) (m store.Manifest, err error) {
	s, err := a.open(ref, &o.targetFlags, sink)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	name := ref.Reference()
	if o.platform != "" {
		d, err := selectPlatform(ctx, s, name, o.platform)
		if err != nil {
			return m, err
		}
		name = d.Digest.String()
	}
	if m, err = s.Manifest(ctx, name); err != nil {
		return m, err
	}
	if len(o.mediaTypes) > 0 && !slices.Contains(o.mediaTypes, m.MediaType) {
		return m, fmt.Errorf("%w: its media type is %s", store.ErrNotFound, m.MediaType)
	}
	return m, nil
}

// writeManifest prints the bytes as they are, or indented.
func writeManifest(w io.Writer, raw []byte, pretty bool) error {
	if pretty {
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return fmt.Errorf("%w: %w", store.ErrInvalid, err)
		}
		b.WriteByte('\n')
		raw = b.Bytes()
	}
	_, err := w.Write(raw)
	return err
}

// printJSON prints a value in one line, as ORAS's --descriptor does, or indented.
func printJSON(w io.Writer, v any, pretty bool) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if !pretty {
		raw = append(raw, '\n')
	}
	return writeManifest(w, raw, pretty)
}

type manifestPushOptions struct {
	progressFlags
	formatFlags
	targetFlags
	mediaType   string
	descriptor  bool
	pretty      bool
	concurrency int
	noPreflight bool
	noValidate  bool
}

func newManifestPush(a *app) *cobra.Command {
	o := &manifestPushOptions{}
	cmd := &cobra.Command{
		Use:   "push [flags] NAME[:TAG[,TAG...]|@DIGEST] {FILE|-}",
		Short: "Push a manifest as it is",
		Long: `Push the exact bytes of a file as a manifest. What it names has to be in the
repository already, except for its subject. A manifest that breaks its
specification is refused before it is sent; --no-validate pushes it as long as
it can be read in one way only.`,
		Example: `  {name} manifest push localhost:5000/app:v1 manifest.json
  {name} manifest push --media-type application/vnd.oci.image.index.v1+json localhost:5000/app:all -`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runManifestPush(cmd.Context(), a, o, args[0], args[1])
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.mediaType, "media-type", "", "media `TYPE`, where the manifest does not say it")
	fs.BoolVar(&o.descriptor, "descriptor", false, "print the descriptor")
	fs.BoolVar(&o.pretty, "pretty", false, "indent the descriptor")
	fs.BoolVar(&o.noPreflight, "no-preflight", false, "put without asking first whether the registry takes it")
	fs.BoolVar(&o.noValidate, "no-validate", false, "push it although it breaks its specification")
	fs.IntVar(&o.concurrency, "concurrency", 0, "")
	_ = fs.MarkHidden("concurrency") // ORAS has it; tags are one request each
	o.actions = toPush
	o.targetFlags.register(a, cmd, &o.progressFlags, true)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runManifestPush(ctx context.Context, a *app, o *manifestPushOptions, arg, file string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.targetFlags.parse(arg)
	if err == nil {
		err = o.stdinFor(file)
	}
	if err != nil {
		return cannot("push the manifest "+file, ref, err)
	}
	m, err := readManifest(a, file, o.mediaType)
	if err == nil && !o.noValidate {
		err = refuseInvalid(a, file, ref, m)
	}
	if err == nil && ref.Digest != "" {
		m.Digest = ref.Digest // which may be of another algorithm
		err = store.CheckManifest(m, ref.Digest)
		if err != nil {
			return contradicted("push the manifest "+file+" to "+ref.String(), ref, err)
		}
	}
	if err != nil {
		return cannot("push the manifest "+file+" to", ref, err)
	}
	t, err := o.start(a, ui.PushVerbs())
	if err != nil {
		return err
	}
	err = o.put(ctx, a, ref, m, t.sink)
	t.finish()
	if err != nil {
		return cannot("push the manifest "+file+" to", ref, err)
	}
	if o.descriptor {
		return printJSON(a.streams.Out, m.Descriptor, o.pretty)
	}
	value := ui.NewPushResult(ref, m.Descriptor, t.seen.Notes())
	return ui.Print(a.streams.Out, format, value, value.Text)
}

func (o *manifestPushOptions) put(ctx context.Context, a *app, ref store.Ref, m store.Manifest, sink store.Sink) (err error) {
	s, err := a.open(ref, &o.targetFlags, sink)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return graph.Put(ctx, m, s, graph.CopyOptions{Options: graph.Options{Tags: ref.Tags, Events: sink}, NoPreflight: o.noPreflight})
}

// maxManifest bounds a manifest that is read from a file or standard input:
// what registries have to take (distribution-spec "Pushing manifests").
const maxManifest = remote.DefaultMaxManifest

// readDocument reads a file or, for "-", standard input.
func readDocument(a *app, file string) ([]byte, error) {
	in := a.streams.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxManifest+1))
	if err == nil && int64(len(raw)) > maxManifest {
		err = fmt.Errorf("%w: %s has more than %d bytes", store.ErrTooLarge, file, maxManifest)
	}
	return raw, err
}

// readManifest reads a manifest from a file or, for "-", standard input. The
// media type is the document's own or, where it has none, the flag's.
func readManifest(a *app, file, mediaType string) (m store.Manifest, err error) {
	raw, err := readDocument(a, file)
	if err != nil {
		return m, err
	}
	if err := store.CheckJSON(raw); err != nil {
		return m, fmt.Errorf("%s: %w", file, err)
	}
	var doc struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return m, fmt.Errorf("%s: %w: %w", file, store.ErrInvalid, err)
	}
	switch {
	case doc.MediaType == "" && mediaType == "":
		return m, fmt.Errorf("%w: %s does not say its mediaType; give --media-type", store.ErrUsage, file)
	case mediaType == "":
		mediaType = doc.MediaType
	case doc.MediaType != "" && doc.MediaType != mediaType:
		return m, fmt.Errorf("%w: %s says that its media type is %s", store.ErrUsage, file, doc.MediaType)
	}
	m = store.NewManifest(mediaType, raw)
	if _, err := store.ParseOutline(m); err != nil && !errors.Is(err, store.ErrUnsupported) {
		return m, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}
