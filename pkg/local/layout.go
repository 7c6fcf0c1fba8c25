package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// LayoutOptions are the options of OpenLayout, OpenLayouts and OpenArchive.
type LayoutOptions struct {
	// LockWait bounds the wait for other writers; 0 is DefaultLockWait.
	LockWait time.Duration
	// KeepBlobs makes a blob alone a reason to write an archive. Without it a
	// push that fails before its manifest leaves the archive as it was.
	KeepBlobs bool
	// Source says of what repository a layout is the backup, by the name that it
	// has in a registry, or "" for one alone. It is kept in index.json; a layout
	// that is the backup of another repository is ErrExists, unless Replace.
	// nil, or "" of it, is none.
	Source  func(name string) string
	Replace bool
}

// OpenLayout opens the OCI image layout in a directory (image-spec
// image-layout.md, version 1.0.0). A directory that is not there is created by
// the first write; until then, reading is ErrNotFound. A directory with a
// damaged oci-layout file is ErrInvalid, a file as the directory ENOTDIR.
//
// Every manifest put is listed in index.json, under each of its tags or once
// without. Tags are any value of org.opencontainers.image.ref.name. Processes
// that write one layout at a time wait for each other; blobs are written side
// by side. Nothing outside the directory is read or written, whatever symbolic
// links lie in it.
func OpenLayout(dir string, opts LayoutOptions) (store.Store, error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	l := newLayout(dir, opts)
	l.source = opts.source("")
	l.open = func(create bool) (*os.Root, error) {
		if create {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return nil, err
			}
		}
		return os.OpenRoot(dir)
	}
	l.rmdir = func() error { return os.Remove(dir) }
	return l, l.look()
}

func newLayout(dir string, opts LayoutOptions) *layout {
	wait := opts.LockWait
	if wait == 0 {
		wait = DefaultLockWait
	}
	return &layout{dir: dir, wait: wait, busy: make(chan struct{}, 1), nodes: map[digest.Digest]node{}}
}

// layout opens its directory anew for each call: nothing of it is held, and a
// directory that comes or goes meanwhile is seen.
type layout struct {
	dir   string // for messages, and for the lock
	wait  time.Duration
	open  func(create bool) (*os.Root, error)
	rmdir func() error                                           // removes the directory if it is empty
	mount func(b store.Blob) (put store.Put, ok bool, err error) // nil stands alone
	begin func(ctx context.Context) error                        // makes the directory of a backup; nil is open
	home  string                                                 // Blob.Home of what lies in it
	busy  chan struct{}                                          // one goroutine changes index.json at a time
	swept sync.Once                                              // what dead writers left was removed

	mu      sync.Mutex
	version fs.FileInfo // of the oci-layout that was right when it was read
	raw     []byte      // index.json as it was last read, and what it says
	parsed  *index
	seen    fs.FileInfo // of that file; nil where it was written here
	about   *about
	nodes   map[digest.Digest]node

	waiting []*listing      // manifests that the next change of index.json lists
	coming  *sync.WaitGroup // those that are being put and do not wait yet; nil for none

	source  source
	claimed bool // it is that of the source; guarded by mu
	// nested layouts may lie in this one's directory: repositories of a registry.
	nested bool
}

const (
	indexFile  = ocispec.ImageIndexFile
	layoutFile = ocispec.ImageLayoutFile
	blobsDir   = ocispec.ImageBlobsDir
	maxIndex   = 256 << 20 // a million entries
)

// fail gives an error the path of the layout.
func (l *layout) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", l.dir, err)
}

// root opens the layout for reading. It is ErrNotFound where there is none.
func (l *layout) root() (*os.Root, error) {
	root, err := l.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound("no OCI image layout at " + l.dir)
	}
	if err != nil {
		return nil, l.fail(err)
	}
	if err := l.checkVersion(root); err != nil {
		_ = root.Close()
		return nil, err
	}
	return root, nil
}

// checkVersion reads oci-layout, unless this very file was right before: a
// layout is opened for every call.
func (l *layout) checkVersion(root *os.Root) error {
	now, statErr := root.Stat(layoutFile)
	l.mu.Lock()
	then := l.version
	l.mu.Unlock()
	if statErr == nil && sameFile(then, now) {
		return nil
	}
	raw, err := readFile(root, layoutFile, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return notFound(fmt.Sprintf("no OCI image layout at %s: it has no file %s", l.dir, layoutFile))
	}
	if err != nil {
		return l.fail(err)
	}
	var v ocispec.ImageLayout
	file := filepath.Join(l.dir, layoutFile)
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("%w: %s: %s", store.ErrInvalid, file, err)
	}
	if v.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("%w: %s: imageLayoutVersion is %q, not %s", store.ErrInvalid, file, v.Version, ocispec.ImageLayoutVersion)
	}
	if statErr == nil {
		l.mu.Lock()
		l.version = now
		l.mu.Unlock()
	}
	return nil
}

// sameFile says whether a file that was read is as it was: everyone who changes
// a layout replaces its files, or at least their times.
func sameFile(then, now fs.FileInfo) bool {
	return then != nil && os.SameFile(then, now) && then.Size() == now.Size() && then.ModTime().Equal(now.ModTime())
}

// readFile reads a regular file of at most limit bytes.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, size, err := openFile(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, the limit is %d", store.ErrTooLarge, name, size, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// openFile opens a regular file. Anything else, such as a pipe that nobody
// writes to, is ErrInvalid and not waited for.
func openFile(root *os.Root, name string) (*os.File, int64, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%w: %s is not a regular file", store.ErrInvalid, name)
	}
	f, err := root.Open(name)
	return f, info.Size(), err
}

