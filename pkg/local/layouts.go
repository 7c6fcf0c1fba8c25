package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/stet-oci/stet/pkg/store"
)

// OpenLayouts gives a registry whose repositories are the OCI image layouts in
// the sub directories of dir: the repository team/app is the layout dir/team/app.
// A dir that is a layout itself when it is opened is the repository that is
// called as the directory is.
// dir is created by the first write. A blob whose Home is another repository
// of the same registry is linked, where the file system can.
func OpenLayouts(dir string, opts LayoutOptions) (store.Registry, error) {
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return nil, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	r := &layouts{dir: dir, opts: opts, repos: map[string]*layout{}}
	if info, err := os.Lstat(filepath.Join(dir, layoutFile)); err == nil && info.Mode().IsRegular() {
		whole, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		r.root = RepositoryName(filepath.Base(whole))
	}
	return r, nil
}

type layouts struct {
	dir  string
	opts LayoutOptions
	root string // the repository that is dir itself; "" for none

	mu    sync.Mutex
	repos map[string]*layout // those that exist; the names asked for may be anything
	last  [knowing]*layout   // of them those that were asked for last, which know what they read
}

// knowing is how many layouts keep what they read of their index and manifests:
// a server would hold all that it has ever served.
const knowing = 16

// note moves a layout to the front of those that were asked for last. What the
// one that falls off knows is read again when it is asked for.
func (r *layouts) note(l *layout) *layout {
	at := slices.Index(r.last[:], l)
	if at < 0 {
		at = knowing - 1
		if old := r.last[at]; old != nil {
			old.forgetAll()
		}
	}
	copy(r.last[1:], r.last[:at])
	r.last[0] = l
	return l
}

// layoutsHome is the host in Blob.Home of what lies in such a registry.
const layoutsHome = "layouts/"

// nameGrammar is the distribution-spec's of <name> ("Pulling manifests").
var nameGrammar = regexp.MustCompile(
	`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// maxName is what most registries take, host and name together.
const maxName = 255

func checkName(name string) error {
	if len(name) > maxName || !nameGrammar.MatchString(name) {
		return &store.RefError{Ref: name, Reason: "not a repository name"}
	}
	return nil
}

// checkPath refuses names whose directory would lie in the files of another
// layout: the repository a/blobs has its place where a keeps its blobs.
func checkPath(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	for i, part := range strings.Split(name, "/") {
		if i > 0 && (part == blobsDir || part == indexFile || part == layoutFile) {
			return &store.RefError{Ref: name, Reason: fmt.Sprintf("a layout keeps its own files under the name %q", part)}
		}
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return &store.RefError{Ref: name, Reason: "not a path on this system"}
	}
	return nil
}

func (r *layouts) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		names, err := r.names(ctx)
		if err != nil {
			yield("", err)
			return
		}
		yieldAfter(ctx, names, after, yield)
	}
}

// names walks the directory. It goes into every directory that a repository
// can be in, and not into the blobs of layouts.
func (r *layouts) names(ctx context.Context) ([]string, error) {
	root, err := os.OpenRoot(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var names []string
	// WalkDir follows no links: a loop of them would never end.
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err := errors.Join(err, context.Cause(ctx)); err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && checkPath(name) != nil {
				return fs.SkipDir // no repository below it could be asked for
			}
			return nil
		}
		if path.Base(name) != layoutFile || !entry.Type().IsRegular() {
			return nil
		}
		if repo := path.Dir(name); repo != "." {
			names = append(names, repo)
		} else if r.root != "" {
			names = append(names, r.root)
		}
		return nil
	})
	slices.Sort(names)
	return slices.Compact(names), err
}

// Repository gives the same layout for the same name, so that all who ask for
// it share what was read. One that does not exist yet is not kept: who asks
// for many names, as any client of a server may, would fill the memory.
func (r *layouts) Repository(_ context.Context, name string) (store.Store, error) {
	if err := checkPath(name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l, ok := r.repos[name]; ok {
		return r.note(l), nil
	}
	place := r.place(name)
	l := newLayout(filepath.Join(r.dir, filepath.FromSlash(place)), r.opts)
	l.nested, l.source = true, r.opts.source(name)
	l.begin = func(ctx context.Context) error { return r.begin(ctx, place) }
	l.open = func(create bool) (*os.Root, error) { return r.open(place, create) }
	l.rmdir = func() error { return r.remove(place) }
	l.home = layoutsHome + name
	l.mount = func(b store.Blob) (store.Put, bool, error) { return r.link(name, b) }
	root, err := l.root()
	if errors.Is(err, store.ErrNotFound) {
		return l, nil
	}
	if err == nil {
		err = errors.Join(root.Close(), l.look())
	}
	if err != nil {
		return nil, err
	}
	r.repos[name] = l
	return r.note(l), nil
}

// place is where the layout of a repository lies in the directory.
func (r *layouts) place(name string) string {
	if r.root != "" && name == r.root {
		return "."
	}
	return name
}

// open opens the directory of a repository, which no symbolic link makes lie
// outside the registry's.
func (r *layouts) open(name string, create bool) (*os.Root, error) {
	if create {
		if err := os.MkdirAll(r.dir, 0o777); err != nil {
			return nil, err
		}
	}
	top, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	if create {
		if err := top.MkdirAll(name, 0o777); err != nil {
			return nil, err
		}
	}
	return top.OpenRoot(name)
}

// remove takes away the empty directories up to the registry's. It stops at the
// first that holds something, such as the parent of another repository.
func (r *layouts) remove(name string) error {
	top, err := os.OpenRoot(r.dir)
	if err != nil {
		return err
	}
	defer top.Close()
	for ; name != "." && err == nil; name = path.Dir(name) {
		err = top.Remove(name)
	}
	return err
}

// link mounts a blob from another repository: one file with two names. What
// cannot be linked is not an error, it is copied. The other repository proved
// the bytes when it took them, so they are not read again; what was damaged
// since is for store.Verify to find, as in PutBlob.
func (r *layouts) link(name string, b store.Blob) (store.Put, bool, error) {
	from, ok := strings.CutPrefix(b.Home, layoutsHome)
	if !ok || b.Digest == "" || checkPath(from) != nil {
		return store.Put{}, false, nil
	}
	top, err := os.OpenRoot(r.dir)
	if err != nil {
		return store.Put{}, false, err
	}
	defer top.Close()
	old, name := path.Join(r.place(from), blobPath(b.Digest)), path.Join(r.place(name), blobPath(b.Digest))
	// A link to a symbolic link would share the link and not the blob.
	info, err := top.Lstat(old)
	if err != nil || !info.Mode().IsRegular() || b.Size >= 0 && b.Size != info.Size() {
		return store.Put{}, false, nil
	}
	if err := top.MkdirAll(path.Dir(name), 0o777); err != nil {
		return store.Put{}, false, err
	}
	if err := top.Link(old, name); err != nil {
		return store.Put{}, false, nil // no links on this file system, or the name is taken
	}
	b.Size = info.Size()
	return store.Put{Descriptor: b.Descriptor, How: store.Mounted}, true, nil
}

func (r *layouts) Close() error { return nil }
