package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// OpenArchive opens an OCI image layout in an uncompressed tar file. It is read
// where it lies, without unpacking. What is put goes into a new file beside
// it, which takes its place when the store is closed, and only if a manifest
// or tag has changed, a blob has come that a manifest lacked, or with
// opts.KeepBlobs any blob; until then the old file is as it was. A file that is not there is made so; reading it is ErrNotFound.
//
// Of a tar with several layouts, FILE/DIR opens the one in the directory DIR;
// FILE alone is ErrUsage.
//
// Who writes holds a lock on FILE.lock until Close; another process waits for
// at most opts.LockWait.
func OpenArchive(file string, opts LayoutOptions) (store.Store, error) {
	file, dir := splitArchive(file)
	f, err := openArchiveFile(file, opts)
	if err != nil {
		return nil, err
	}
	a := &archive{archiveFile: f, dir: dir, alone: true, source: opts.source("")}
	if f.old != nil && dir == "." && f.layouts[dir] == nil {
		return nil, errors.Join(f.elsewhere(), f.close())
	}
	if err := a.look(); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return a, nil
}

// splitArchive finds the file in a path that goes on inside of it.
func splitArchive(name string) (file, dir string) {
	dir = "."
	for file = name; ; {
		info, err := os.Stat(file)
		parent := filepath.Dir(file)
		switch {
		case err == nil && (info.Mode().IsRegular() || dir == "."):
			return file, dir
		case err == nil, parent == file:
			return name, "." // it is not there
		}
		dir = path.Join(filepath.Base(file), dir)
		file = parent
	}
}

// archive is one layout in an archive.
type archive struct {
	*archiveFile
	dir    string // in the tar; "." is its root
	name   string // in a registry
	alone  bool   // no registry: Close is the end of the file
	source source
}

// archiveHome is the host in Blob.Home of what lies in a registry in a tar.
const archiveHome = "archive/"

// elsewhere says that there is no layout at the root of a tar, and where there are.
func (f *archiveFile) elsewhere() error {
	dirs := slices.Sorted(maps.Keys(f.layouts))
	const enough = 3
	more := ""
	if len(dirs) > enough {
		dirs, more = dirs[:enough], ", …"
	}
	return fmt.Errorf("%w: %s is no OCI layout; it holds layouts in %s%s, so name one, as in tar:%s",
		store.ErrUsage, f.file, strings.Join(dirs, ", "), more, path.Join(filepath.ToSlash(f.file), dirs[0]))
}

// layout is what lies in the archive; empty where there is none. It changes
// when begin reads the file anew.
func (a *archive) layout() *packed {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.layouts[a.dir]; l != nil {
		return l
	}
	return newPacked()
}

// absent names the file where something is not in it.
func (a *archive) absent(what string) error {
	if _, err := os.Stat(a.file); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no file %s", store.ErrNotFound, a.file)
	}
	return fmt.Errorf("%w: %s in %s", store.ErrNotFound, what, a.path())
}

// Tags lists the tags of index.json.
func (a *archive) Tags(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		tags, there := a.tags()
		if !there {
			yield("", a.absent("an OCI layout"))
			return
		}
		yieldAfter(ctx, tags, after, yield)
	}
}

func (a *archive) tags() (tags []string, there bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l, there := a.layouts[a.dir]
	if !there {
		return nil, false
	}
	for _, e := range l.index.entries {
		if e.tag != "" {
			tags = append(tags, e.tag)
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags), true
}

// Referrers looks at all manifests of the archive.
func (a *archive) Referrers(ctx context.Context, subject digest.Digest, artifactType string) iter.Seq2[store.Descriptor, error] {
	l := a.layout()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, err := range l.bad { // a list that lacks a signature must not look complete
		return func(yield func(store.Descriptor, error) bool) {
			yield(store.Descriptor{}, fmt.Errorf("%s: %w", a.file, err))
		}
	}
	return l.mem.Referrers(ctx, subject, artifactType)
}

// Support is that of a layout: blobs can be mounted from other repositories.
func (a *archive) Support() store.Support {
	if a.alone {
		return support(store.No)
	}
	return support(store.Yes)
}

// Takes answers yes.
func (a *archive) Takes(context.Context, string) (store.Finding, error) { return takesAll(), nil }

// Resolve names the file where something is not in it.
func (a *archive) Resolve(ctx context.Context, ref string) (store.Descriptor, error) {
	l := a.layout()
	d, err := l.mem.Resolve(ctx, ref)
	return d, a.explain(l, ref, err)
}

// Manifest names the file where something is not in it.
func (a *archive) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	l := a.layout()
	m, err := l.mem.Manifest(ctx, ref)
	return m, a.explain(l, ref, err)
}

func (a *archive) explain(l *packed, ref string, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if bad := l.damaged(ref); bad != nil {
		return fmt.Errorf("%s: %w", a.file, bad)
	}
	return a.absent(fmt.Sprintf("%q", ref))
}

// Blob reads a blob out of the file that it lies in.
func (a *archive) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Blob{}, err
	}
	p, ok := a.find(d.Digest)
	if !ok {
		return store.Blob{}, a.absent("blob " + d.Digest.String())
	}
	if d.Size >= 0 && d.Size != p.size {
		return store.Blob{}, store.Mismatch("%s has %d bytes, expected %d", d.Digest, p.size, d.Size)
	}
	d.Size = p.size
	b := store.Blob{Descriptor: d, Open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		if offset < 0 || offset > p.size {
			return nil, store.ErrRange
		}
		return io.NopCloser(contextReader{ctx, io.NewSectionReader(p.in, p.at+offset, p.size-offset)}), nil
	}}
	if !a.alone {
		b.Home = archiveHome + a.name
	}
	return b, nil
}

func (a *archive) find(d digest.Digest) (place, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.layouts[a.dir]; l != nil {
		p, ok := l.blobs[d]
		return p, ok
	}
	return place{}, false
}

// Close completes the file, where the archive is one layout.
func (a *archive) Close() error {
	if !a.alone {
		return nil
	}
	return a.close()
}
