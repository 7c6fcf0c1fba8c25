package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/stet-oci/stet/pkg/store"

	"github.com/opencontainers/go-digest"
)

// prove reads a packed directory to its end, writing nothing: the digest of
// the tar is the annotated one, every entry may be written, and the limits
// hold. So nothing of a bad archive ever lands.
func (u *unpacking) prove(ctx context.Context, t *target) error {
	want := digest.Digest(t.desc.Annotations[AnnotationContentDigest])
	var sum io.Writer = io.Discard
	var verifier digest.Verifier
	if want != "" {
		if err := store.CheckDigest(want); err != nil {
			return err
		}
		verifier = want.Verifier()
		sum = verifier
	}
	seen := entries{}
	err := u.eachEntry(ctx, t, sum, func(h *tar.Header, rel string, _ io.Reader) error {
		return seen.add(h, rel, t.title)
	})
	if err == nil && verifier != nil && !verifier.Verified() {
		err = fmt.Errorf("%w: the tar is not %s, which %s names", store.ErrMismatch, want, AnnotationContentDigest)
	}
	return err
}

// eachEntry calls visit with the entries of a packed directory. rel is the
// entry's path below the directory, "." for the directory itself. All of the
// tar goes through sum as well, also what follows its end.
func (u *unpacking) eachEntry(ctx context.Context, t *target, sum io.Writer, visit func(h *tar.Header, rel string, r io.Reader) error) error {
	packed, err := t.part.blob(t.desc).Open(ctx, 0)
	if err != nil {
		return err
	}
	plain, err := newDecompressor(packed)
	if err != nil {
		return err
	}
	defer plain.Close()
	maxBytes := orDefault(u.MaxUnpacked, DefaultMaxUnpacked)
	maxEntries := orDefault(u.MaxEntries, DefaultMaxEntries)
	limited := &limitedReader{ctx: ctx, r: io.TeeReader(plain, sum), left: maxBytes, limit: maxBytes}
	tr := tar.NewReader(limited)
	var total int64
	for n := 1; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return invalidTar(err)
		}
		if maxEntries > 0 && n > maxEntries {
			return fmt.Errorf("%w: more than %d entries", store.ErrTooLarge, maxEntries)
		}
		// A sparse entry is larger than its share of the tar.
		if total += h.Size; maxBytes > 0 && (total > maxBytes || total < 0) {
			return limited.tooLarge()
		}
		rel, err := entryPath(h.Name, t.title)
		if err != nil {
			return classed(fmt.Errorf("entry %q: %w", h.Name, err))
		}
		if err := visit(h, rel, tr); err != nil {
			return err
		}
	}
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{limited}, make([]byte, copyBuffer)); err != nil {
		return invalidTar(err)
	}
	return nil
}

// invalidTar gives what the decoders say a class, but not what is no fault of
// the archive.
func invalidTar(err error) error {
	var file *fs.PathError
	if errors.Is(err, store.ErrTooLarge) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &file) {
		return err
	}
	return fmt.Errorf("%w: tar: %w", store.ErrInvalid, err)
}

// limitedReader is ErrTooLarge after limit bytes, and stops with its context.
type limitedReader struct {
	ctx         context.Context
	r           io.Reader
	left, limit int64 // limit < 0: none
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := l.r.Read(p)
	if l.limit > 0 {
		if l.left -= int64(n); l.left < 0 {
			return 0, l.tooLarge()
		}
	}
	return n, err
}

func (l *limitedReader) tooLarge() error {
	return fmt.Errorf("%w: it unpacks to more than %d bytes", store.ErrTooLarge, l.limit)
}

// entryPath is the path of an entry below the directory that is packed. Entry
// names begin with the title, as ORAS writes them.
func entryPath(name, title string) (string, error) {
	clean, top := path.Clean(name), path.Clean(title)
	if strings.Contains("/"+name+"/", "/../") && !strings.Contains(top, "..") { // a title with ".." was allowed
		return "", fmt.Errorf(`%w: by ".."`, store.ErrPath)
	}
	rel := clean
	switch {
	case name == "":
		return "", errors.New("the name is empty")
	case clean == top:
		return ".", nil
	case top != ".":
		var ok bool
		if rel, ok = strings.CutPrefix(clean, strings.TrimSuffix(top, "/")+"/"); !ok {
			return "", fmt.Errorf("%w: it is not below %q", store.ErrPath, title)
		}
	}
	return rel, checkName(rel, runtime.GOOS == "windows")
}

// entries are the entries of a tar so far by path, with their types. What lies
// above an entry is a directory.
type entries map[string]byte

