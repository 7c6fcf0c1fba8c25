package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/stet-oci/stet/pkg/store"
)

// openFile reads a file from an offset on. The file must be what it was when
// it was packed, from the first byte to the last, or it is ErrChanged.
func openFile(ctx context.Context, name string, want fs.FileInfo, offset int64) (io.ReadCloser, error) {
	if offset < 0 || offset > want.Size() {
		return nil, store.ErrRange
	}
	f, err := os.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s: %w", store.ErrChanged, name, err)
		}
		return nil, err
	}
	g := &guarded{ctx: ctx, file: f, path: name, want: want, left: want.Size() - offset}
	if err = g.check(); err == nil && offset > 0 {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return g, nil
}

// guarded reads a file of known size and gives out its last bytes only when
// nothing about it has changed. Otherwise who sends them with a declared length
// would have sent all before the change is noticed.
type guarded struct {
	ctx  context.Context
	file *os.File
	path string
	want fs.FileInfo // of when it was packed
	left int64
	err  error
}

func (g *guarded) Read(p []byte) (int, error) {
	if g.err == nil {
		g.err = g.ctx.Err()
	}
	if g.err != nil {
		return 0, g.err
	}
	if g.left == 0 { // nothing was to be read, or everything was
		if g.err = g.check(); g.err == nil {
			g.err = io.EOF
		}
		return 0, g.err
	}
	n, err := g.file.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && g.left > 0:
		g.err = fmt.Errorf("%w: %s is %d bytes shorter than it was", store.ErrChanged, g.path, g.left)
	case err != nil && !errors.Is(err, io.EOF):
		g.err = err
	case g.left == 0:
		g.err = g.check()
	}
	if g.err != nil {
		return 0, g.err
	}
	return n, nil
}

// check compares size, time and identity of the open file with those of when
// it was packed.
func (g *guarded) check() error {
	now, err := g.file.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(now, g.want) || now.Size() != g.want.Size() || !now.ModTime().Equal(g.want.ModTime()) {
		return fmt.Errorf("%w: %s", store.ErrChanged, g.path)
	}
	return nil
}

// Close closes the file.
func (g *guarded) Close() error { return g.file.Close() }
