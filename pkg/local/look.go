package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// Found is what lies at a path.
type Found int

// What may lie at a path.
const (
	FoundNothing Found = iota // or an empty directory
	FoundLayout               // an OCI image layout
	FoundLayouts              // a registry: layouts in sub directories
)

// IsArchive says whether a path means a tar: a file that is there, or a name
// that ends with .tar where nothing is there.
func IsArchive(path string) bool {
	if info, err := os.Stat(path); err == nil {
		return !info.IsDir()
	}
	return strings.HasSuffix(path, ".tar")
}

// Look says what lies at a path, a directory or a tar.
func Look(ctx context.Context, path string) (Found, error) {
	if IsArchive(path) {
		return lookInto(path)
	}
	_, err := os.Lstat(filepath.Join(path, layoutFile))
	if err == nil {
		return FoundLayout, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return FoundNothing, err
	}
	r, err := OpenLayouts(path, LayoutOptions{})
	if err != nil {
		return FoundNothing, err
	}
	defer r.Close()
	for _, err := range r.Repositories(ctx, "") {
		return FoundLayouts, err
	}
	return FoundNothing, nil
}

func lookInto(file string) (Found, error) {
	f, err := openArchiveFile(file, LayoutOptions{})
	if err != nil {
		return FoundNothing, err
	}
	found := FoundLayouts
	switch {
	case f.layouts["."] != nil:
		found = FoundLayout
	case len(f.layouts) == 0:
		found = FoundNothing
	}
	return found, f.close()
}

// OpenRegistry is OpenArchives or OpenLayouts, as IsArchive says.
func OpenRegistry(path string, opts LayoutOptions) (store.Registry, error) {
	if IsArchive(path) {
		return OpenArchives(path, opts)
	}
	return OpenLayouts(path, opts)
}
