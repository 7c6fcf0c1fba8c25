package artifact

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stet-oci/stet/pkg/store"
)

// copyBuffer is the size of the buffer between a file and what reads it.
const copyBuffer = 256 << 10

// Preserve says what of a directory's files is kept beside names, content and
// the owner's execute bit. What is kept is in the digest.
type Preserve struct {
	Mode  bool // all nine permission bits; set-id and sticky bits never
	MTime bool // modification times, in whole seconds
}

// directory is a tree that is packed as a compressed tar. The same tree gives
// the same bytes: entries are sorted by name as bytes, owners and times are
// zero, modes reduced. It is read twice: once by survey, which finds what
// cannot be packed before anything is sent, and then each time that it is
// opened.
type directory struct {
	path     string // of the file system
	prefix   string // of all entry names: the title
	compress Compression
	preserve Preserve
	date     *time.Time // all times; with preserve.MTime the latest time
	anyPath  bool       // pack names and links that Unpack refuses
	state    [sha256.Size]byte

	mu       sync.Mutex
	contents map[digest.Digest]digest.Digest // of the compressed bytes → of the tar, for every reading so far
}

// survey walks the tree without reading its files. It refuses what a tar for
// everybody cannot hold and remembers the state of the tree.
func (d *directory) survey(ctx context.Context) error {
	state, err := d.walk(ctx, func(root *os.Root, e entry) error {
		if !e.info.Mode().IsRegular() {
			return nil
		}
		f, err := root.Open(filepath.FromSlash(e.rel)) // may it be read?
		if err != nil {
			return err
		}
		return f.Close()
	})
	d.state = state
	return err
}

// entry is a file, directory or link of the tree.
type entry struct {
	rel  string // below the tree, with slashes; "." is the tree itself
	info fs.FileInfo
	link string // target of a symbolic link
}

// walk calls visit with the entries in the order of their names in the tar,
// where that of a directory ends with a slash. So "a.txt" comes before "a/",
// and memory is needed only for the directories on the way down. It returns a
// hash over all that a change of the tree would change.
func (d *directory) walk(ctx context.Context, visit func(*os.Root, entry) error) (state [sha256.Size]byte, err error) {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return state, err
	}
	defer root.Close()
	sum := sha256.New()
	err = d.walkDir(ctx, root, ".", func(e entry) error {
		mtime := e.info.ModTime().UnixNano()
		if e.info.IsDir() && !d.preserve.MTime {
			mtime = 0
		}
		fmt.Fprintf(sum, "%q %d %o %d %q\n", e.rel, entrySize(e.info), e.info.Mode(), mtime, e.link)
		return visit(root, e)
	})
	return [sha256.Size]byte(sum.Sum(nil)), err
}

func entrySize(info fs.FileInfo) int64 {
	if info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}

