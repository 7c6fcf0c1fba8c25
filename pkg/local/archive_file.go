package local

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/internal/lockfile"
	"github.com/stet-oci/stet/pkg/store"
)

// partialSuffix ends the names of files that are being made beside an archive.
const partialSuffix = ".partial"

// archiveFile is a tar with OCI layouts in it. What is put goes to the end of a
// new file beside it; Close completes that and puts it in place of the old one.
type archiveFile struct {
	file string
	wait time.Duration
	keep bool   // a blob alone is a reason to write
	root string // the name of the repository at the root of the tar; "" without a registry

	mu      sync.Mutex              // all below
	layouts map[string]*packed      // by their directories in the tar; "." is the root
	old     *os.File                // nil where there is none
	made    *os.File                // the new file, from the first write on
	end     int64                   // of what is in it
	written map[string]place        // its blobs, by name
	proven  map[digest.Digest]place // the same, by digest: each was proven when it came
	holders map[place]string        // the entry of the new file that has the content of a place
	dirs    map[string]bool         // its directories
	passed  []*os.File              // what others have replaced, or was begun anew; blobs may still be read from it
	lock    *flock.Flock
	dirty   bool // a manifest or tag has changed, or what a manifest lacked has come
}

func openArchiveFile(file string, opts LayoutOptions) (*archiveFile, error) {
	f := &archiveFile{file: file, wait: opts.LockWait, keep: opts.KeepBlobs}
	if f.wait == 0 {
		f.wait = DefaultLockWait
	}
	return f, f.load()
}

// load reads the table of contents, and the manifests into memory.
func (f *archiveFile) load() error {
	f.layouts = map[string]*packed{}
	in, err := os.OpenFile(f.file, os.O_RDONLY|lockfile.NoWait, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info, err := in.Stat(); err == nil && !info.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("%w: %s is not a regular file", store.ErrInvalid, f.file), in.Close())
	}
	f.old = in
	files, err := survey(in)
	if err == nil {
		err = f.unpack(files)
	}
	if err != nil {
		f.old = nil
		return errors.Join(fmt.Errorf("%s: %w", f.file, err), in.Close())
	}
	return nil
}

// unpack finds the layouts among the files of the tar.
func (f *archiveFile) unpack(files map[string]place) error {
	for name := range files {
		if path.Base(name) == layoutFile {
			f.layouts[path.Dir(name)] = newPacked()
		}
	}
	if len(f.layouts) == 0 {
		return fmt.Errorf("%w: no OCI layout is in the archive", store.ErrInvalid)
	}
	for name, p := range files {
		dir, d := layoutEntry(name)
		if l := f.layouts[dir]; l != nil && d != "" {
			l.blobs[d] = p
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(f.layouts)) {
		if err := f.layouts[dir].load(dir, files); err != nil {
			return err
		}
	}
	return nil
}

// begin makes the new file, once, under the lock. What another process has
// written since the archive was opened is read anew.
func (f *archiveFile) begin(ctx context.Context) error {
	if f.made != nil {
		return nil
	}
	lock, err := f.takeLock(ctx)
	if err != nil {
		return err
	}
	f.sweep()
	err = f.reload()
	if err == nil {
		err = f.restart()
	}
	if err != nil {
		return errors.Join(err, lock.Unlock())
	}
	f.lock = lock
	return nil
}

func (f *archiveFile) reload() error {
	now, err := os.Stat(f.file)
	if err != nil {
		return nil // still not there
	}
	if f.old != nil {
		then, err := f.old.Stat()
		if err != nil || os.SameFile(then, now) {
			return err
		}
		f.passed = append(f.passed, f.old)
	}
	return f.load()
}

// restart begins a new file, with nothing in it.
func (f *archiveFile) restart() error {
	made, err := f.temp()
	if err == nil {
		f.made, f.end = made, 0
		f.written, f.proven, f.holders = map[string]place{}, map[digest.Digest]place{}, map[place]string{}
		f.dirs = map[string]bool{".": true}
	}
	return err
}

// add appends a blob to the new file.
func (f *archiveFile) add(name string, content io.Reader, size int64) (place, error) {
	at, err := f.entry(&tar.Header{Name: name, Size: size}, content)
	if err != nil {
		return place{}, err
	}
	p := place{in: f.made, at: at, size: size}
	f.written[name], f.holders[p] = p, name
	return p, nil
}

// entry appends an entry, after those of the directories that it is in, and gives
// the offset of its content. Skopeo gives a directory that has no entry to root,
// and fails where it is not root.
func (f *archiveFile) entry(h *tar.Header, content io.Reader) (at int64, err error) {
	if err := f.inDirectory(path.Dir(h.Name)); err != nil {
		return 0, err
	}
	h.Mode = 0o644
	return f.append(h, content)
}

// inDirectory appends the entries of a directory and of those that it is in, each once.
func (f *archiveFile) inDirectory(name string) error {
	if f.dirs[name] {
		return nil
	}
	err := f.inDirectory(path.Dir(name))
	if err == nil {
		_, err = f.append(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}, bytes.NewReader(nil))
	}
	f.dirs[name] = err == nil
	return err
}

