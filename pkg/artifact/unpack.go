package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stet-oci/stet/pkg/store"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// The defaults of UnpackOptions.
const (
	DefaultUnpackConcurrency       = 64 // as many as graph.DefaultConcurrency
	DefaultMaxEntries              = 1_000_000
	DefaultMaxUnpacked       int64 = 256 << 30
)

// UnpackOptions say where files go and what may be replaced.
type UnpackOptions struct {
	Dir            string     // output directory, made if need be; "" is the working directory
	KeepOld        bool       // an existing file of other content is ErrExists instead of being replaced
	AllowTraversal bool       // titles may be absolute and have ".."; entries of a packed directory never
	Filter         Filter     // which titles; what it does not choose is not fetched
	NameUntitled   bool       // layers without a title are files, too, called by UntitledName
	Config         string     // save the config under this name, whatever Filter says; "" does not
	ConfigType     string     // save it only where it has this media type
	Events         store.Sink // told of every file; Done comes when it is proven
	Concurrency    int        // blobs in work at once; 0 is DefaultUnpackConcurrency
	MaxEntries     int        // in a packed directory; 0 is DefaultMaxEntries, below 0 no limit
	MaxUnpacked    int64      // bytes of a packed directory; 0 is DefaultMaxUnpacked, below 0 no limit
}

// Outcome says how a file came to be.
type Outcome string

// The ways in which a file comes to be.
const (
	Downloaded Outcome = "downloaded" // read from the store
	Restored   Outcome = "restored"   // the content of another file of the artifact
	Skipped    Outcome = "skipped"    // it was there with this very content
)

// Unpacked is a file or directory that Unpack made.
type Unpacked struct {
	Path       string // absolute; a directory ends with a slash
	Descriptor store.Descriptor
	Outcome    Outcome
}

// Result is what Unpack did.
type Result struct {
	Files    []Unpacked         // in the order of the manifest, the config first
	Untitled []store.Descriptor // layers without a title, which nobody chose to read; never the empty descriptor
}

// Unpack writes the titled layers of m as files below a directory.
//
// Everything is fetched, extracted and proven under other names first; only
// when all of it is there do files and directories get their names, in the order
// of the manifest. Into a directory that is there, entries move one by one, after
// it was looked whether something is in the way. On an error before that there
// is nothing new in the directory but the partial files that the next Unpack of
// the same content goes on from: where ctx ended or the source was unavailable or
// did not allow it any more, and large ones where another blob was absent or
// wrong. A title or tar entry that leads out of it is ErrPath, another that
// cannot be written ErrInvalid, content that is not what its descriptor says
// ErrMismatch, and something in the way ErrExists.
//
// Unpack proves all bytes itself; src need not.
func Unpack(ctx context.Context, src store.Reader, m store.Manifest, o UnpackOptions) (Result, error) {
	outline, err := store.ParseOutline(m)
	if err != nil {
		return Result{}, err
	}
	if m.MediaType == store.MediaTypeIndex || m.MediaType == store.MediaTypeDockerIndex {
		return Result{}, fmt.Errorf("%w: %s is an index; unpack one of its manifests", store.ErrUnsupported, m.Digest)
	}
	u := &unpacking{src: src, UnpackOptions: o}
	defer u.close()
	result := Result{Untitled: u.plan(outline)}
	err = u.check(ctx)
	if err == nil {
		err = u.run(ctx)
	}
	if err != nil {
		u.undo(keeps(ctx, err))
		return result, err
	}
	for _, t := range u.targets {
		name := t.path
		if t.unpack {
			name = strings.TrimSuffix(name, "/") + "/"
		}
		result.Files = append(result.Files, Unpacked{Path: name, Descriptor: t.desc, Outcome: t.outcome})
	}
	return result, nil
}

// unpacking is one call of Unpack.
type unpacking struct {
	UnpackOptions
	src     store.Reader
	targets []*target
	roots   []*os.Root
	outer   []string  // directories above the roots, and made[] those below
	made    []madeDir // in the order in which they were made
	opened  []openedDir
}

// madeDir is a directory below a root that was not there.
type madeDir struct {
	root *os.Root
	name string
}

// plan lists the targets, and returns the layers that are none for want of a title.
func (u *unpacking) plan(outline *store.Outline) (untitled []store.Descriptor) {
	if c := outline.Config; c != nil && u.Config != "" && (u.ConfigType == "" || u.ConfigType == c.MediaType) {
		u.targets = append(u.targets, &target{desc: *c, title: filepath.ToSlash(u.Config)})
	}
	layers, untitled := u.layers(outline)
	for _, l := range layers {
		if u.Filter.Takes(l.Title) {
			unpack := !l.named && l.Annotations[AnnotationUnpack] == "true"
			u.targets = append(u.targets, &target{desc: l.Descriptor, title: l.Title, unpack: unpack})
		}
	}
	if len(u.Filter.Include) > 0 {
		untitled = nil // the user knows what there is, and chose
	}
	return untitled
}

// run fetches everything, then gives the files their names.
func (u *unpacking) run(ctx context.Context) error {
	groups := map[digest.Digest][]*target{}
	var order []digest.Digest
	for _, t := range u.targets {
		if t.outcome == Skipped {
			u.tell(store.Done, t, nil)
			continue
		}
		if err := u.makeParents(t); err != nil {
			return t.failed(err)
		}
		if groups[t.desc.Digest] == nil {
			order = append(order, t.desc.Digest)
		}
		groups[t.desc.Digest] = append(groups[t.desc.Digest], t)
		u.tell(store.Planned, t, nil)
	}
	work, fetchCtx := errgroup.WithContext(ctx)
	work.SetLimit(max(1, orDefault(u.Concurrency, DefaultUnpackConcurrency)))
	for _, d := range order {
		work.Go(func() error { return u.fetch(fetchCtx, groups[d]) })
	}
	if err := work.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err // the last moment to stop before anything has its name
	}
	return u.finish()
}

