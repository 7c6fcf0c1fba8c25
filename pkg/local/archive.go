package local

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// OpenArchive opens an OCI image layout in an uncompressed tar file. It is read
// where it lies, without unpacking. What is put goes into a new file beside
// it, which takes its place when the store is closed, and only if a manifest
// or tag has changed (or a blob, see KeepBlobs); until then the old file is as it was. A file that is not
// there is made so; reading it is ErrNotFound.
//
// Who writes holds a lock on FILE.lock until Close; another process waits for
// at most opts.LockWait.
func OpenArchive(file string, opts LayoutOptions) (store.Store, error) {
	a := &archive{file: file, wait: opts.LockWait, keepBlobs: opts.KeepBlobs}
	if a.wait == 0 {
		a.wait = DefaultLockWait
	}
	return a, a.load()
}

// archive is an OCI layout in a tar file. Manifests, tags and referrers are in
// memory, blobs in the file: in the old one, or in the one that is being made.
type archive struct {
	file      string
	wait      time.Duration
	keepBlobs bool

	mu    sync.Mutex  // all below
	mem   store.Store // manifests and tags
	old   *os.File    // nil where there is none
	blobs map[digest.Digest]place
	index *index
	made  *os.File // the new file, from the first write on
	end   int64    // of what is in it
	lock  *flock.Flock
	dirty bool // a manifest or tag has changed
}

// place is where a blob lies.
type place struct {
	in       *os.File
	at, size int64
}

// load reads the table of contents, and the manifests into memory.
func (a *archive) load() error {
	a.mem, a.blobs, a.index = NewMemory(), map[digest.Digest]place{}, newIndex()
	f, err := os.Open(a.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	a.old = f
	if err := a.survey(f); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", a.file, err), f.Close())
	}
	return nil
}

// survey reads the headers of the tar. Only what a layout has counts; names
// that lead elsewhere are no business of a store.
func (a *archive) survey(f *os.File) error {
	r := tar.NewReader(f)
	var raw, version []byte
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: not a whole tar archive: %s", store.ErrInvalid, err)
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "./"))
		switch {
		case h.Typeflag != tar.TypeReg:
		case name == indexFile:
			raw, err = io.ReadAll(io.LimitReader(r, maxManifest))
		case name == layoutFile:
			version, err = io.ReadAll(io.LimitReader(r, maxManifest))
		case strings.HasPrefix(name, "blobs/"):
			err = a.found(f, name, h.Size)
		}
		if err != nil {
			return err
		}
	}
	var v ocispec.ImageLayout
	if json.Unmarshal(version, &v) != nil || v.Version != ocispec.ImageLayoutVersion || raw == nil {
		return fmt.Errorf("%w: the archive is no OCI layout of version %s", store.ErrInvalid, ocispec.ImageLayoutVersion)
	}
	var err error
	if a.index, err = parseIndex(raw); err != nil {
		return err
	}
	return a.remember()
}

// found notes the blob whose content begins where f stands now.
func (a *archive) found(f *os.File, name string, size int64) error {
	d := digest.Digest(strings.Replace(strings.TrimPrefix(name, "blobs/"), "/", ":", 1))
	if d.Validate() != nil {
		return nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	a.blobs[d] = place{in: f, at: at, size: size}
	return err
}

// remember puts the manifests of the index, and those under them, into memory.
func (a *archive) remember() error {
	ctx := context.Background()
	var queue []store.Descriptor
	for _, e := range a.index.entries {
		m, err := a.manifest(e.Descriptor)
		if err != nil {
			return err
		}
		var tags []string
		if e.tag != "" {
			tags = []string{e.tag}
		}
		if err := a.mem.PutManifest(ctx, m, tags...); err != nil {
			return err
		}
		queue = append(queue, e.Descriptor)
	}
	seen := map[digest.Digest]bool{}
	for len(queue) > 0 {
		d := queue[0]
		queue = queue[1:]
		if seen[d.Digest] || !store.IsManifestType(d.MediaType) {
			continue
		}
		seen[d.Digest] = true
		if _, here := a.blobs[d.Digest]; !here {
			continue // an index may name manifests that lie elsewhere
		}
		m, err := a.manifest(d)
		if err != nil {
			return err
		}
		o, err := store.ParseOutline(m)
		if err != nil {
			return err
		}
		if !a.index.has(d.Digest) {
			if err := a.mem.PutManifest(ctx, m); err != nil {
				return err
			}
		}
		queue = append(queue, o.Manifests...)
	}
	return nil
}

func (a *archive) manifest(d store.Descriptor) (store.Manifest, error) {
	p, ok := a.blobs[d.Digest]
	if !ok {
		return store.Manifest{}, fmt.Errorf("%w: manifest %s", store.ErrNotFound, d.Digest)
	}
	if p.size > maxManifest || p.size != d.Size {
		return store.Manifest{}, store.Mismatch("manifest %s has %d bytes, expected %d", d.Digest, p.size, d.Size)
	}
	raw := make([]byte, p.size)
	if _, err := p.in.ReadAt(raw, p.at); err != nil && !errors.Is(err, io.EOF) {
		return store.Manifest{}, err
	}
	return store.Manifest{Descriptor: store.Plain(d), Raw: raw}, nil
}

// memory is the store of manifests and tags, which begin may replace.
func (a *archive) memory() store.Store {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mem
}

// Tags lists the tags of index.json.
func (a *archive) Tags(ctx context.Context, after string) iter.Seq2[string, error] {
	return a.memory().Tags(ctx, after)
}

// Referrers looks at all manifests of the archive.
func (a *archive) Referrers(ctx context.Context, subject digest.Digest, artifactType string) iter.Seq2[store.Descriptor, error] {
	return a.memory().Referrers(ctx, subject, artifactType)
}

// Support is that of a layout.
func (a *archive) Support() store.Support { return a.memory().Support() }

// Takes answers yes.
func (a *archive) Takes(context.Context, string) (store.Finding, error) { return takesAll(), nil }

// Resolve names the file where something is not in it.
func (a *archive) Resolve(ctx context.Context, ref string) (store.Descriptor, error) {
	d, err := a.memory().Resolve(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: %q in %s", store.ErrNotFound, ref, a.file)
	}
	return d, err
}

// Manifest names the file where something is not in it.
func (a *archive) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	m, err := a.memory().Manifest(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: %q in %s", store.ErrNotFound, ref, a.file)
	}
	return m, err
}

// Blob reads a blob out of the file that it lies in.
func (a *archive) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	if ctx.Err() != nil {
		return store.Blob{}, context.Cause(ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.blobs[d.Digest]
	if !ok {
		return store.Blob{}, fmt.Errorf("%w: blob %s in %s", store.ErrNotFound, d.Digest, a.file)
	}
	if d.Size >= 0 && d.Size != p.size {
		return store.Blob{}, store.Mismatch("%s has %d bytes, expected %d", d.Digest, p.size, d.Size)
	}
	d.Size = p.size
	return store.Blob{Descriptor: d, Open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		if offset < 0 || offset > p.size {
			return nil, store.ErrRange
		}
		return io.NopCloser(contextReader{ctx, io.NewSectionReader(p.in, p.at+offset, p.size-offset)}), nil
	}}, nil
}
