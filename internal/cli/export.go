package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stet-oci/stet/pkg/store"
)

// export is a file that a command writes at its end. It is opened at the
// beginning, beside its place, so that a place that cannot be written is found
// before anything is done, and nobody sees half of it. nil is no export.
type export struct {
	path string
	file *os.File
	raw  []byte
	done bool // raw is what is to be written
}

// openExport opens a file for path, nil for "". What is there and is no regular
// file, such as a pipe or /dev/stdout, is written as it is.
func openExport(path string) (*export, error) {
	if path == "" {
		return nil, nil
	}
	if err := checkExport(path); err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the file that a link names is replaced, not the link
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		return &export{path: path, file: f}, err
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dir, base := filepath.Split(path)
	f, err := os.OpenFile(dir+"."+base+"."+rand.Text()[:8]+".partial", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	return &export{path: path, file: f}, err
}

// checkExport refuses what means standard output elsewhere: that has the result.
func checkExport(path string) error {
	if path == outputStdout {
		return fmt.Errorf("%w: --export-manifest writes a file, as standard output has the result; a file called - is ./-", store.ErrUsage)
	}
	return nil
}

// keep takes the content that end will write.
func (e *export) keep(raw []byte) {
	if e != nil {
		e.raw, e.done = raw, true
	}
}

// end writes the file and gives it its name, unless there is an err, which it
// gives back.
func (e *export) end(err error) error {
	if e == nil {
		return err
	}
	if err == nil && e.done {
		_, err = e.file.Write(e.raw)
	}
	if closeErr := e.file.Close(); err == nil {
		err = closeErr
	}
	if e.file.Name() == e.path {
		return err
	}
	if err == nil && e.done {
		err = os.Rename(e.file.Name(), e.path)
	}
	if err != nil || !e.done {
		_ = os.Remove(e.file.Name()) // err is told
	}
	return err
}
