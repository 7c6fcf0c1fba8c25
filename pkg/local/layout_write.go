package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// PutBlob leaves the blob proven and under its final name, or nothing.
//
// A blob whose digest is known, and that lies here with its size, is Present:
// neither the source nor the file is read, which is what makes a copy of
// something mostly there quick. So a file that was damaged without changing
// its length stays as it is; store.Verify finds it when it is read. It is
// mended by bytes that had to be read anyway, as those of a blob without
// digest, or by DeleteBlob and another put.
func (l *layout) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	if err := context.Cause(ctx); err != nil {
		return store.Put{}, err
	}
	if b.Digest != "" {
		if err := store.CheckDigest(b.Digest); err != nil {
			return store.Put{}, err
		}
		if d, err := l.present(b.Descriptor); err == nil {
			return store.Put{Descriptor: d, How: store.Present}, nil
		} else if !errors.Is(err, store.ErrNotFound) {
			return store.Put{}, err
		}
	}
	var put store.Put
	err := l.write(ctx, func(root *os.Root) error {
		if l.mount != nil {
			if linked, ok, err := l.mount(b); ok || err != nil {
				put = linked
				return err
			}
		}
		var err error
		put, err = l.ingest(ctx, root, b)
		return err
	})
	return put, err
}

// present gives d with its size where a file of that size holds it. A file of
// another size is the remains of a crash, and as good as absent. The bytes are
// not read: to hash gigabytes for a question that is asked of every blob would
// cost more than the copy, and store.Verify proves what is read.
func (l *layout) present(d store.Descriptor) (store.Descriptor, error) {
	root, err := l.root()
	if err != nil {
		return d, err
	}
	defer root.Close()
	size, err := l.size(root, d.Digest)
	if err == nil && d.Size >= 0 && d.Size != size {
		err = notFound(d.Digest.String())
	}
	d.Size = size
	return d, err
}

// ingest writes a blob beside its place, proves it, and moves it there. Any
// number of writers may bring the same blob. An old file of its name stays
// only where it proves right, too; otherwise it is the remains of a crash or
// was damaged since, and the new bytes take its place.
func (l *layout) ingest(ctx context.Context, root *os.Root, b store.Blob) (store.Put, error) {
	f, err := l.newIngest(root)
	if err != nil {
		return store.Put{}, l.fail(err)
	}
	defer f.discard()
	put := store.Put{How: store.Sent}
	if put.Descriptor, err = fill(ctx, f.File, b); err != nil {
		return store.Put{}, l.fail(err)
	}
	if proves(ctx, root, put.Descriptor) {
		put.How = store.Present // learnt only now, or another writer was first
		return put, nil
	}
	if err := f.rename(blobPath(put.Digest)); err != nil {
		return store.Put{}, l.fail(err)
	}
	return put, nil
}

// proves reads the file of d and says whether it has d's bytes. To read it
// costs less than to make the new file last, and a file that stays is still
// one file with those that other layouts linked to it. A doubt is a no: to
// replace good bytes by the same does no harm.
func proves(ctx context.Context, root *os.Root, d store.Descriptor) bool {
	f, size, err := openFile(root, blobPath(d.Digest))
	if err != nil {
		return false
	}
	defer f.Close()
	if size != d.Size {
		return false // without reading it
	}
	_, err = take(ctx, io.Discard, f, d)
	return err == nil
}

// fill writes b to a file, proven.
func fill(ctx context.Context, f *os.File, b store.Blob) (store.Descriptor, error) {
	rc, err := b.Open(ctx, 0)
	if err != nil {
		return b.Descriptor, err
	}
	defer rc.Close()
	return take(ctx, f, rc, b.Descriptor)
}

