package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type blobMountOptions struct {
	progressFlags
	formatFlags
	targetFlags
	mountOnly bool
}

func newBlobMount(a *app) *cobra.Command {
	o := &blobMountOptions{}
	o.blobsAlone = true
	cmd := &cobra.Command{
		Use:   "mount [flags] SOURCE@DIGEST DESTINATION",
		Short: "Make a blob of one repository one of another as well",
		Long: `Mount a blob into another repository of the same registry, which then need not
get its bytes. A registry that does not mount it gets them from the source; that
is said, and --mount-only forbids it. The result tells what happened: mounted,
present or sent.

Between layouts, archives and one registry nothing can be mounted, and the blob
is copied. Between two registries use cp, or blob fetch and blob push.`,
		Example: `  {name} blob mount localhost:5000/base@sha256:DIGEST localhost:5000/app
  {name} blob mount --mount-only localhost:5000/base@sha256:DIGEST localhost:5000/app`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runBlobMount(cmd.Context(), a, o, args[0], args[1])
		},
	}
	cmd.Flags().BoolVar(&o.mountOnly, "mount-only", false, "fail rather than send the bytes")
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runBlobMount(ctx context.Context, a *app, o *blobMountOptions, from, to string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	src, err := o.namedBlob("mount", from)
	if err != nil {
		return err
	}
	dst, err := o.parseBlob(to)
	if err == nil {
		err = o.check(src, dst)
	}
	if err != nil {
		return cannot("mount "+src.String()+" in", dst, err)
	}
	verbs := ui.CopyVerbs()
	t, err := o.start(a, verbs)
	if err != nil {
		return err
	}
	sink := t.sink
	if o.mountOnly {
		sink = withoutUpload(sink)
	}
	var put store.Put
	err = a.within(src, &o.targetFlags, sink, func(s store.Store) error {
		o.pushes(src, dst)
		return a.within(dst, &o.targetFlags, sink, func(to store.Store) error {
			put, err = o.mount(ctx, s, to, src, sink)
			return err
		})
	})
	t.finish()
	if err != nil {
		f := &failure{what: "mount " + src.String() + " in " + dst.String(), ref: dst, from: src, err: err}
		if errors.Is(err, errMountOnly) {
			f.do = "leave --mount-only out to send the bytes"
		}
		return f
	}
	value := ui.NewBlobResult(dst, put.Descriptor, t.seen.Notes()).From(src)
	value.How = put.How
	return ui.Print(a.streams.Out, format, value, value.MountText)
}

// check says what cannot be mounted. The flags of a registry, its credentials
// above all, are for one host: two registries need two sets, which cp has.
func (o *blobMountOptions) check(src, dst store.Ref) error {
	registries := src.Scheme == store.SchemeRegistry && dst.Scheme == store.SchemeRegistry
	switch {
	case dst.Digest != "" && dst.Digest != src.Digest:
		return fmt.Errorf("%w: a blob keeps its digest; give the destination none", store.ErrUsage)
	case registries && src.Host != dst.Host:
		return fmt.Errorf("%w: %s and %s are two registries, and a blob is mounted within one; pipe `blob fetch -o -` into `blob push`", store.ErrUsage, src.Host, dst.Host)
	case o.mountOnly && !registries:
		return fmt.Errorf("%w: only a registry mounts blobs; leave --mount-only out to copy it", store.ErrUsage)
	}
	return nil
}

func (o *blobMountOptions) mount(ctx context.Context, src, dst store.Store, ref store.Ref, sink store.Sink) (store.Put, error) {
	if o.mountOnly {
		src = unread{src}
	}
	return graph.CopyBlob(ctx, src, dst, wanted(ref), sink)
}

var errMountOnly = fmt.Errorf("%w: the registry did not mount the blob, and --mount-only forbids to send it", store.ErrUnsupported)

// unread is a store whose blobs can be mounted and not read.
type unread struct{ store.Store }

func (u unread) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	b, err := u.Store.Blob(ctx, d)
	b.Open = func(context.Context, int64) (io.ReadCloser, error) { return nil, errMountOnly }
	return b, err
}

// withoutUpload drops the news that a blob is sent instead of mounted, which
// with --mount-only is not so.
func withoutUpload(sink store.Sink) store.Sink {
	return func(e store.Event) {
		if e.Kind != store.Fallback {
			sink.Emit(e)
		}
	}
}
