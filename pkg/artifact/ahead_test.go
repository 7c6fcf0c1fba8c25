//go:build !windows

package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// What is read ahead is what was there, in its order, and then its error.
func TestAhead(t *testing.T) {
	broken := errors.New("broken")
	for _, size := range []int{0, 1, copyBuffer - 1, copyBuffer, copyBuffer + 1, (aheadPieces + 3) * copyBuffer} {
		want := bytes.Repeat([]byte("0123456789abcdef-"), size/17+1)[:size]
		for name, r := range map[string]io.Reader{
			"at once": bytes.NewReader(want), "with its end": iotest.DataErrReader(bytes.NewReader(want)), "in halves": iotest.HalfReader(bytes.NewReader(want)),
		} {
			for _, end := range []error{nil, broken} {
				if end != nil {
					r = io.MultiReader(bytes.NewReader(want), iotest.ErrReader(end))
				}
				a := newAhead(r)
				got, err := io.ReadAll(a)
				if !bytes.Equal(got, want) || !errors.Is(err, end) {
					t.Errorf("%d bytes, %s: got %d of them, %v", size, name, len(got), err)
				}
				if n, again := a.Read(make([]byte, 1)); n != 0 || end == nil && again != io.EOF || end != nil && again != end {
					t.Errorf("%d bytes, %s: after the end %d, %v", size, name, n, again)
				}
				a.Close()
			}
		}
	}
}

// counted says how much was read, and that nobody reads after Close.
type counted struct {
	t      *testing.T
	n      int
	closed bool
}

func (c *counted) Read(p []byte) (int, error) {
	if c.closed {
		c.t.Error("it is read after Close")
	}
	c.n += len(p)
	return len(p), nil
}

// Nothing is read after Close, and no more than the bound ahead of the reader.
func TestAheadCloses(t *testing.T) {
	c := &counted{t: t}
	a := newAhead(c)
	if _, err := io.ReadFull(a, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	a.Close()
	c.closed = true
	if c.n > aheadPieces*copyBuffer {
		t.Errorf("%d bytes were read for 10", c.n)
	}
}

// Files of all sizes, links to them, and links to links arrive whole, though
// files are written side by side.
func TestUnpackManyFiles(t *testing.T) {
	var headers []*tar.Header
	want := map[string]string{}
	for i := range 200 {
		content := strings.Repeat(fmt.Sprintf("%d ", i), i*i/8)
		if i%50 == 7 {
			content = strings.Repeat("large", smallFile/5+i)
		}
		name, to := fmt.Sprintf("site/d%d/f%d", i%9, i), fmt.Sprintf("site/l%d", i)
		want[name], want[to] = content, content
		headers = append(headers, file(name, content), link(tar.TypeLink, to, name))
	}
	dir := t.TempDir()
	src := &source{}
	d := src.packed(t, "site", Gzip, makeTar(t, headers...))
	if _, err := Unpack(t.Context(), src, manifest(t, d), UnpackOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != content {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(content), err)
		}
	}
}
