package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// DiffFiles says in what the files below a directory differ from those of an
// artifact: what a pull would add or replace there, turned round. Packed
// directories are read, and compared entry by entry: type, content, target of a
// link, and whether it can be executed; other bits of the mode and times are
// not the artifact's alone. Layers without a title are no files.
func DiffFiles(ctx context.Context, from Side, dir string) ([]Difference, error) {
	m, err := readManifest(ctx, from.Store, from.Root)
	if err != nil {
		return nil, err
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, err
	}
	if len(o.Manifests) > 0 {
		return nil, fmt.Errorf("%w: an index has no files; choose one of its manifests", store.ErrUsage)
	}
	want := map[string]tarEntry{}
	for _, d := range o.Layers {
		if err := addWanted(ctx, from.Store, d, want); err != nil {
			return nil, err
		}
	}
	have, err := readFiles(ctx, dir, want)
	if err != nil {
		return nil, err
	}
	return diffFiles(want, have), nil
}

// addWanted adds the files of one layer, by their paths.
func addWanted(ctx context.Context, s store.Reader, d store.Descriptor, want map[string]tarEntry) error {
	title := d.Annotations[ocispec.AnnotationTitle]
	if title == "" {
		return nil
	}
	if d.Annotations[AnnotationUnpack] != "true" {
		want[path.Clean(title)] = tarEntry{kind: tar.TypeReg, size: d.Size, content: d.Digest, mode: anyMode}
		return nil
	}
	entries, err := readTar(ctx, s, d)
	if err != nil {
		return err
	}
	for name, e := range entries {
		if e.kind == tar.TypeLink { // a file as any other, once it is unpacked
			target := entries[e.link]
			target.mode = e.mode
			e = target
		}
		want[path.Clean(name)] = e
	}
	return nil
}

// anyMode stands for the mode of a file whose artifact keeps none.
const anyMode = fs.ModeIrregular

// readFiles reads what is below dir. Only where content of that size is wanted
// it is hashed. Directories that are not wanted are told by what is in them.
func readFiles(ctx context.Context, dir string, want map[string]tarEntry) (map[string]tarEntry, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	have := map[string]tarEntry{}
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err := errors.Join(err, context.Cause(ctx)); err != nil {
			return err
		}
		w, wanted := want[name]
		if entry.IsDir() && !wanted {
			return nil
		}
		e, err := readFile(ctx, root, name, w)
		have[name] = e
		return err
	})
	return have, err
}

func readFile(ctx context.Context, root *os.Root, name string, want tarEntry) (e tarEntry, err error) {
	local := filepath.FromSlash(name)
	info, err := root.Lstat(local)
	if err != nil {
		return e, err
	}
	e.mode = info.Mode()
	switch {
	case info.IsDir():
		e.kind = tar.TypeDir
	case info.Mode()&fs.ModeSymlink != 0:
		e.kind = tar.TypeSymlink
		e.link, err = root.Readlink(local)
		e.link = filepath.ToSlash(e.link)
	case info.Mode().IsRegular():
		e.kind, e.size = tar.TypeReg, info.Size()
		if want.kind == tar.TypeReg && want.size == e.size {
			e.content, err = hashFile(ctx, root, local, want.content.Algorithm())
		}
	default:
		e.kind = tar.TypeFifo // or a device: no artifact of ours holds one
	}
	return e, err
}

func hashFile(ctx context.Context, root *os.Root, local string, by digest.Algorithm) (digest.Digest, error) {
	f, err := root.Open(local)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := by.Hash()
	_, err = io.CopyBuffer(h, &limitedReader{ctx: ctx, r: f}, make([]byte, copyBuffer))
	return digest.NewDigest(by, h), err
}

func diffFiles(want, have map[string]tarEntry) []Difference {
	names := slices.Collect(maps.Keys(want))
	for name := range have {
		if _, twice := want[name]; !twice {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var list []Difference
	for _, name := range names {
		w, wanted := want[name]
		h, there := have[name]
		switch {
		case !wanted:
			list = append(list, added(DiffFile, name, h.onDisk()))
		case !there:
			list = append(list, removed(DiffFile, name, w.onDisk()))
		case w.onDisk() != h.onDisk():
			list = append(list, changed(DiffFile, name, w.onDisk(), h.onDisk()))
		case w.mode != anyMode && w.kind == tar.TypeReg && w.executable() != h.executable():
			list = append(list, changed(DiffFile, name, w.mode.Perm().String(), h.mode.Perm().String()))
		}
	}
	return list
}

func (e tarEntry) executable() bool { return e.mode&0o100 != 0 }

// onDisk is what an entry comes to as a file, without its mode.
func (e tarEntry) onDisk() string {
	switch e.kind {
	case tar.TypeReg:
		if e.content == "" {
			return fmt.Sprintf("%d bytes", e.size)
		}
		return fmt.Sprintf("%s (%d bytes)", e.content, e.size)
	case tar.TypeDir:
		return "directory"
	case tar.TypeSymlink:
		return "link to " + e.link
	}
	return "neither a file nor a directory"
}