// write runs a change on a layout, which is created for it. A change that
// fails leaves no directory that was not there before.
func (l *layout) write(ctx context.Context, change func(*os.Root) error) error {
	root, err := l.root()
	created := errors.Is(err, store.ErrNotFound)
	if created {
		old, missing := l.open(false)
		if missing == nil {
			err := l.strangers(old)
			_ = old.Close()
			if err != nil {
				return err
			}
			created = false // a directory that is not a layout yet, and not ours to remove
		}
		root, err = l.create(ctx)
	}
	if err != nil {
		return err
	}
	defer root.Close()
	// Content first: a directory becomes a layout only when it holds something.
	if err = l.claim(ctx, root); err == nil {
		err = change(root)
	}
	if err == nil {
		err = l.initialize(ctx, root)
	}
	if err != nil {
		_ = root.Remove(workDir) // these two succeed only on empty directories
		if created {
			_ = l.rmdir()
		}
	}
	return err
}

func (l *layout) create(ctx context.Context) (*os.Root, error) {
	if l.begin != nil && l.source.name != "" {
		if err := l.begin(ctx); err != nil {
			return nil, err
		}
	}
	root, err := l.open(true)
	return root, l.fail(err)
}

// strangers is ErrExists where a directory that is to become a layout has somebody's
// files in it.
func (l *layout) strangers(root *os.Root) error {
	foreign := strangerIn(root)
	if foreign == "" || l.nested {
		return nil
	}
	return l.fail(fmt.Errorf("%w: the directory holds %s and is no OCI layout; name one that is empty or not there", store.ErrExists, foreign))
}

// strangerIn names an entry of a directory that does not belong to a layout, or
// "": a layout written among somebody's files would be hard to tell from them.
// What another process has written of a new layout is no stranger.
func strangerIn(root *os.Root) string {
	dir, err := root.Open(".")
	if err != nil {
		return ""
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(-1)
	for _, e := range entries {
		switch e.Name() {
		case workDir, "blobs", indexFile, layoutFile, "ingest": // the last is ORAS's
		default:
			return strconv.Quote(e.Name())
		}
	}
	return ""
}

// initialize writes the two files that make a directory a layout, oci-layout
// last: what has it is complete.
func (l *layout) initialize(ctx context.Context, root *os.Root) error {
	if exists(root, layoutFile) && exists(root, indexFile) {
		return nil
	}
	unlock, err := l.lock(ctx, root)
	if err != nil {
		return l.fail(err)
	}
	defer unlock()
	return l.initializeLocked(root) // which looks again: another process may have been first
}

// initializeLocked leaves files that are there as they are, also damaged ones:
// they may name manifests that nothing else remembers.
func (l *layout) initializeLocked(root *os.Root) error {
	if !exists(root, indexFile) {
		if err := l.writeFile(root, indexFile, newIndex().bytes()); err != nil {
			return l.fail(err)
		}
	}
	if !exists(root, layoutFile) {
		raw, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
		if err != nil {
			return err
		}
		return l.fail(l.writeFile(root, layoutFile, raw))
	}
	return nil
}

// exists takes anything there for existing, a link that leads nowhere too, so
// that it is never overwritten as if it were missing.
func exists(root *os.Root, name string) bool {
	_, err := root.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// edit changes index.json: locked, read anew, written as a whole. An edit that
// changes nothing writes nothing.
func (l *layout) edit(ctx context.Context, root *os.Root, change func(*index) (bool, error)) error {
	unlock, err := l.lock(ctx, root)
	if err != nil {
		return l.fail(err)
	}
	defer unlock()
	return l.editLocked(root, change)
}

func (l *layout) editLocked(root *os.Root, change func(*index) (bool, error)) error {
	if err := l.initializeLocked(root); err != nil {
		return err
	}
	l.mu.Lock()
	l.seen = nil // what is changed is read for certain, whatever its time says
	l.mu.Unlock()
	x, err := l.index(root)
	if err != nil {
		return err
	}
	x = x.clone() // readers hold the other one
	changed, err := change(x)
	if err != nil || !changed {
		return err
	}
	raw := x.bytes()
	if err := l.writeFile(root, indexFile, raw); err != nil {
		return l.fail(err)
	}
	// The next read finds these very bytes, and parses nothing.
	l.mu.Lock()
	l.raw, l.parsed, l.seen = raw, x, nil
	l.mu.Unlock()
	return nil
}

// PutManifest writes the manifest, then all its tags in one change of
// index.json: other readers see all of them or none.
func (l *layout) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	return l.putManifest(ctx, &listing{manifest: m, tags: tags})
}

// Swap looks and puts under one lock.
func (l *layout) Swap(ctx context.Context, m store.Manifest, tag string, old digest.Digest) error {
	return l.putManifest(ctx, &listing{manifest: m, tags: []string{tag}, allowed: func(x *index) error {
		return l.fail(unmoved(tag, x.tagged(tag), old))
	}})
}

func (l *layout) putManifest(ctx context.Context, one *listing) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if _, err := checkManifest(one.manifest, one.tags); err != nil {
		return err
	}
	one.done = make(chan struct{})
	arrived := l.announce()
	defer arrived()
	return l.write(ctx, func(root *os.Root) error {
		// Side by side with others; index.json then is changed for all of them.
		if err := l.writeManifest(root, one.manifest); err != nil {
			return err
		}
		return l.list(ctx, root, one, arrived)
	})
}

