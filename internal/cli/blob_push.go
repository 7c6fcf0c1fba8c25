package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// defaultBlobType is what --descriptor says of a blob without --media-type.
const defaultBlobType = ocispec.MediaTypeImageLayer

type blobPushOptions struct {
	progressFlags
	formatFlags
	targetFlags
	size       int64
	mediaType  string
	descriptor bool
	pretty     bool
}

func newBlobPush(a *app) *cobra.Command {
	o := &blobPushOptions{}
	o.blobsAlone = true
	cmd := &cobra.Command{
		Use:   "push [flags] NAME[@DIGEST] {FILE|-}",
		Short: "Push a file as a blob",
		Long: `Push the bytes of a file, or of standard input, as a blob. Neither digest nor
size need be known; where they are given, other bytes are refused, also when the
registry has a blob of that digest already.

Standard input cannot be read again, but for its beginning: an upload that has to
start over later fails, and says so. A file can always be read again.`,
		Example: `  {name} blob push localhost:5000/app app.tar
  tar c site | {name} blob push localhost:5000/app -
  {name} blob push --descriptor --media-type text/plain localhost:5000/app note.txt`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runBlobPush(cmd.Context(), a, o, args[0], args[1])
		},
	}
	fs := cmd.Flags()
	fs.Int64Var(&o.size, "size", store.UnknownSize, "refuse other than this many `BYTES`")
	fs.StringVar(&o.mediaType, "media-type", defaultBlobType, "media `TYPE` to print; a registry does not keep it")
	fs.BoolVar(&o.descriptor, "descriptor", false, "print the descriptor")
	fs.BoolVar(&o.pretty, "pretty", false, "indent the descriptor")
	o.actions = toPush
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerChunks(cmd)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runBlobPush(ctx context.Context, a *app, o *blobPushOptions, arg, file string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.parseBlob(arg)
	if err == nil {
		err = o.stdinFor(file)
	}
	if err != nil {
		return cannot("push a blob to", ref, err)
	}
	source := &blobSource{name: file, want: store.Descriptor{MediaType: o.mediaType, Digest: ref.Digest, Size: o.size}}
	if err := source.open(a); err != nil {
		return contradicted("push "+file+" to "+ref.String(), ref, err)
	}
	defer source.close()
	if source.once && o.chunkSize != "" && (source.want.Digest == "" || source.want.Size < 0) {
		return fmt.Errorf("%w: --chunk-size with what can be read once needs its digest, as in NAME@DIGEST, and --size", store.ErrUsage)
	}
	t, err := o.start(a, ui.PushVerbs())
	if err != nil {
		return err
	}
	var put store.Put
	err = a.within(ref, &o.targetFlags, t.sink, func(s store.Store) error {
		put, err = graph.PutBlob(ctx, source.blob(), s, graph.BlobOptions{Events: t.sink, Once: source.once})
		return err
	})
	t.finish()
	if err != nil {
		return contradicted("push "+file+" to "+ref.String(), ref, err)
	}
	d := store.Descriptor{MediaType: o.mediaType, Digest: put.Digest, Size: put.Size}
	if o.descriptor {
		return printJSON(a.streams.Out, d, o.pretty)
	}
	value := ui.NewBlobResult(ref, d, t.seen.Notes())
	value.How = put.How
	return ui.Print(a.streams.Out, format, value, value.PushText)
}

// contradicted is the error of a push. Where the content is not what it was said
// to be, it was the user who said it, and nobody else is to be told.
func contradicted(what string, ref store.Ref, err error) error {
	f := &failure{what: what, ref: ref, err: err}
	if errors.Is(err, store.ErrMismatch) {
		f.do = "give the digest and size that the content has, or none"
	}
	return f
}

// stdinFor refuses to read content and a secret from one standard input: whoever
// came first would take it all.
func (f *remoteFlags) stdinFor(file string) error {
	if file == "-" && (f.passwordFromStdin || f.identityTokenStdin) {
		return fmt.Errorf("%w: standard input cannot be both the content and the secret; run login first", store.ErrUsage)
	}
	return nil
}

// blobSource is what is pushed: a file, or what can be read once.
type blobSource struct {
	name string
	want store.Descriptor // digest and size where they are known
	once bool

	in   io.Reader
	file *os.File // to be closed; nil for standard input
}

// open finds out what the source is. A pipe that has a name, such as the
// shell's <(...), is read like standard input.
func (s *blobSource) open(a *app) error {
	if s.name == "-" {
		if f, ok := a.streams.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			fmt.Fprintf(a.streams.Err, "%s: reading from the terminal; Ctrl-D ends it\n", a.name)
		}
		s.once, s.in = true, a.streams.In
		return nil
	}
	f, err := os.Open(s.name)
	if err != nil {
		return err
	}
	s.in, s.file = f, f
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "read", Path: s.name, Err: syscall.EISDIR}
	}
	if err != nil {
		return err
	}
	if s.once = !info.Mode().IsRegular(); s.once {
		return nil
	}
	if s.want.Size >= 0 && s.want.Size != info.Size() {
		return store.Mismatch("%s has %d bytes, and --size says %d", s.name, info.Size(), s.want.Size)
	}
	s.want.Size = info.Size()
	return nil
}

func (s *blobSource) close() {
	if s.file != nil {
		_ = s.file.Close() // it was read
	}
}

func (s *blobSource) blob() store.Blob {
	b := store.Blob{Descriptor: s.want, Open: s.openFile}
	if !s.once {
		return b
	}
	open := store.ReadOnce(s.in)
	b.Open = open
	if b.Digest != "" && b.Digest.Algorithm() == digest.Canonical && b.Size < 0 {
		// A store would read a blob with a digest and no size once to measure it.
		// So it gets one without a digest, whose bytes do not end well unless
		// they have the digest. (It would name it by sha256, whatever was given.)
		want := s.want
		b.Digest = ""
		b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			rc, err := open(ctx, offset)
			if err != nil {
				return nil, err
			}
			return store.NewVerifier(rc, want), nil
		}
	}
	return b
}

func (s *blobSource) openFile(_ context.Context, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(s.name)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
