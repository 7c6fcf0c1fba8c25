package artifact

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// extraction writes entries into the stage of a target, which begins empty. So
// what is in the way of one is another entry of the same tar, and there is no
// link to write through: entries.add refuses what lies below one.
//
// Directories and links are made in the order of the tar. Small files are read
// in that order and written side by side: to make a file takes longer than to
// fill it.
type extraction struct {
	*target
	buf     []byte
	lastDir string // known to be a directory

	files errgroup.Group
	bufs  chan []byte // for the content of small files, when it was written
	bad   atomic.Bool // one of files failed
}

// The files that are written side by side, and how large they are at most: what
// is larger is written while it is decompressed.
const (
	fileWriters = 4
	smallFile   = copyBuffer
)

func newExtraction(t *target) *extraction {
	x := &extraction{target: t, buf: make([]byte, copyBuffer), lastDir: t.stage, bufs: make(chan []byte, fileWriters+1)}
	x.files.SetLimit(fileWriters)
	return x
}

// wait waits for the files that are being written, and gives the first error.
func (x *extraction) wait() error { return x.files.Wait() }

// closedDir is a directory whose mode lacks a right of its owner. It gets that
// mode when it is in its place.
type closedDir struct {
	rel  string // below the directory that is unpacked
	mode fs.FileMode
}

// write makes one entry, or begins to. Set-id and sticky bits are dropped, and
// the umask applies as to any new file.
func (x *extraction) write(h *tar.Header, rel string, r io.Reader) error {
	if x.bad.Load() {
		return x.wait()
	}
	name := path.Join(x.stage, rel)
	mode := h.FileInfo().Mode().Perm()
	if h.Typeflag == tar.TypeDir {
		if mode&0o700 != 0o700 {
			x.closed = append(x.closed, closedDir{rel, mode})
		}
		return x.makeDir(name, mode|0o700)
	}
	if err := x.makeDir(path.Dir(name), 0o777); err != nil {
		return err
	}
	local := filepath.FromSlash(name)
	if h.Typeflag == tar.TypeReg && h.Size <= smallFile {
		return x.createLater(local, h, r)
	}
	return x.create(local, h, func(f io.Writer) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{f}, r, x.buf)
		return err
	})
}

// createLater reads a small file and leaves it to others to write it.
func (x *extraction) createLater(local string, h *tar.Header, r io.Reader) error {
	var buf []byte
	select {
	case buf = <-x.bufs:
	default: // at most one for each writer, and one that is being read into
		buf = make([]byte, smallFile)
	}
	content := buf[:h.Size]
	if _, err := io.ReadFull(r, content); err != nil {
		return err
	}
	x.files.Go(func() error {
		err := x.create(local, h, func(f io.Writer) error {
			_, err := f.Write(content)
			return err
		})
		x.bufs <- buf
		if err != nil {
			x.bad.Store(true)
		}
		return err
	})
	return nil
}

// sameName is ErrExists for an entry whose name the file system takes for that
// of another one, because it does not tell upper from lower case, for example.
func sameName(name string) error {
	return fmt.Errorf("%w: entry %q: here its name is that of another entry", store.ErrExists, name)
}

// create makes an entry, a file with what fill writes into it.
func (x *extraction) create(local string, h *tar.Header, fill func(io.Writer) error) (err error) {
	switch h.Typeflag {
	case tar.TypeSymlink:
		err = x.root.Symlink(h.Linkname, local)
	case tar.TypeLink:
		err = x.link(local, h)
	default:
		err = x.file(local, h, fill)
	}
	if errors.Is(err, fs.ErrExist) {
		return sameName(h.Name)
	}
	return err
}

// link makes a hard link to a file that came before, and is there when all of
// those are.
func (x *extraction) link(local string, h *tar.Header) error {
	if err := x.wait(); err != nil {
		return err
	}
	rel, err := entryPath(h.Linkname, x.title)
	if err != nil {
		return err
	}
	return x.root.Link(filepath.FromSlash(path.Join(x.stage, rel)), local)
}

func (x *extraction) file(local string, h *tar.Header, fill func(io.Writer) error) error {
	f, err := x.root.OpenFile(local, os.O_WRONLY|os.O_CREATE|os.O_EXCL, h.FileInfo().Mode().Perm())
	if err != nil {
		return err
	}
	err = fill(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	// Time zero means that the packer kept none.
	if err == nil && h.ModTime.Unix() > 0 {
		err = x.root.Chtimes(local, h.ModTime, h.ModTime)
	}
	return err
}

// makeDir makes a directory and those above it, up to the stage.
func (x *extraction) makeDir(name string, mode fs.FileMode) error {
	if name == x.stage || name == x.lastDir {
		return nil
	}
	if err := x.makeDir(path.Dir(name), 0o777); err != nil {
		return err
	}
	local := filepath.FromSlash(name)
	err := x.root.Mkdir(local, mode)
	if errors.Is(err, fs.ErrExist) {
		info, statErr := x.root.Lstat(local)
		if statErr == nil && !info.IsDir() {
			return sameName(strings.TrimPrefix(name, x.stage+"/"))
		}
		err = statErr
	}
	x.lastDir = name
	return err
}