func (d *directory) walkDir(ctx context.Context, root *os.Root, rel string, visit func(entry) error) error {
	info, err := root.Lstat(filepath.FromSlash(rel))
	if err != nil {
		return d.vanished(rel, err)
	}
	if err := visit(entry{rel: rel, info: info}); err != nil {
		return err
	}
	names, err := readNames(root, rel)
	if err != nil {
		return d.vanished(rel, err)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		child := path.Join(rel, name)
		if err := checkName(child, false); err != nil && !d.anyPath {
			return d.notForPull(child, err)
		}
		if strings.HasSuffix(name, "/") {
			if err := d.walkDir(ctx, root, child, visit); err != nil {
				return err
			}
			continue
		}
		e, err := d.leaf(root, child)
		if err != nil {
			return err
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

// readNames lists a directory in the order of names, those of directories with
// a slash at the end.
func readNames(root *os.Root, rel string) ([]string, error) {
	f, err := root.Open(filepath.FromSlash(rel))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(found))
	for _, e := range found {
		if e.IsDir() {
			names = append(names, e.Name()+"/")
		} else {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// leaf looks at a file or link; devices, sockets and pipes are ErrUsage.
func (d *directory) leaf(root *os.Root, rel string) (entry, error) {
	info, err := root.Lstat(filepath.FromSlash(rel))
	if err != nil {
		return entry{}, d.vanished(rel, err)
	}
	e := entry{rel: rel, info: info}
	switch {
	case info.Mode().IsRegular():
	case info.Mode()&fs.ModeSymlink != 0:
		if e.link, err = root.Readlink(filepath.FromSlash(rel)); err != nil {
			return entry{}, d.vanished(rel, err)
		}
		e.link = filepath.ToSlash(e.link)
		if err := checkLink(rel, e.link, false); err != nil && !d.anyPath {
			return entry{}, d.notForPull(rel, err)
		}
	case info.IsDir():
		return entry{}, fmt.Errorf("%w: %s became a directory", store.ErrChanged, d.at(rel))
	default:
		return entry{}, fmt.Errorf("%w: %s is neither file, directory nor symbolic link (%s)", store.ErrUsage, d.at(rel), info.Mode().Type())
	}
	return e, nil
}

// notForPull is ErrUsage for an entry that Unpack would refuse: who packs it
// would not see that nobody gets it.
func (d *directory) notForPull(rel string, err error) error {
	return fmt.Errorf("%w: %s: %w; it could not be unpacked (--disable-path-validation packs it all the same)", store.ErrUsage, d.at(rel), err)
}

func (d *directory) at(rel string) string { return filepath.Join(d.path, filepath.FromSlash(rel)) }

// vanished makes ErrChanged of the absence of what was listed a moment ago.
func (d *directory) vanished(rel string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s: %w", store.ErrChanged, d.at(rel), err)
	}
	return err
}

// header is the tar header of an entry. archive/tar writes USTAR where that
// can hold it, and PAX otherwise.
func (d *directory) header(e entry) *tar.Header {
	h := &tar.Header{Name: path.Join(d.prefix, e.rel), ModTime: d.mtime(e.info), Mode: 0o644}
	switch {
	case e.info.IsDir():
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
		h.Name += "/"
	case e.link != "":
		h.Typeflag, h.Mode, h.Linkname = tar.TypeSymlink, 0o777, e.link
		return h
	default:
		h.Typeflag, h.Size = tar.TypeReg, e.info.Size()
		if e.info.Mode()&0o100 != 0 {
			h.Mode = 0o755
		}
	}
	if d.preserve.Mode && runtime.GOOS != "windows" { // Windows has no such bits to keep
		h.Mode = int64(e.info.Mode().Perm())
	}
	return h
}

func (d *directory) mtime(info fs.FileInfo) time.Time {
	t := time.Unix(0, 0).UTC()
	if d.date != nil {
		t = d.date.UTC()
	}
	if d.preserve.MTime && (d.date == nil || info.ModTime().Before(*d.date)) {
		t = info.ModTime().UTC()
	}
	return t.Truncate(time.Second)
}

// write packs the tree into w and returns the digest of the tar before
// compression. The tree must be as it was at survey, or it is ErrChanged.
func (d *directory) write(ctx context.Context, w io.Writer) (digest.Digest, error) {
	z, err := newCompressor(w, d.compress)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	err = d.writeTar(ctx, io.MultiWriter(sum, z))
	// The compressor is closed after an error too: it has goroutines.
	if closeErr := z.Close(); err == nil {
		err = closeErr
	}
	return digest.NewDigest(digest.SHA256, sum), err
}

func (d *directory) writeTar(ctx context.Context, w io.Writer) error {
	tw := tar.NewWriter(w)
	buf := make([]byte, copyBuffer)
	state, err := d.walk(ctx, func(root *os.Root, e entry) error {
		if d.prefix == "." && e.rel == "." {
			return nil // the output directory is not an entry of itself
		}
		if err := tw.WriteHeader(d.header(e)); err != nil {
			return fmt.Errorf("%w: %s: %w", store.ErrUsage, d.at(e.rel), err)
		}
		if !e.info.Mode().IsRegular() {
			return nil
		}
		return d.writeFile(ctx, tw, root, e, buf)
	})
	if err != nil {
		return err
	}
	if state != d.state {
		return fmt.Errorf("%w: %s", store.ErrChanged, d.path)
	}
	return tw.Close()
}

// writeFile copies a file of the tree, which must stay as walk saw it.
func (d *directory) writeFile(ctx context.Context, w io.Writer, root *os.Root, e entry, buf []byte) error {
	f, err := root.Open(filepath.FromSlash(e.rel))
	if err != nil {
		return d.vanished(e.rel, err)
	}
	r := &guarded{ctx: ctx, file: f, path: d.at(e.rel), want: e.info, left: e.info.Size()}
	defer r.Close()
	if err := r.check(); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, buf)
	return err
}

// open streams the compressed tar from an offset on. What comes before the
// offset is packed again and dropped, since it is nowhere stored.
func (d *directory) open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, store.ErrRange
	}
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		out := &skipper{w: pw, skip: offset, hash: sha256.New()}
		content, err := d.write(ctx, out)
		if err == nil && out.skip > 0 {
			err = store.ErrRange
		}
		if err == nil {
			d.learn(digest.NewDigest(digest.SHA256, out.hash), content)
		}
		pw.CloseWithError(err)
	}()
	return &packing{PipeReader: pr, cancel: cancel, done: done}, nil
}

// packing is the reading end of a directory that is being packed.
type packing struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// Close stops the packing and waits for its end, so that no file stays open.
func (p *packing) Close() error {
	p.cancel()
	err := p.PipeReader.Close()
	<-p.done
	return err
}

// skipper hashes everything and passes on what follows the first skip bytes.
type skipper struct {
	w    io.Writer
	skip int64
	hash hash.Hash
}

func (s *skipper) Write(p []byte) (int, error) {
	s.hash.Write(p)
	dropped := min(s.skip, int64(len(p)))
	s.skip -= dropped
	if dropped == int64(len(p)) {
		return len(p), nil
	}
	n, err := s.w.Write(p[dropped:])
	return int(dropped) + n, err
}

// learn remembers the tar's digest of a whole reading.
func (d *directory) learn(compressed, content digest.Digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.contents == nil {
		d.contents = map[digest.Digest]digest.Digest{}
	}
	d.contents[compressed] = content
}

// contentOf gives the digest of the tar whose compressed bytes a store took.
// Bytes that no single reading gave are from a tree that changed in between.
func (d *directory) contentOf(compressed digest.Digest) (digest.Digest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	content, ok := d.contents[compressed]
	if !ok {
		return "", fmt.Errorf("%w: %s: %s was stored, which no reading of it gave", store.ErrChanged, d.path, compressed)
	}
	return content, nil
}
