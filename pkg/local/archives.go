package local

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// OpenArchives gives a registry whose repositories are the OCI image layouts in
// an uncompressed tar: the repository team/app is the layout in the directory
// team/app, as `tar -c` makes it of what OpenLayouts reads. A layout at the root
// of the tar is the repository that is called as the file is. It is read and
// written as by OpenArchive: all repositories at once, when the registry is
// closed. A blob that several of them have is in the file once; the others
// have a link to it.
func OpenArchives(file string, opts LayoutOptions) (store.Registry, error) {
	f, err := openArchiveFile(file, opts)
	if err != nil {
		return nil, err
	}
	r := &archives{f, opts}
	for _, dir := range slices.Sorted(maps.Keys(f.layouts)) {
		if dir != "." && checkPath(dir) != nil {
			return nil, errors.Join(fmt.Errorf("%w: %s has a layout at %q, which cannot be the name of a repository", store.ErrInvalid, file, dir), f.close())
		}
	}
	if f.layouts["."] == nil {
		return r, nil
	}
	f.root = RepositoryName(strings.TrimSuffix(filepath.Base(file), ".tar"))
	if f.layouts[f.root] != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s has a layout at its root and one at %s, which would be one repository", store.ErrInvalid, file, f.root), f.close())
	}
	return r, nil
}

type archives struct {
	*archiveFile
	opts LayoutOptions
}

// strange is what a repository name has not.
var strange = regexp.MustCompile(`[^a-z0-9]+`)

// RepositoryName makes a name that is not a repository's into one, such as that
// of a file: "My Backup" becomes my-backup.
func RepositoryName(name string) string {
	if name = strings.ToLower(name); checkName(name) == nil {
		return name
	}
	name = strings.Trim(strange.ReplaceAllString(name, "-"), "-")
	if checkName(name) != nil {
		return "layout"
	}
	return name
}

// directory is where the layout of a repository lies in the tar.
func (f *archiveFile) directory(name string) string {
	if f.root != "" && name == f.root {
		return "."
	}
	return name
}

// Repositories lists the layouts by their names.
func (r *archives) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		yieldAfter(ctx, r.names(), after, yield)
	}
}

func (r *archives) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for dir := range r.layouts {
		if dir == "." {
			dir = r.root
		}
		names = append(names, dir)
	}
	slices.Sort(names)
	return names
}

// Repository gives the layout of a repository. Nothing is kept for a name that
// is only asked for.
func (r *archives) Repository(_ context.Context, name string) (store.Store, error) {
	if err := checkPath(name); err != nil {
		return nil, err
	}
	a := &archive{archiveFile: r.archiveFile, dir: r.directory(name), name: name, source: r.opts.source(name)}
	r.mu.Lock()
	defer r.mu.Unlock()
	return a, a.look()
}

// Close completes the file.
func (r *archives) Close() error { return r.close() }