// fetch gets the content of targets that have the same: from the store for the
// first, from there for the others.
func (u *unpacking) fetch(ctx context.Context, same []*target) error {
	if ctx.Err() != nil {
		return ctx.Err() // another file failed
	}
	u.tell(store.Start, same[0], nil)
	blob, err := u.src.Blob(ctx, same[0].desc)
	if err != nil {
		u.tell(store.Failed, same[0], err)
		return err
	}
	blob.Descriptor = same[0].desc // it has the title, and the size that is proven
	blob = store.CountBlob(blob, u.Events)
	for i, t := range same {
		t.outcome = Downloaded
		if i > 0 {
			t.outcome = Restored
			blob = same[0].part.blob(t.desc)
		}
		if err := u.fill(ctx, t, blob); err != nil {
			t.spoilt = errors.Is(err, store.ErrMismatch) || !resumable(ctx, err)
			if ctx.Err() == nil { // what was only cancelled is no news
				u.tell(store.Failed, t, err)
			}
			return t.failed(err)
		}
		u.tell(store.Done, t, nil)
	}
	return nil
}

// failed says which file, and where, an error is about.
func (t *target) failed(err error) error { return inDir(t.dir, fmt.Errorf("%s: %w", t.title, err)) }

// fill gets the content of a target from blob, proves it, and extracts it.
func (u *unpacking) fill(ctx context.Context, t *target, blob store.Blob) (err error) {
	if t.part, err = openPartial(t.root, t.name, t.desc.Digest, t.unpack); err != nil {
		return err
	}
	blob.Open = u.goingOn(t, blob.Open)
	switch err := t.part.fill(ctx, blob, t.desc); {
	case err != nil:
		return err
	case t.unpack: // the tar itself never gets a name
		return u.extract(ctx, t)
	}
	return t.part.sync()
}

// goingOn tells that a target is gone on with, where its content is not opened at the
// beginning.
func (u *unpacking) goingOn(t *target, open opener) opener {
	return func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset)
		if err == nil && offset > 0 {
			u.tell(store.Retrying, t, fmt.Errorf("an earlier download broke off; going on after %d of %d bytes", offset, t.desc.Size))
		}
		return rc, err
	}
}

type opener = func(ctx context.Context, offset int64) (io.ReadCloser, error)

// tell tells what became of a target.
func (u *unpacking) tell(kind store.EventKind, t *target, err error) {
	e := store.Event{Kind: kind, Desc: t.desc, Name: store.NameOf(t.desc)}
	switch {
	case err != nil:
		e.Text = err.Error()
	case kind == store.Done && t.outcome == Downloaded:
		e.How = store.Sent
	case kind == store.Done:
		e.How = store.Present
	}
	u.Events.Emit(e)
}

// blob is the content of a partial file that is complete.
func (p *partial) blob(d store.Descriptor) store.Blob {
	return store.Blob{Descriptor: d, Open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(p.file, offset, d.Size-offset)), nil
	}}
}

// finish gives the targets their names. What would be in the way of a packed
// directory is found before the first of them has one.
func (u *unpacking) finish() error {
	for _, t := range u.targets {
		err := u.setMode(t)
		if err == nil && t.unpack && t.outcome != Skipped {
			_, err = u.moves(t, t.stage, t.name, u.busy(t.root))
		}
		if err != nil {
			return t.failed(err)
		}
	}
	for _, t := range u.targets {
		var err error
		switch {
		case t.outcome == Skipped:
		case t.unpack:
			err = u.settle(t, u.busy(t.root))
		default:
			err = t.part.commit(t.name)
		}
		if err != nil {
			return t.failed(err)
		}
	}
	u.sweep()
	return u.closeModes()
}

// makeParents makes the directories above a target. Those that are there were
// looked at by inspect.
func (u *unpacking) makeParents(t *target) error {
	for i, c := range t.name {
		if c != '/' {
			continue
		}
		name := t.name[:i]
		err := t.root.Mkdir(filepath.FromSlash(name), 0o777)
		switch {
		case err == nil:
			u.made = append(u.made, madeDir{t.root, name})
		case !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	return nil
}

// largePartial is how many bytes are worth being kept although another blob cannot
// be had, which may stay so.
const largePartial = 1 << 20

// keeps says from how many bytes on partial files are kept after an error, -1 for
// none: not where there is no room.
func keeps(ctx context.Context, err error) int64 {
	switch {
	case resumable(ctx, err):
		return 1
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrMismatch):
		return largePartial
	}
	return -1
}

// undo removes what was made before a failure; directories that are not empty
// stay. Partial files of so many bytes as keep says stay too: nothing is wrong with
// what came, and the next transfer goes on from there.
func (u *unpacking) undo(keep int64) {
	_ = u.closeModes() // the first error is told
	for _, t := range u.targets {
		t.clearStage()
		if keep < 0 || t.spoilt || !t.part.leave(t.name, t.desc.Digest, keep) {
			t.part.discard()
		}
	}
	for i := len(u.made) - 1; i >= 0; i-- {
		_ = u.made[i].root.Remove(filepath.FromSlash(u.made[i].name))
	}
	for i := len(u.outer) - 1; i >= 0; i-- {
		_ = os.Remove(u.outer[i])
	}
}

func (u *unpacking) close() {
	for _, r := range u.roots {
		_ = r.Close()
	}
}

func orDefault[T int | int64](n, def T) T {
	if n == 0 {
		return def
	}
	return n
}
