package artifact

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/stet-oci/stet/pkg/store"
)

// parseMode reads AnnotationMode. Set-id and sticky bits have no place in it:
// they would give a file rights that its permission bits do not show.
func parseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || len(s) != 4 || n > 0o777 {
		return 0, fmt.Errorf("%s=%q: it is four octal digits from 0000 to 0777", AnnotationMode, s)
	}
	return fs.FileMode(n), nil
}

// readMode finds the mode that the artifact gives a file.
func (t *target) readMode() error {
	s, given := t.desc.Annotations[AnnotationMode]
	if !given || t.unpack { // the tar has the modes of a directory
		return nil
	}
	mode, err := parseMode(s)
	if err != nil {
		return fmt.Errorf("%w: layer %s: %w", store.ErrInvalid, t.desc.Digest, err)
	}
	t.mode = &mode
	return nil
}

// setMode gives a file its mode as far as the umask allows it, as to any new
// file. It still has its other name, or is there and is to be changed.
func (u *unpacking) setMode(t *target) error {
	there := t.outcome == Skipped
	if t.mode == nil || there && u.KeepOld {
		return nil
	}
	mode, err := asNew(t.root, path.Dir(t.name), *t.mode)
	if err != nil {
		return err
	}
	name := filepath.FromSlash(t.name)
	if !there {
		name = filepath.FromSlash(t.part.name)
	}
	info, err := t.root.Lstat(name)
	if err != nil || info.Mode().Perm() == mode {
		return err
	}
	return t.root.Chmod(name, mode)
}

// asNew is mode as a new file in a directory gets it. A process cannot look at
// its umask without changing it, so a file is made to see.
func asNew(root *os.Root, dir string, mode fs.FileMode) (fs.FileMode, error) {
	name := filepath.FromSlash(path.Join(dir, ".mode."+rand.Text()+partialSuffix))
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	_ = f.Close() // nothing was written
	if removeErr := root.Remove(name); err == nil {
		err = removeErr
	}
	if err != nil {
		return 0, err
	}
	return info.Mode().Perm(), nil
}
