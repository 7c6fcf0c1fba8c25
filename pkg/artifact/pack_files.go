package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/stet-oci/stet/pkg/store"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// addFile adds a file, directory or other content as a layer. titles are those
// that are taken, with the paths that took them.
func (p *Package) addFile(ctx context.Context, r PackRequest, f File, titles map[string]string) error {
	if f.Content != nil {
		return p.addContent(r, f, titles)
	}
	info, at, err := r.stat(f)
	if err != nil {
		return err
	}
	base := store.Descriptor{MediaType: f.MediaType, Annotations: map[string]string{}}
	title := orElse(f.Title, titleOf(f.Path))
	var dir *directory
	if info.IsDir() {
		dir = &directory{path: at, prefix: title, preserve: r.Preserve, date: r.SourceDate, anyPath: r.AnyPath}
		if dir.compress, base.MediaType, err = compressionOf(r.Compression, f.MediaType); err != nil {
			return err
		}
		base.Annotations[AnnotationUnpack] = "true"
	} else if r.Preserve.Mode && runtime.GOOS != "windows" { // which has no such bits to keep
		base.Annotations[AnnotationMode] = fmt.Sprintf("%04o", info.Mode().Perm())
	}
	named, err := r.name(f, title, dir != nil, &base, titles)
	if err != nil {
		return err
	}
	if dir == nil {
		named.Size = info.Size()
		p.add(fileBlob(named, at, info), layer{base: base, path: at})
		return nil
	}
	dir.prefix = orElse(base.Annotations[ocispec.AnnotationTitle], dir.prefix) // pull looks for the entries below the title
	if err := dir.survey(ctx); err != nil {
		return err
	}
	p.add(store.Blob{Descriptor: named, Open: dir.open}, layer{base: base, dir: dir, path: at})
	return nil
}

// addContent adds what is no file as the file that it would be.
func (p *Package) addContent(r PackRequest, f File, titles map[string]string) error {
	if f.Title == "" {
		return fmt.Errorf("%w: %s has no title", store.ErrUsage, f.Path)
	}
	base := store.Descriptor{MediaType: f.MediaType, Annotations: map[string]string{}}
	named, err := r.name(f, titleOf(f.Title), false, &base, titles)
	if err != nil {
		return err
	}
	p.add(store.Blob{Descriptor: named, Open: f.Content}, layer{base: base})
	return nil
}

// name completes media type and annotations of a layer, and finds out whether it
// can be called so. The blob's own descriptor has the title alone.
func (r PackRequest) name(f File, title string, isDir bool, base *store.Descriptor, titles map[string]string) (store.Descriptor, error) {
	base.MediaType = orElse(base.MediaType, ocispec.MediaTypeImageLayer)
	base.Annotations[ocispec.AnnotationTitle] = title
	maps.Copy(base.Annotations, r.Annotations[f.Path])
	maps.Copy(base.Annotations, f.Annotations)

	title = base.Annotations[ocispec.AnnotationTitle]
	if first, twice := titles[title]; twice && title != "" {
		return store.Descriptor{}, fmt.Errorf("%w: duplicate name %q: of %s and of %s", store.ErrUsage, title, first, f.Path)
	}
	titles[title] = f.Path
	if !r.AnyPath && title != "" {
		if err := checkTitle(f, title, isDir); err != nil {
			return store.Descriptor{}, err
		}
	}
	if mode, given := base.Annotations[AnnotationMode]; given {
		if _, err := parseMode(mode); err != nil {
			return store.Descriptor{}, fmt.Errorf("%w: %s: %w", store.ErrUsage, f.Path, err)
		}
	}
	return store.Descriptor{
		MediaType: base.MediaType, Size: store.UnknownSize, Annotations: map[string]string{ocispec.AnnotationTitle: title},
	}, nil
}

// stat looks at what a File names; only files that can be read and directories
// pass.
func (r PackRequest) stat(f File) (fs.FileInfo, string, error) {
	at := f.Path
	if r.Dir != "" && !filepath.IsAbs(at) {
		at = filepath.Join(r.Dir, at)
	}
	info, err := os.Stat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", fmt.Errorf("%w: %w%s", store.ErrNotFound, err, colonHint(f.Path))
	case err != nil:
		return nil, "", err
	case info.IsDir():
		return info, at, nil
	case !info.Mode().IsRegular():
		return nil, "", fmt.Errorf("%w: %s is neither a file nor a directory, but %s", store.ErrUsage, at, special(info.Mode()))
	}
	file, err := os.Open(at) // may it be read?
	if err != nil {
		return nil, "", err
	}
	return info, at, file.Close()
}

// special says in words what is no file and no directory.
func special(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}

// colonHint helps who meant a name with a colon.
func colonHint(name string) string {
	if strings.Contains(name, ":") {
		return " (the last colon separates the type; a name with a colon needs one more at its end)"
	}
	return ""
}

func fileBlob(d store.Descriptor, name string, info fs.FileInfo) store.Blob {
	return store.Blob{Descriptor: d, Open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		return openFile(ctx, name, info, offset)
	}}
}
