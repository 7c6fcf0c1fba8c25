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
layout.

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

  # only that everything is there, with the right size; no blob is read
  {name} verify --shallow localhost:5000/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runVerify(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.recursive, "recursive", "r", false, "verify what refers to the artifact too")
	fs.BoolVar(&o.shallow, "shallow", false, "see that blobs are there with their sizes; do not read them")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	o.targetFlags.register(cmd, &o.progressFlags, true)
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
	var found graph.VerifyResult
	err = a.within(ref, &o.targetFlags, t.sink, func(s store.Store) error {
		names, err := namesOf(ctx, s, ref)
		if err != nil {
			return err
		}
		found, err = graph.Verify(ctx, s, graph.VerifyRoots(names...), graph.VerifyOptions{
			Referrers: o.recursive, Shallow: o.shallow, Concurrency: o.concurrency, Events: t.sink, Unpack: artifact.Decompress,
		})
		return err
	})
	t.finish()
	if err != nil {
		return cannot("verify", ref, err)
	}
	value := o.result(ref, found, t.seen.Notes())
	if err := ui.Print(a.streams.Out, format, value, value.Text); err != nil {
		return err
	}
	if !value.OK {
		return &verdict{fmt.Sprintf("%d faults", len(value.Faults))}
	}
	return nil
}

// namesOf are the digest or the tags of ref, and without any all tags of the store.
func namesOf(ctx context.Context, s store.Reader, ref store.Ref) ([]string, error) {
	switch {
	case ref.Digest != "":
		return []string{ref.Digest.String()}, nil
	case len(ref.Tags) > 0:
		return ref.Tags, nil
	}
	tags, err := store.Collect(s.Tags(ctx, ""))
	if err == nil && len(tags) == 0 {
		// To find no fault in nothing would look like a proof.
		err = fmt.Errorf("%w: it has no tags; name a manifest by its digest", store.ErrNotFound)
	}
	return tags, err
}

func (o *verifyOptions) result(ref store.Ref, found graph.VerifyResult, notes ui.Notes) ui.VerifyResult {
	value := ui.NewVerifyResult(ref, notes)
	value.OK, value.Shallow, value.Recursive = len(found.Faults) == 0, o.shallow, o.recursive
	value.Manifests, value.Blobs, value.Bytes = found.Manifests, found.Blobs, found.Bytes
	for _, d := range found.Roots {
		value.Roots = append(value.Roots, ui.Describe(ref, d))
	}
	for _, f := range found.Faults {
		e := ui.Fault{
			Kind: string(f.Kind), Path: f.Path, MediaType: f.Desc.MediaType, Digest: f.Desc.Digest,
			Expected: f.Expected, Got: f.Got, Reason: f.Reason,
		}
		if name := store.NameOf(f.Desc); name != f.Desc.MediaType {
			e.Title = name
		}
		value.Faults = append(value.Faults, e)
	}
	return value
}
