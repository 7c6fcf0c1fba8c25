package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"

	"github.com/stet-oci/stet/pkg/store"
)

// target is a file or directory to be made.
type target struct {
	desc    store.Descriptor
	title   string
	unpack  bool
	dir     string // that it has to stay in, absolute
	root    *os.Root
	name    string // below dir, cleaned, with slashes
	path    string // absolute
	part    *partial
	mode    *fs.FileMode // that the artifact gives a file, or nil
	stage   string       // below root: the directory that it is extracted into, or ""
	closed  []closedDir  // of a packed directory, in the order of the tar
	outcome Outcome
	spoilt  bool // what came of it is not to be gone on with
}

// check looks at all titles, and then at what lies where they point to.
// Nothing is made but the directories that targets have to stay in.
func (u *unpacking) check(ctx context.Context) error {
	if _, err := u.checkTitles(); err != nil {
		return err
	}
	for _, t := range u.targets {
		if err := u.openRoot(t); err != nil {
			return err
		}
		if err := u.inspect(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// CheckTogether looks at manifests that will be unpacked with the same options,
// one after the other. It is ErrExists where one of them would replace a file
// of another by other content, and the error of Unpack for a title that must
// not be written; so nothing is unpacked before it is known.
func CheckTogether(ms []store.Manifest, o UnpackOptions) error {
	u := &unpacking{UnpackOptions: o}
	byPath := map[string]*target{}
	var all []*target
	for _, m := range ms {
		outline, err := store.ParseOutline(m)
		if err != nil {
			return err
		}
		u.targets = nil
		u.plan(outline)
		own, err := u.checkTitles()
		if err != nil {
			return err
		}
		for _, t := range u.targets {
			if other := byPath[t.path]; other != nil && other.desc.Digest != t.desc.Digest {
				return fmt.Errorf("%w: %q has more than one content: %s, and in another manifest %s", store.ErrExists, t.title, other.desc.Digest, t.desc.Digest)
			}
		}
		maps.Copy(byPath, own)
		all = append(all, u.targets...)
	}
	for _, t := range all {
		if other := belowFile(t, byPath); other != nil {
			return fmt.Errorf("%w: %q makes a directory of %q, a file in another manifest", store.ErrExists, t.title, other.title)
		}
	}
	return nil
}

// checkTitles finds out where the targets are to be, and whether all of them
// can. It gives the targets by their absolute paths.
func (u *unpacking) checkTitles() (map[string]*target, error) {
	byPath := map[string]*target{}
	for _, t := range u.targets {
		if err := u.checkTitle(t); err != nil {
			return nil, classed(fmt.Errorf("title %q of layer %s: %w", t.title, t.desc.Digest, err))
		}
		if err := t.readMode(); err != nil {
			return nil, err
		}
		if err := u.locate(t); err != nil {
			return nil, err
		}
		if other := byPath[t.path]; other != nil {
			return nil, fmt.Errorf("%w: the titles %q and %q of two layers are one path", store.ErrInvalid, other.title, t.title)
		}
		byPath[t.path] = t
	}
	for _, t := range u.targets {
		if other := belowFile(t, byPath); other != nil {
			return nil, fmt.Errorf("%w: the title %q makes a directory of the file %q", store.ErrInvalid, t.title, other.title)
		}
	}
	return byPath, nil
}

// belowFile gives the file among targets that a target would lie below, or nil.
func belowFile(t *target, byPath map[string]*target) *target {
	for dir := filepath.Dir(t.path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if other := byPath[dir]; other != nil && !other.unpack {
			return other
		}
	}
	return nil
}

func (u *unpacking) checkTitle(t *target) error {
	switch {
	case t.unpack && path.Clean(t.title) == "." && !strings.Contains(t.title, ".."):
		return nil // the output directory itself
	case u.AllowTraversal && strings.IndexFunc(t.title, unicode.IsControl) >= 0:
		return errors.New("it has control characters")
	case u.AllowTraversal && !filepath.IsLocal(filepath.FromSlash(t.title)):
		return checkForeign(filepath.ToSlash(t.title))
	case u.AllowTraversal:
		return checkName(path.Clean(t.title), runtime.GOOS == "windows")
	}
	return checkName(t.title, runtime.GOOS == "windows")
}

// locate finds the directory that a target has to stay in, and its name there.
// Only with AllowTraversal, which checkTitle saw to, that is not the output
// directory.
func (u *unpacking) locate(t *target) error {
	dir, err := filepath.Abs(u.Dir)
	if err != nil {
		return err
	}
	t.dir, t.name = dir, path.Clean(t.title)
	if local := filepath.FromSlash(t.name); !filepath.IsLocal(local) {
		if !filepath.IsAbs(local) {
			local = filepath.Join(dir, local)
		}
		t.dir, t.name = filepath.Dir(local), filepath.Base(local)
	}
	t.path = filepath.Join(t.dir, filepath.FromSlash(t.name))
	return nil
}

// openRoot opens the directory that a target has to stay in, and makes it.
func (u *unpacking) openRoot(t *target) error {
	for _, r := range u.roots {
		if r.Name() == t.dir {
			t.root = r
			return nil
		}
	}
	var missing []string
	for dir := t.dir; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append([]string{dir}, missing...)
	}
	u.outer = append(u.outer, missing...)
	err := os.MkdirAll(t.dir, 0o777)
	if err != nil {
		return err
	}
	if t.root, err = os.OpenRoot(t.dir); err == nil {
		u.roots = append(u.roots, t.root)
	}
	return err
}

// inspect looks at what is in the way of a target.
func (u *unpacking) inspect(ctx context.Context, t *target) error {
	for i, c := range t.name {
		if c != '/' {
			continue
		}
		info, err := t.root.Lstat(filepath.FromSlash(t.name[:i]))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return inTheWay(t.root, t.name[:i], info)
		}
	}
	info, err := t.root.Lstat(filepath.FromSlash(t.name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case isThere(ctx, t, info):
		t.outcome = Skipped
	case u.KeepOld && !(t.unpack && info.IsDir() && isEmpty(t.root, t.name)):
		return fmt.Errorf("%w: %s is to be kept", store.ErrExists, t.path)
	case info.Mode()&fs.ModeSymlink != 0:
		return nil // is replaced
	case info.IsDir() != t.unpack || !info.IsDir() && !info.Mode().IsRegular():
		return inTheWay(t.root, t.name, info)
	}
	return nil
}

func inTheWay(root *os.Root, name string, info fs.FileInfo) error {
	what := "not a directory"
	switch {
	case info.IsDir():
		what = "a directory"
	case info.Mode()&fs.ModeSymlink != 0:
		what = "a symbolic link, through which nothing is written"
	case !info.Mode().IsRegular():
		what = "not a file"
	}
	return fmt.Errorf("%w: %s is %s", store.ErrExists, filepath.Join(root.Name(), filepath.FromSlash(name)), what)
}

func isEmpty(root *os.Root, name string) bool {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return errors.Is(err, io.EOF)
}
