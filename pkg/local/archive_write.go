package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// PutBlob adds a blob to the new file, and proves it. It waits in a file of its
// own until all of it is there: a tar is written from one end to the other.
func (a *archive) PutBlob(ctx context.Context, b store.Blob) (put store.Put, err error) {
	if err := context.Cause(ctx); err != nil {
		return put, err
	}
	if b.Digest != "" {
		if err := store.CheckDigest(b.Digest); err != nil {
			return put, err
		}
	}
	if put, ok, err := a.have(ctx, b); ok || err != nil {
		return put, err
	}
	spool, err := a.temp()
	if err != nil {
		return put, err
	}
	defer func() {
		spool.Close()
		os.Remove(spool.Name())
	}()
	rc, err := b.Open(ctx, 0)
	if err != nil {
		return put, err
	}
	defer rc.Close()
	d, err := take(ctx, spool, rc, b.Descriptor)
	if err != nil {
		return put, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.writable()
	if _, there := l.blob(d); there {
		return store.Put{Descriptor: d, How: store.Present}, nil
	}
	p, err := a.once(d, spool)
	if err == nil {
		a.place(d.Digest, p)
	}
	return store.Put{Descriptor: d, How: store.Sent}, err
}

// have begins to write, and looks whether the blob needs no reading: because it
// lies here, or in the repository of the same archive that is its Home.
func (a *archive) have(ctx context.Context, b store.Blob) (put store.Put, ok bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.start(ctx); err != nil {
		return put, false, err
	}
	put = store.Put{Descriptor: b.Descriptor, How: store.Present}
	p, ok := a.layouts[a.dir].blob(b.Descriptor)
	if from, here := strings.CutPrefix(b.Home, archiveHome); !ok && here && !a.alone {
		if p, ok = a.layouts[a.directory(from)].blob(b.Descriptor); ok {
			put.How = store.Mounted
			a.place(b.Digest, p)
		}
	}
	put.Size = p.size
	return put, ok, nil
}

// place notes where a blob lies. One that a manifest of the file lacked makes the
// file whole, and has to be written although no manifest changes.
func (a *archive) place(d digest.Digest, p place) {
	l := a.writable()
	l.blobs[d] = p
	a.dirty = a.dirty || a.keep || l.named[d]
}

// start begins to write, as the backup that the layout should be.
func (a *archive) start(ctx context.Context) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	return a.claim()
}

// blob gives the place of d, if it lies there with its size.
func (l *packed) blob(d store.Descriptor) (place, bool) {
	if l == nil {
		return place{}, false
	}
	p, ok := l.blobs[d.Digest]
	return p, ok && (d.Size < 0 || d.Size == p.size)
}

// writable is the layout, which is made where it is not there.
func (a *archive) writable() *packed {
	l, ok := a.layouts[a.dir]
	if !ok {
		l = newPacked()
		a.layouts[a.dir] = l
	}
	return l
}

// once appends proven content to the new file, unless it was appended before: to
// another repository, or to this one and deleted since.
func (a *archive) once(d store.Descriptor, content io.ReaderAt) (place, error) {
	if p, ok := a.proven[d.Digest]; ok {
		return p, nil
	}
	p, err := a.add(path.Join(a.dir, blobPath(d.Digest)), io.NewSectionReader(content, 0, d.Size), d.Size)
	if err == nil {
		a.proven[d.Digest] = p
	}
	return p, err
}

// PutManifest adds a manifest, which is a blob of the layout as well.
func (a *archive) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	return a.change(ctx, func() (bool, error) { return a.putManifest(ctx, m, tags) })
}

// Swap holds the lock on the file since it was read anew.
func (a *archive) Swap(ctx context.Context, m store.Manifest, tag string, old digest.Digest) error {
	return a.change(ctx, func() (bool, error) {
		if err := unmoved(tag, a.writable().index.tagged(tag), old); err != nil {
			return false, err
		}
		return a.putManifest(ctx, m, []string{tag})
	})
}

// putManifest says whether something changed by it. The caller holds mu.
func (a *archive) putManifest(ctx context.Context, m store.Manifest, tags []string) (bool, error) {
	l := a.writable()
	if err := l.mem.PutManifest(ctx, m, tags...); err != nil {
		return false, err
	}
	p, there := l.blobs[m.Digest]
	changed := !there || l.bad[m.Digest] != nil // what takes its place is right
	delete(l.bad, m.Digest)
	if !there || p.in != a.made {
		p, err := a.once(m.Descriptor, bytes.NewReader(m.Raw))
		if err != nil {
			return false, err
		}
		l.blobs[m.Digest] = p
	}
	listed, err := l.index.put(m.Descriptor)
	changed = changed || listed
	for _, tag := range tags {
		if err != nil {
			return false, err
		}
		var moved bool
		moved, err = l.index.tag(m.Descriptor, tag)
		changed = changed || moved
	}
	return changed, err
}

// DeleteBlob leaves a blob out of the new file.
func (a *archive) DeleteBlob(ctx context.Context, d store.Descriptor) error {
	return a.change(ctx, func() (bool, error) {
		l := a.layouts[a.dir]
		switch _, there := l.blob(store.Descriptor{Digest: d.Digest, Size: store.UnknownSize}); {
		case !there:
			return false, a.absent("blob " + d.Digest.String())
		case l.index.has(d.Digest):
			return false, fmt.Errorf("%w: %s is a manifest that index.json lists", store.ErrRefused, d.Digest)
		}
		delete(l.blobs, d.Digest)
		return true, nil
	})
}

// DeleteManifest leaves a manifest out of the new file, with its tags.
func (a *archive) DeleteManifest(ctx context.Context, d store.Descriptor) error {
	return a.change(ctx, func() (bool, error) {
		l := a.layouts[a.dir]
		if l == nil {
			return false, a.absent(d.Digest.String())
		}
		if err := l.mem.DeleteManifest(ctx, d); err != nil && l.bad[d.Digest] == nil {
			return false, err
		}
		l.index.remove(d.Digest)
		delete(l.blobs, d.Digest)
		delete(l.bad, d.Digest)
		return true, nil
	})
}

// Untag removes a tag and nothing else.
func (a *archive) Untag(ctx context.Context, tag string) error {
	return a.change(ctx, func() (bool, error) {
		l := a.layouts[a.dir]
		if l == nil {
			return false, a.absent(fmt.Sprintf("the tag %q", tag))
		}
		if err := l.mem.Untag(ctx, tag); err != nil && l.damaged(tag) == nil {
			return false, err
		}
		_, err := l.index.untag(tag)
		return true, err
	})
}

func (a *archive) change(ctx context.Context, do func() (changed bool, err error)) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.start(ctx); err != nil {
		return err
	}
	changed, err := do()
	a.dirty = a.dirty || changed
	return err
}
