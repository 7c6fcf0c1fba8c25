package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// ingestPrefix begins the names in the work directory of files that are being
// written. Each is locked for as long as its writer lives.
const ingestPrefix = "ingest-"

// ingestFile is a file that is written beside its place. It ends with rename,
// or discard takes it away again.
type ingestFile struct {
	*os.File
	root *os.Root
	name string // in root; "" once it has its final name
}

// newIngest creates a file beside which nothing of its name exists, locked.
// The first one of an opened layout clears away what dead writers left: there
// is no better time, since who reads may have no right to remove anything.
func (l *layout) newIngest(root *os.Root) (*ingestFile, error) {
	l.swept.Do(func() { sweep(root) })
	// Each opened layout sweeps once, so few come between; the bound is for a
	// file system whose locks are broken.
	for range 100 {
		f, err := createIngest(root)
		if err != nil || f != nil {
			return f, err
		}
	}
	return nil, fmt.Errorf("%w: others take every new file in %s", store.ErrLocked, workDir)
}

// createIngest gives nil where a sweeper was quicker. Creating and locking are
// two steps, and in between the file looks like a dead writer's. But a sweeper
// removes only what it holds the lock of: so a file that is locked, and is
// then still there, is safe.
func createIngest(root *os.Root) (*ingestFile, error) {
	var name string
	f, err := inWorkDir(root, func() (*os.File, error) {
		name = workDir + "/" + ingestPrefix + rand.Text()
		return root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	})
	if err != nil {
		return nil, err
	}
	locked, err := tryLock(f)
	if locked && isNamed(root, name, f) {
		return &ingestFile{File: f, root: root, name: name}, nil
	}
	// A file system without locks fails here: index.json could not be changed
	// on it either, and without locks no sweeper would ever remove the file.
	if err != nil {
		_ = root.Remove(name)
	}
	_ = f.Close()
	return nil, err
}

// sweep removes the files of writers that died. A lock is free only when no
// process holds the file: an age would not tell, as one upload may take hours
// and the clocks of machines that share a directory differ. What cannot be
// removed stays and fails nobody's write; it may be another user's.
func sweep(root *os.Root) {
	dir, err := root.Open(workDir)
	if err != nil {
		return // nothing was ever written
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(-1)
	for _, entry := range entries {
		// Never opened otherwise: a link may lead to a blob, a pipe blocks.
		if strings.HasPrefix(entry.Name(), ingestPrefix) && entry.Type().IsRegular() {
			sweepFile(root, workDir+"/"+entry.Name())
		}
	}
}

func sweepFile(root *os.Root, name string) {
	// NFS grants an exclusive lock only on a file that is open for writing.
	f, err := root.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close() // after the removal: until then nobody else may take it for his own
	// A writer that finished meanwhile has renamed the file, which is a blob now.
	if locked, err := tryLock(f); err == nil && locked && isNamed(root, name, f) {
		_ = root.Remove(name)
	}
}

// isNamed says whether name still is the file that was opened by it.
func isNamed(root *os.Root, name string, f *os.File) bool {
	now, err := root.Lstat(name)
	opened, statErr := f.Stat()
	return err == nil && statErr == nil && os.SameFile(now, opened)
}

// rename gives the file its final name, and closes it. The bytes are safe from
// a loss of power before they are found by that name.
func (f *ingestFile) rename(name string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	// While it is open it is locked, so no sweeper comes before the rename.
	err := f.root.Rename(f.name, name)
	if errors.Is(err, fs.ErrNotExist) { // the first of its directory
		if err := f.root.MkdirAll(path.Dir(name), 0o777); err != nil {
			return err
		}
		err = f.root.Rename(f.name, name)
	}
	if err != nil {
		// Not every file system of Windows renames what is open.
		_ = f.Close()
		err = f.root.Rename(f.name, name)
	}
	if err != nil {
		return err
	}
	f.name = ""
	_ = f.Close() // Sync has told what could go wrong
	return nil
}

// discard removes the file unless it was renamed. It may be called after either.
func (f *ingestFile) discard() {
	if f.name != "" {
		_ = f.root.Remove(f.name)
	}
	_ = f.Close()
}

// inWorkDir creates a file in the work directory, and the directory where it
// is missing. Another writer that fails may remove the empty directory just
// then, so it is tried more than once.
func inWorkDir(root *os.Root, create func() (*os.File, error)) (f *os.File, err error) {
	for range 10 {
		if f, err = create(); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if err := root.MkdirAll(workDir, 0o777); err != nil {
			return nil, err
		}
	}
	return nil, err
}

// writeFile gives a file new content all at once: who reads it sees the old or
// the new bytes, also after a crash.
func (l *layout) writeFile(root *os.Root, name string, raw []byte) error {
	err := l.replaceFile(root, name, raw)
	if err == nil {
		syncDir(root, path.Dir(name))
	}
	return err
}

// replaceFile is writeFile whose name lasts only when syncDir was called.
func (l *layout) replaceFile(root *os.Root, name string, raw []byte) error {
	f, err := l.newIngest(root)
	if err != nil {
		return err
	}
	defer f.discard()
	if _, err := f.Write(raw); err != nil {
		return err
	}
	return f.rename(name)
}

// syncDir makes names in a directory last. Not every system can, and the names
// are right without it, so it does not fail.
func syncDir(root *os.Root, name string) {
	if dir, err := root.Open(name); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
}
