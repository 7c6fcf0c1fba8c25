package local

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// place is where a file of an archive lies.
type place struct {
	in       *os.File
	at, size int64
}

// contents is the table of contents of a tar: regular files, and the links to
// them, by their names.
type contents struct {
	in    *os.File
	files map[string]place
	links map[string]string
}

// tarBlock is what a tar is made of.
const tarBlock = 512

// maxLinks is how many links may stand between a name and its file.
const maxLinks = 40

// survey reads the headers of a tar. What is not plainly right is refused as a
// whole: an archive that two tools would read in two ways is no backup.
func survey(f *os.File) (map[string]place, error) {
	if name := compression(f); name != "" {
		return nil, fmt.Errorf("%w: the archive is compressed with %s; only a plain tar can be read where it lies", store.ErrInvalid, name)
	}
	c := contents{in: f, files: map[string]place{}, links: map[string]string{}}
	r := tar.NewReader(f) // which seeks over what is not read
	var end int64
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: not a whole tar archive: %s", store.ErrInvalid, err)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if end = at; h.Typeflag == tar.TypeReg {
			end += (h.Size + tarBlock - 1) / tarBlock * tarBlock
		}
		if err := c.add(h, at); err != nil {
			return nil, err
		}
	}
	// Without its end mark, a tar that was cut between two files looks whole.
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at <= end {
		return nil, errors.Join(fmt.Errorf("%w: not a whole tar archive: the end mark is missing", store.ErrInvalid), err)
	}
	return c.files, c.follow()
}

// compression names what a file is compressed with, or is "".
func compression(f *os.File) string {
	head := make([]byte, 6)
	n, _ := f.ReadAt(head, 0)
	for name, magic := range map[string]string{
		"gzip": "\x1f\x8b", "zstd": "\x28\xb5\x2f\xfd", "xz": "\xfd7zXZ\x00", "bzip2": "BZh",
	} {
		if bytes.HasPrefix(head[:n], []byte(magic)) {
			return name
		}
	}
	return ""
}

func (c *contents) add(h *tar.Header, at int64) error {
	name, ok := inside(h.Name)
	if !ok {
		return fmt.Errorf("%w: the entry %q leads out of the archive", store.ErrInvalid, h.Name)
	}
	target := h.Linkname
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeLink:
	case tar.TypeSymlink:
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
	default:
		return nil
	}
	_, file := c.files[name]
	if _, link := c.links[name]; file || link {
		return fmt.Errorf("%w: the entry %q stands twice in the archive", store.ErrInvalid, name)
	}
	if h.Typeflag == tar.TypeReg {
		c.files[name] = place{in: c.in, at: at, size: h.Size}
		return nil
	}
	if target, ok = inside(target); !ok {
		return fmt.Errorf("%w: the link %q leads out of the archive, to %q", store.ErrInvalid, name, h.Linkname)
	}
	c.links[name] = target
	return nil
}

// inside cleans a name of the archive; one that leads out of it is not ok.
func inside(name string) (string, bool) {
	if strings.HasPrefix(name, "/") {
		return "", false
	}
	name = path.Clean(name)
	return name, fs.ValidPath(name)
}

// follow makes files of the links. It follows them inside the archive alone. A
// link to nothing counts where it stands for a file of a layout.
func (c *contents) follow() error {
	found := map[string]place{}
	for _, name := range slices.Sorted(maps.Keys(c.links)) {
		target := c.links[name]
		for n := 0; c.links[target] != "" && n < maxLinks; n++ {
			target = c.links[target]
		}
		p, ok := c.files[target]
		if dir, _ := layoutEntry(name); !ok && dir != "" {
			return fmt.Errorf("%w: the link %q leads to %q, which is not in the archive", store.ErrInvalid, name, c.links[name])
		}
		if ok {
			found[name] = p
		}
	}
	maps.Copy(c.files, found)
	return nil
}

// layoutEntry reads a name as a file of a layout: the directory of the layout,
// "." for the archive's root, and the digest where the file is a blob. The
// directory is "" for all other names.
func layoutEntry(name string) (dir string, d digest.Digest) {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if base == indexFile || base == layoutFile {
		return dir, ""
	}
	d = digest.NewDigestFromEncoded(digest.Algorithm(path.Base(dir)), base)
	if blobs := path.Dir(dir); path.Base(blobs) == blobsDir && d.Validate() == nil {
		return path.Dir(blobs), d
	}
	return "", ""
}
