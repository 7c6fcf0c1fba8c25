package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

type verifyOptions struct {
	progressFlags
	formatFlags
	targetFlags
	recursive   bool
	shallow     bool
	concurrency int
}

func newVerify(a *app) *cobra.Command {
	o := &verifyOptions{}
	o.connections = several
	cmd := &cobra.Command{
		Use:   "verify [flags] NAME[:TAG[,TAG...]|@DIGEST]",
		Short: "Prove every digest, size and link of what is stored",
		Long: `Read everything under a manifest again and prove it: manifests, configs, layers,
the manifests of an index, the subject, and with -r whatever refers to any of
them. Without a tag or digest, everything under every tag of the repository or
layout, or of all repositories of a backup. In a layout or tar that is also what
no tag leads to; a registry cannot list that.

What is proven: that content is there, with the digest and size that it is named
by; that manifests follow their specification and are of the kind they are named
as; that the content which a descriptor carries is the content it names; that
packed directories and the layers of images unpack to what annotations and
configs say. Layers with urls may lie elsewhere.

Findings are the result, and the exit code is then 3. What could not be asked or
read, such as a registry that does not answer, is no finding but an error.`,
		Example: `  {name} verify localhost:5000/app:v1

  # a whole layout, with all referrers
  {name} verify -r oci:backup

  # a backup, with all of its repositories
  {name} verify -r tar:backup.tar

  # only that everything is there, with the right size; no blob is read
  {name} verify --shallow localhost:5000/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runVerify(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.recursive, "recursive", "r", false, "verify what refers to the artifact too")
	fs.BoolVar(&o.shallow, "shallow", false, "see that blobs are there with their sizes; do not read them")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	o.targetFlags.register(a, cmd, &o.progressFlags, true)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runVerify(ctx context.Context, a *app, o *verifyOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.targetFlags.parse(arg)
	if err != nil {
		return cannot("verify", ref, err)
	}
	t, err := o.start(a, ui.VerifyVerbs())
	if err != nil {
		return err
	}
	value := ui.NewVerifyResult(ref)
	value.OK, value.Shallow, value.Recursive = true, o.shallow, o.recursive
	err = o.verify(ctx, a, ref, t.sink, &value)
	t.finish()
	if err != nil {
		return cannot("verify", ref, err)
	}
	value.Notes = t.seen.Notes()
	if err := ui.Print(a.streams.Out, format, value, value.Text); err != nil {
		return err
	}
	if !value.OK {
		return &verdict{fmt.Sprintf("%d faults", len(value.Faults))}
	}
	return nil
}

// oneSided is an error of a graph without the word for the side: there is but one.
func oneSided(err error) error {
	var at *graph.Error
	if !errors.As(err, &at) {
		return err
	}
	return fmt.Errorf("%s: %w", strings.TrimSpace(at.Op+" "+at.Desc.Digest.String()), at.Err)
}

// verify reads what ref means: one store, or all repositories of a backup.
func (o *verifyOptions) verify(ctx context.Context, a *app, ref store.Ref, sink store.Sink, value *ui.VerifyResult) error {
	if ref.Scheme != store.SchemeRegistry && ref.Reference() == "" {
		if found, err := local.Look(ctx, ref.Path); err == nil && found == local.FoundLayouts {
			return o.verifyAll(ctx, a, ref, sink, value)
		}
	}
	return a.within(ref, &o.targetFlags, sink, func(s store.Store) error { return o.verifyIn(ctx, s, ref, sink, value) })
}

// verifyAll verifies every repository in a directory or tar.
func (o *verifyOptions) verifyAll(ctx context.Context, a *app, ref store.Ref, sink store.Sink, value *ui.VerifyResult) (err error) {
	reg, err := a.openRegistry(ref, &o.targetFlags, sink)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	for name, err := range reg.Repositories(ctx, "") {
		if err != nil {
			return err
		}
		s, err := reg.Repository(ctx, name)
		if err != nil {
			return err
		}
		in := ref
		in.Repo = name
		err = o.verifyIn(ctx, store.VerifyManifests(s), in, sink, value)
		if errors.Is(err, errNoTags) {
			sink.Emit(store.Event{Kind: store.Warning, Name: name, Text: "it has no tags, so nothing of it is verified"})
			err = nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(value.Roots) == 0 && value.OK {
		return fmt.Errorf("%w: none of its repositories has tags", store.ErrNotFound)
	}
	return nil
}

// verifyIn verifies what ref means in one store, and adds what it finds.
func (o *verifyOptions) verifyIn(ctx context.Context, s store.Store, ref store.Ref, sink store.Sink, value *ui.VerifyResult) error {
	names, rest, err := rootsOf(ctx, s, ref)
	if err != nil {
		return err
	}
	found, err := graph.Verify(ctx, s, graph.VerifyRoots(names...), graph.VerifyOptions{
		Rest: rest, Referrers: o.recursive, Shallow: o.shallow, Concurrency: o.concurrency, Events: sink, Unpack: artifact.Decompress,
	})
	if err == nil && len(found.Roots)+len(found.Faults) == 0 {
		err = errNoTags
	}
	if err != nil {
		return oneSided(err)
	}
	addVerified(value, ref, found)
	return nil
}

// errNoTags is ErrNotFound: to find no fault in nothing would look like a proof.
var errNoTags = fmt.Errorf("%w: it has no tags; name a manifest by its digest", store.ErrNotFound)

// rootsOf are the digest or the tags of ref. Without any they are all tags of the
// store, and the rest is what lies in it without one, where the store can tell.
func rootsOf(ctx context.Context, s store.Reader, ref store.Ref) (names []string, rest []store.Descriptor, err error) {
	switch {
	case ref.Digest != "":
		return []string{ref.Digest.String()}, nil, nil
	case len(ref.Tags) > 0:
		return ref.Tags, nil, nil
	}
	if names, err = store.Collect(s.Tags(ctx, "")); err != nil {
		return nil, nil, err
	}
	rest, err = store.Collect(s.Manifests(ctx))
	if errors.Is(err, store.ErrUnsupported) {
		err = nil
	}
	tagged := map[string]bool{}
	for _, tag := range names {
		tagged[tag] = true
	}
	rest = slices.DeleteFunc(rest, func(d store.Descriptor) bool { return tagged[d.Annotations[ocispec.AnnotationRefName]] })
	if err == nil && len(names)+len(rest) == 0 {
		err = errNoTags
	}
	return names, rest, err
}

// addVerified adds what was found in the store of ref. Where that is one of many,
// paths begin with its name, as in "team/app:v1/layers[0]".
func addVerified(value *ui.VerifyResult, ref store.Ref, found graph.VerifyResult) {
	lead, at := "", ref
	if ref.Scheme != store.SchemeRegistry && ref.Repo != "" {
		lead, at.Path = ref.Repo+":", ref.Path+"/"+ref.Repo
	}
	value.OK = value.OK && len(found.Faults) == 0
	value.Manifests += found.Manifests
	value.Blobs += found.Blobs
	value.Bytes += found.Bytes
	for _, d := range found.Roots {
		value.Roots = append(value.Roots, ui.Describe(at, d))
	}
	for _, f := range found.Faults {
		e := ui.Fault{
			Kind: string(f.Kind), Path: lead + f.Path, MediaType: f.Desc.MediaType, Digest: f.Desc.Digest,
			Expected: f.Expected, Got: f.Got, Reason: f.Reason,
		}
		if name := store.NameOf(f.Desc); name != f.Desc.MediaType {
			e.Title = name
		}
		value.Faults = append(value.Faults, e)
	}
}
