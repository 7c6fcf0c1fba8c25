package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/stet-oci/stet/pkg/store"

	"github.com/opencontainers/go-digest"
)

// extract makes the stage of a packed directory, and proves on the way that
// every entry may be written, that the limits hold, and that the digest of the
// tar is the annotated one. So nothing of a bad archive ever lands.
func (u *unpacking) extract(ctx context.Context, t *target) error {
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
	t.stage = stageName(t.part.name)
	// What a dead process left there, openPartial has removed.
	if err := t.root.Mkdir(filepath.FromSlash(t.stage), 0o777); err != nil {
		return err
	}
	x := newExtraction(t)
	seen := entries{}
	err := u.eachEntry(ctx, t, sum, func(h *tar.Header, rel string, r io.Reader) error {
		if err := seen.add(h, rel, t.title); err != nil {
			return err
		}
		return x.write(h, rel, r)
	})
	if failed := x.wait(); failed != nil { // at an entry that came before any other fault
		return failed
	}
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
	// Decompressing and hashing go ahead of whoever makes files of it.
	content := newAhead(io.TeeReader(plain, sum))
	defer content.Close()
	limited := &limitedReader{ctx: ctx, r: content, left: maxBytes, limit: maxBytes}
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
		if err := visit(h, rel, entryReader{tr}); err != nil {
			return err
		}
	}
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{limited}, make([]byte, copyBuffer)); err != nil {
		return invalidTar(err)
	}
	return nil
}

// entryReader reads an entry and gives the faults of the archive their class.
type entryReader struct{ r io.Reader }

func (e entryReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = invalidTar(err)
	}
	return n, err
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