// change is write for what must be there already.
func (l *layout) change(ctx context.Context, edit func(*os.Root, *index) (bool, error)) error {
	root, _, err := l.read(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	return l.edit(ctx, root, func(x *index) (bool, error) { return edit(root, x) })
}

// DeleteBlob removes the file. What is listed in index.json is a manifest, and
// ErrRefused: without its file the layout would be broken.
func (l *layout) DeleteBlob(ctx context.Context, d store.Descriptor) error {
	return l.change(ctx, func(root *os.Root, x *index) (bool, error) {
		if _, err := l.size(root, d.Digest); err != nil {
			return false, err
		}
		if x.has(d.Digest) {
			return false, fmt.Errorf("%w: %s in %s is a manifest, not a blob", store.ErrRefused, d.Digest, l.dir)
		}
		return false, l.fail(root.Remove(blobPath(d.Digest)))
	})
}

// DeleteManifest takes the manifest from index.json, then removes its file. In
// this order a crash leaves a file that nothing names, which harms nobody, and
// never a name without its file.
func (l *layout) DeleteManifest(ctx context.Context, d store.Descriptor) error {
	if err := store.CheckDigest(d.Digest); err != nil {
		return err
	}
	err := l.change(ctx, func(root *os.Root, x *index) (bool, error) {
		if x.remove(d.Digest) {
			return true, nil
		}
		// The child of an index is not listed, and can be deleted all the same.
		_, err := l.resolveChild(ctx, root, x, d.Digest)
		return false, err
	})
	if err != nil {
		return err
	}
	return l.change(ctx, func(root *os.Root, x *index) (bool, error) {
		if x.has(d.Digest) {
			return false, nil // it was put again meanwhile
		}
		l.forget(d.Digest)
		if err := root.Remove(blobPath(d.Digest)); !errors.Is(err, fs.ErrNotExist) {
			return false, l.fail(err)
		}
		return false, nil
	})
}

// forget frees what was kept of a deleted manifest.
func (l *layout) forget(d digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.nodes, d)
}

// forgetAll frees all that was kept of what was read. Who is at work with it goes
// on with what is theirs.
func (l *layout) forgetAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.raw, l.parsed, l.seen, l.about, l.nodes = nil, nil, nil, nil, map[digest.Digest]node{}
}

// Untag keeps the manifest listed, so that it can be found by its digest.
func (l *layout) Untag(ctx context.Context, tag string) error {
	return l.change(ctx, func(_ *os.Root, x *index) (bool, error) {
		found, err := x.untag(tag)
		if err == nil && (!found || tag == "") {
			err = notFound(fmt.Sprintf("tag %s in %s", tag, l.dir))
		}
		return found, err
	})
}
