package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

// fetchedType is the media type of a blob that was asked for by its digest:
// what it is, only a manifest says. ORAS has the same.
const fetchedType = "application/octet-stream"

func newBlob(a *app) *cobra.Command {
	return group("blob", "Fetch, push, mount and delete blobs", nil,
		newBlobFetch(a), newBlobPush(a), newBlobMount(a), newBlobDelete(a))
}

// parseBlob reads NAME[@DIGEST]. A blob has no tag. With --oci-layout-path the
// name in front of the digest says nothing, and may be missing.
func (t *targetFlags) parseBlob(arg string) (store.Ref, error) {
	ref, err := t.parse(arg)
	if err != nil {
		return ref, err
	}
	if t.layoutPath != "" {
		name, d, found := strings.Cut(arg, "@")
		if !found && store.IsDigest(name) {
			d, found = name, true
		}
		ref.Tags, ref.Digest = nil, digest.Digest(d)
		if found && !store.IsDigest(d) {
			return store.Ref{}, &store.RefError{Ref: arg, Reason: fmt.Sprintf("%q is not a digest", d)}
		}
	}
	if len(ref.Tags) > 0 {
		return store.Ref{}, &store.RefError{Ref: arg, Reason: "a blob has no tag; name it by its digest"}
	}
	return ref, nil
}

// namedBlob is parseBlob for a command that needs the digest.
func (t *targetFlags) namedBlob(verb, arg string) (store.Ref, error) {
	ref, err := t.parseBlob(arg)
	if err == nil && ref.Digest == "" {
		err = &store.RefError{Ref: arg, Reason: "a digest is missing, as in NAME@sha256:..."}
	}
	if err != nil {
		return ref, cannot(verb, store.Ref{}, err)
	}
	return ref, nil
}

// wanted is the blob of ref, whose size the store will find out.
func wanted(ref store.Ref) store.Descriptor {
	return store.Descriptor{MediaType: fetchedType, Digest: ref.Digest, Size: store.UnknownSize}
}

type blobFetchOptions struct {
	progressFlags
	formatFlags
	targetFlags
	descriptor bool
	pretty     bool
	output     string
}