// index reads index.json only when the file is another one, and parses it only
// when its bytes are: a layout of thousands of manifests is asked thousands of
// times. The result is shared: change a clone.
func (l *layout) index(root *os.Root) (*index, error) {
	info, err := root.Stat(indexFile)
	if err == nil {
		if x := l.unchanged(info); x != nil {
			return x, nil
		}
	}
	raw, err := readFile(root, indexFile, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", store.ErrInvalid, filepath.Join(l.dir, indexFile))
	}
	if err != nil {
		return nil, l.fail(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parsed != nil && bytes.Equal(raw, l.raw) {
		l.seen = info
		return l.parsed, nil
	}
	x, err := parseIndex(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(l.dir, indexFile), err)
	}
	l.raw, l.parsed, l.seen = raw, x, info
	return x, nil
}

// unchanged is what index.json says, if this file was read before.
func (l *layout) unchanged(now fs.FileInfo) *index {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !sameFile(l.seen, now) {
		return nil
	}
	return l.parsed
}

func blobPath(d digest.Digest) string {
	return blobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// size gives the size of the file that holds d. The digest becomes a path only
// after it was checked.
func (l *layout) size(root *os.Root, d digest.Digest) (int64, error) {
	if err := store.CheckDigest(d); err != nil {
		return 0, err
	}
	info, err := root.Stat(blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, notFound(fmt.Sprintf("%s in %s", d, l.dir))
	}
	if err != nil {
		return 0, l.fail(err)
	}
	return info.Size(), nil
}

func (l *layout) Resolve(ctx context.Context, ref string) (store.Descriptor, error) {
	root, x, err := l.read(ctx)
	if err != nil {
		return store.Descriptor{}, err
	}
	defer root.Close()
	return l.resolve(ctx, root, x, ref)
}

// read opens the layout and its index.
func (l *layout) read(ctx context.Context) (*os.Root, *index, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, nil, err
	}
	root, err := l.root()
	if err != nil {
		return nil, nil, err
	}
	x, err := l.index(root)
	if err != nil {
		_ = root.Close()
		return nil, nil, err
	}
	return root, x, nil
}

// resolve sees that the manifest's file is there, too: a layout may be sparse,
// and what was cut by a crash must not pass for complete.
func (l *layout) resolve(ctx context.Context, root *os.Root, x *index, ref string) (store.Descriptor, error) {
	d, ok := x.find(ref)
	if !ok && store.IsDigest(ref) {
		return l.resolveChild(ctx, root, x, digest.Digest(ref))
	}
	if !ok || ref == "" {
		return d, notFound(fmt.Sprintf("manifest %s in %s", ref, l.dir))
	}
	size, err := l.size(root, d.Digest)
	if err == nil && size != d.Size {
		err = fmt.Errorf("%w: %s in %s has %d bytes, expected %d", store.ErrMismatch, d.Digest, l.dir, size, d.Size)
	}
	return d, err
}

func (l *layout) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	root, x, err := l.read(ctx)
	if err != nil {
		return store.Manifest{}, err
	}
	defer root.Close()
	d, err := l.resolve(ctx, root, x, ref)
	if err != nil {
		return store.Manifest{}, err
	}
	return l.manifest(root, d)
}

// manifest reads and proves the manifest d.
func (l *layout) manifest(root *os.Root, d store.Descriptor) (store.Manifest, error) {
	raw, err := readFile(root, blobPath(d.Digest), maxManifest)
	if err != nil {
		return store.Manifest{}, l.fail(err)
	}
	m := store.Manifest{Descriptor: d, Raw: raw}
	return m, l.fail(store.CheckManifest(m, d.Digest))
}

func (l *layout) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Blob{}, err
	}
	root, err := l.root()
	if err != nil {
		return store.Blob{}, err
	}
	defer root.Close()
	size, err := l.size(root, d.Digest)
	if err != nil {
		return store.Blob{}, err
	}
	if d.Size >= 0 && d.Size != size {
		return store.Blob{}, fmt.Errorf("%w: %s in %s has %d bytes, expected %d", store.ErrMismatch, d.Digest, l.dir, size, d.Size)
	}
	d.Size = size
	return store.Blob{Descriptor: d, Home: l.home, Open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		return l.openBlob(ctx, d.Digest, offset)
	}}, nil
}

// openBlob gives a reader that stays open when the layout's directory closes.
func (l *layout) openBlob(ctx context.Context, d digest.Digest, offset int64) (io.ReadCloser, error) {
	root, err := l.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, size, err := openFile(root, blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(fmt.Sprintf("%s in %s", d, l.dir))
	}
	if err != nil {
		return nil, l.fail(err)
	}
	if offset < 0 || offset > size {
		err = fmt.Errorf("%w: %s has %d bytes, no byte %d", store.ErrRange, d, size, offset)
	} else {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, l.fail(err)
	}
	return contextReadCloser{contextReader{ctx, f}, f}, nil
}

func (l *layout) Support() store.Support {
	if l.mount != nil {
		return support(store.Yes)
	}
	return support(store.No)
}

func (l *layout) Close() error { return nil }

// Takes answers yes.
func (l *layout) Takes(context.Context, string) (store.Finding, error) { return takesAll(), nil }