// add refuses an entry that must not be written: devices, links that lead out,
// names that stand twice, and whatever lies below something that is no
// directory, such as a link that came before.
func (seen entries) add(h *tar.Header, rel, title string) error {
	fail := func(format string, args ...any) error {
		return classed(fmt.Errorf("entry %q: %w", h.Name, fmt.Errorf(format, args...)))
	}
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
		if kind, ok := seen[dir]; ok && kind != tar.TypeDir {
			return fail("%q above it is not a directory", dir)
		} else if ok {
			break
		}
		seen[dir] = tar.TypeDir
	}
	if kind, twice := seen[rel]; twice && (kind != tar.TypeDir || h.Typeflag != tar.TypeDir) {
		return fail("it stands twice")
	}
	seen[rel] = h.Typeflag
	if rel == "." && h.Typeflag != tar.TypeDir {
		return fail("the directory itself is not one")
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		if err := checkLink(rel, h.Linkname, runtime.GOOS == "windows"); err != nil {
			return fail("%w", err)
		}
		return nil
	case tar.TypeLink:
		to, err := entryPath(h.Linkname, title)
		if err != nil {
			return fail("the hard link to %q: %w", h.Linkname, err)
		}
		if kind := seen[to]; kind != tar.TypeReg && kind != tar.TypeLink {
			return fail("the hard link to %q: no file of that name came before", h.Linkname)
		}
		return nil
	}
	return fail("it is a device, a pipe or of an unknown type (%q)", h.Typeflag)
}

// extraction writes the entries of a packed directory that was proven.
type extraction struct {
	*target
	readOnly []*tar.Header // directories that get their modes at the end
	names    []string      // of readOnly, below root
	lastDir  string        // known to be a directory
}

func (u *unpacking) extract(ctx context.Context, t *target) error {
	x := &extraction{target: t}
	if err := x.ensureDir(t.name, 0o777); err != nil {
		return err
	}
	buf := make([]byte, copyBuffer)
	err := u.eachEntry(ctx, t, io.Discard, func(h *tar.Header, rel string, r io.Reader) error {
		return x.write(h, rel, r, buf)
	})
	for i := len(x.names) - 1; i >= 0 && err == nil; i-- {
		var info fs.FileInfo
		if info, err = t.root.Lstat(x.names[i]); err == nil {
			err = t.root.Chmod(x.names[i], info.Mode().Perm()&x.readOnly[i].FileInfo().Mode().Perm())
		}
	}
	return err
}

// write makes one entry. Set-id and sticky bits are dropped, and the umask
// applies as to any new file.
func (x *extraction) write(h *tar.Header, rel string, r io.Reader, buf []byte) error {
	name := path.Join(x.name, rel)
	mode := h.FileInfo().Mode().Perm()
	if h.Typeflag == tar.TypeDir {
		if err := x.ensureDir(name, mode|0o700); err != nil {
			return err
		}
		if mode&0o700 != 0o700 {
			x.readOnly, x.names = append(x.readOnly, h), append(x.names, filepath.FromSlash(name))
		}
		return nil
	}
	if err := x.ensureDir(path.Dir(name), 0o777); err != nil {
		return err
	}
	local := filepath.FromSlash(name)
	if info, err := x.root.Lstat(local); err == nil && info.IsDir() {
		return inTheWay(x.root, name, info)
	}
	temp := filepath.FromSlash(partialName(name, x.desc.Digest))
	_ = x.root.Remove(temp) // left by a dead process, or not there
	if err := x.create(temp, h, r, buf); err != nil {
		_ = x.root.Remove(temp)
		return err
	}
	err := x.root.Rename(temp, local)
	if err != nil || h.Typeflag == tar.TypeLink {
		_ = x.root.Remove(temp) // POSIX rename does nothing between two names of one file
	}
	return err
}

// create makes the entry under a temporary name.
func (x *extraction) create(temp string, h *tar.Header, r io.Reader, buf []byte) error {
	switch h.Typeflag {
	case tar.TypeSymlink:
		return x.root.Symlink(h.Linkname, temp)
	case tar.TypeLink:
		rel, err := entryPath(h.Linkname, x.title)
		if err != nil {
			return err
		}
		return x.root.Link(filepath.FromSlash(path.Join(x.name, rel)), temp)
	}
	f, err := x.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, h.FileInfo().Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{r}, buf)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	// Time zero means that the packer kept none.
	if err == nil && h.ModTime.Unix() > 0 {
		err = x.root.Chtimes(temp, h.ModTime, h.ModTime)
	}
	return err
}

// ensureDir makes a directory and those above it, up to the root. A link of
// that name is replaced: nothing is written through it.
func (x *extraction) ensureDir(name string, mode fs.FileMode) error {
	if name == "." || name == x.lastDir {
		return nil
	}
	if err := x.ensureDir(path.Dir(name), 0o777); err != nil {
		return err
	}
	local := filepath.FromSlash(name)
	info, err := x.root.Lstat(local)
	switch {
	case err == nil && info.IsDir():
		x.lastDir = name
		return nil
	case err == nil && info.Mode()&fs.ModeSymlink != 0:
		if err := x.root.Remove(local); err != nil {
			return err
		}
	case err == nil:
		return inTheWay(x.root, name, info)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	x.lastDir = name
	return x.root.Mkdir(local, mode)
}