func newBlobFetch(a *app) *cobra.Command {
	o := &blobFetchOptions{}
	cmd := &cobra.Command{
		Use:     "fetch [flags] {--output FILE|--descriptor} NAME@DIGEST",
		Aliases: []string{"get"},
		Short:   "Fetch a blob",
		Long: `Fetch the bytes of a blob. A file has its name only when all bytes are there and
proven; what is there stays until then, and a fetch that was cut goes on from
what it has when it is run again. On standard output the bytes are proven before
the last of them is written.`,
		Example: `  {name} blob fetch -o app.tar localhost:5000/app@sha256:DIGEST
  {name} blob fetch -o - oci:backup@sha256:DIGEST | tar t
  {name} blob fetch --descriptor localhost:5000/app@sha256:DIGEST`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runBlobFetch(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.output, "output", "o", "", "write the bytes to `FILE`; - is standard output")
	fs.BoolVar(&o.descriptor, "descriptor", false, "print the descriptor")
	fs.BoolVar(&o.pretty, "pretty", false, "indent the descriptor")
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

// checkOutput refuses what would mix something into the bytes on standard output.
func checkOutput(output string, format ui.Format, descriptor bool) error {
	switch {
	case output != "-":
		return nil
	case descriptor:
		return fmt.Errorf("%w: --output - and --descriptor both write to standard output", store.ErrUsage)
	case format.Kind != ui.KindText:
		return fmt.Errorf("%w: --output - and --format %s both write to standard output", store.ErrUsage, format.Kind)
	}
	return nil
}

func runBlobFetch(ctx context.Context, a *app, o *blobFetchOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	if o.output == "" && !o.descriptor {
		return fmt.Errorf("%w: give --output FILE for the bytes (- is standard output), or --descriptor", store.ErrUsage)
	}
	if err := checkOutput(o.output, format, o.descriptor); err != nil {
		return err
	}
	ref, err := o.namedBlob("fetch the blob", arg)
	if err != nil {
		return err
	}
	t, err := o.start(a, ui.PullVerbs())
	if err != nil {
		return err
	}
	d, err := o.fetch(ctx, a, ref, t.sink)
	t.finish()
	switch {
	case err != nil:
		return cannot("fetch the blob", ref, err)
	case o.descriptor:
		return printJSON(a.streams.Out, d, o.pretty)
	case format.Kind == ui.KindText:
		return nil // the bytes are what was asked for
	}
	value := ui.NewBlobResult(ref, d, t.seen.Notes())
	if value.Path, err = filepath.Abs(o.output); err != nil {
		return err
	}
	return ui.Print(a.streams.Out, format, value, nil)
}

func (o *blobFetchOptions) fetch(ctx context.Context, a *app, ref store.Ref, sink store.Sink) (d store.Descriptor, err error) {
	err = a.within(ref, &o.targetFlags, sink, func(s store.Store) error {
		b, err := s.Blob(ctx, wanted(ref))
		if err != nil {
			return err
		}
		d = b.Descriptor
		switch o.output {
		case "":
			return nil
		case "-":
			return moving(ctx, sink, b, func(b store.Blob) error { return artifact.CopyBlob(ctx, a.streams.Out, b) })
		}
		return moving(ctx, sink, b, func(b store.Blob) error { return artifact.WriteBlob(ctx, b, o.output) })
	})
	return d, err
}

// moving tells of a blob that `move` brings to its place.
func moving(ctx context.Context, sink store.Sink, b store.Blob, move func(store.Blob) error) error {
	name := store.NameOf(b.Descriptor)
	sink.Emit(store.Event{Kind: store.Start, Desc: b.Descriptor, Name: name})
	err := move(store.CountBlob(b, sink))
	switch {
	case err == nil:
		sink.Emit(store.Event{Kind: store.Done, Desc: b.Descriptor, Name: name, How: store.Sent})
	case ctx.Err() == nil:
		sink.Emit(store.Event{Kind: store.Failed, Desc: b.Descriptor, Name: name, Text: err.Error()})
	}
	return err
}

type blobDeleteOptions struct {
	progressFlags
	formatFlags
	targetFlags
	force      bool
	descriptor bool
	pretty     bool
}

func newBlobDelete(a *app) *cobra.Command {
	o := &blobDeleteOptions{}
	cmd := &cobra.Command{
		Use:     "delete [flags] NAME@DIGEST",
		Aliases: []string{"remove", "rm"},
		Short:   "Delete a blob",
		Long: `Delete a blob by its digest. Whether a manifest names it is not looked at: what
does is then broken.`,
		Example: `  {name} blob delete localhost:5000/app@sha256:DIGEST
  {name} blob delete -f oci:backup@sha256:DIGEST`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runBlobDelete(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.force, "force", "f", false, "do not ask, and do not mind when it is gone already")
	fs.BoolVar(&o.descriptor, "descriptor", false, "print the descriptor of what was deleted")
	fs.BoolVar(&o.pretty, "pretty", false, "indent the descriptor")
	o.actions = toDelete
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runBlobDelete(ctx context.Context, a *app, o *blobDeleteOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.namedBlob("delete the blob", arg)
	if err != nil {
		return err
	}
	t := o.quiet(a)
	d, deleted, err := deleteBlob(ctx, a, o, ref, t.sink)
	t.finish()
	missing := o.force && errors.Is(err, store.ErrNotFound)
	switch {
	case missing:
		d = store.Descriptor{Digest: ref.Digest}
	case err != nil:
		return cannot("delete the blob", ref, err)
	case !deleted:
		_, err := fmt.Fprintln(a.streams.Err, "Operation cancelled.")
		return err
	case o.descriptor:
		return printJSON(a.streams.Out, d, o.pretty)
	}
	value := ui.NewDeleteResult(ref, d, t.seen.Notes())
	value.Missing = missing
	return ui.Print(a.streams.Out, format, value, value.Text)
}

func deleteBlob(ctx context.Context, a *app, o *blobDeleteOptions, ref store.Ref, sink store.Sink) (d store.Descriptor, deleted bool, err error) {
	err = a.within(ref, &o.targetFlags, sink, func(s store.Store) error {
		b, err := s.Blob(ctx, wanted(ref))
		if err != nil {
			return err
		}
		d = b.Descriptor
		if !o.force {
			yes, err := a.confirm(ctx, fmt.Sprintf("Are you sure you want to delete the blob %q?", d.Digest))
			if !yes || err != nil {
				return err
			}
		}
		deleted = true
		return s.DeleteBlob(ctx, d)
	})
	return d, deleted, err
}