// append appends an entry. What fails half way is cut off again.
func (f *archiveFile) append(h *tar.Header, content io.Reader) (at int64, err error) {
	if _, err := f.made.Seek(f.end, io.SeekStart); err != nil {
		return 0, err
	}
	h.Format = tar.FormatPAX
	w := tar.NewWriter(f.made)
	err = w.WriteHeader(h)
	if err == nil {
		at, err = f.made.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		_, err = io.CopyBuffer(w, content, make([]byte, copyBuffer))
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return 0, errors.Join(err, f.made.Truncate(f.end))
	}
	f.end, err = f.made.Seek(0, io.SeekCurrent)
	return at, err
}

// close puts the new file in place of the old, if there is a reason to.
func (f *archiveFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.made != nil {
		if f.dirty {
			err = f.finish()
		}
		name := f.made.Name() // which finish may have changed
		err = errors.Join(err, f.made.Close())
		if f.dirty && err == nil {
			err = os.Rename(name, f.file)
		}
		if !f.dirty || err != nil {
			err = errors.Join(err, os.Remove(name))
		}
		err = errors.Join(err, f.lock.Unlock())
		f.made, f.dirty = nil, false
	}
	if f.old != nil {
		f.passed = append(f.passed, f.old)
	}
	for _, in := range f.passed {
		err = errors.Join(err, in.Close())
		if in.Name() != f.file {
			err = errors.Join(err, os.Remove(in.Name()))
		}
	}
	f.old, f.passed = nil, nil
	return err
}

// finish carries over what only the old file has, and writes what makes the
// file an archive of layouts: all in the order of names and digests.
func (f *archiveFile) finish() error {
	if f.stale() {
		f.passed = append(f.passed, f.made) // what is still named is carried over from it
		if err := f.restart(); err != nil {
			return err
		}
	}
	version, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	for _, dir := range slices.Sorted(maps.Keys(f.layouts)) {
		l := f.layouts[dir]
		for _, d := range slices.Sorted(maps.Keys(l.blobs)) {
			if err := f.carry(path.Join(dir, blobPath(d)), l.blobs[d]); err != nil {
				return err
			}
		}
		if err := errors.Join(f.whole(path.Join(dir, layoutFile), version), f.whole(path.Join(dir, indexFile), l.index.bytes())); err != nil {
			return err
		}
	}
	if _, err := f.made.Write(make([]byte, 2*tarBlock)); err != nil { // the end mark
		return err
	}
	if err := f.keepMode(); err != nil {
		return err
	}
	return f.made.Sync()
}

// whole appends a file that is in memory.
func (f *archiveFile) whole(name string, raw []byte) error {
	_, err := f.entry(&tar.Header{Name: name, Size: int64(len(raw))}, bytes.NewReader(raw))
	return err
}

// stale says whether something was written that has been deleted since.
func (f *archiveFile) stale() bool {
	live := 0
	for dir, l := range f.layouts {
		for d := range l.blobs {
			if _, ok := f.written[path.Join(dir, blobPath(d))]; ok {
				live++
			}
		}
	}
	return live < len(f.written)
}

// carry puts a blob into the new file under a name, unless it stands there. One
// file with two names stays one: the second is a link, as in the file system
// that `tar -x` makes of it.
func (f *archiveFile) carry(name string, p place) error {
	if _, ok := f.written[name]; ok {
		return nil
	}
	if first, ok := f.holders[p]; ok {
		_, err := f.entry(&tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: first}, bytes.NewReader(nil))
		return err
	}
	_, err := f.add(name, io.NewSectionReader(p.in, p.at, p.size), p.size)
	f.holders[p] = name
	return err
}
