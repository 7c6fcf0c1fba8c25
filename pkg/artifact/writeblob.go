package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stet-oci/stet/pkg/store"
)

// WriteBlob makes a file the content of a blob. The file has its name only when
// all bytes are there and proven; until then an old file stays. What a run
// before this one got of the same blob, until it was cut, is kept and gone on
// from.
//
// What is there and is no file, such as a pipe or a terminal, cannot be
// replaced: the bytes are written to it, and proven before the last of them.
func WriteBlob(ctx context.Context, b store.Blob, file string) error {
	info, err := os.Stat(file)
	switch {
	case err == nil && info.IsDir():
		return &fs.PathError{Op: "write", Path: file, Err: syscall.EISDIR}
	case err == nil && !info.Mode().IsRegular():
		return writeThrough(ctx, b, file)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dir, name := filepath.Split(file)
	if dir == "" {
		dir = "."
	}
	if name == "" {
		return &fs.PathError{Op: "write", Path: file, Err: fs.ErrNotExist} // DIR/, which is not there
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	p, err := openPartial(root, name, b.Digest, false)
	if err != nil {
		return inDir(dir, err)
	}
	if err := p.fill(ctx, b, b.Descriptor); err != nil {
		if !resumable(ctx, err) || !p.leave(name, b.Digest, 1) {
			p.discard()
		}
		return inDir(dir, err)
	}
	if err := p.sync(); err != nil {
		p.discard()
		return inDir(dir, err)
	}
	return inDir(dir, p.commit(name))
}

// resumable says whether a transfer was only cut: nothing is wrong with what
// came, and the next run goes on from there. So it is for who has to sign in
// first, whose token may have ended in the middle.
func resumable(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) ||
		errors.Is(err, store.ErrUnauthorized) || errors.Is(err, store.ErrDenied)
}

// inDir names the directory where an error is about a name in an os.Root, which
// tells of that alone.
func inDir(dir string, err error) error {
	var one *fs.PathError
	var two *os.LinkError
	name := ""
	if errors.As(err, &one) {
		name = one.Path
	} else if errors.As(err, &two) {
		name = two.Old
	}
	if name == "" || dir == "." || filepath.IsAbs(name) || strings.HasPrefix(name, dir) {
		return err
	}
	return fmt.Errorf("%s: %w", filepath.Clean(dir), err)
}

func writeThrough(ctx context.Context, b store.Blob, file string) error {
	out, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = CopyBlob(ctx, out, b)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}

// CopyBlob writes a blob. It proves the bytes before it has written the last of
// them: who reads them to their end has the right ones, or sees them cut off.
func CopyBlob(ctx context.Context, w io.Writer, b store.Blob) error {
	rc, err := store.VerifyBlob(b).Open(ctx, 0)
	if err != nil {
		return err
	}
	defer rc.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{rc}, make([]byte, copyBuffer))
	return err
}
