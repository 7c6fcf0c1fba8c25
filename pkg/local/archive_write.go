package local

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// begin makes the new file, once, under the lock. What another process has
// written since the archive was opened is read anew.
func (a *archive) begin(ctx context.Context) error {
	if a.made != nil {
		return nil
	}
	lock := flock.New(a.file + ".lock")
	bound, cancel := context.WithTimeout(ctx, a.wait)
	defer cancel()
	if ok, err := lock.TryLockContext(bound, lockPoll); !ok {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: %s: another process writes it (%w)", store.ErrLocked, a.file, err)
	}
	err := a.reload()
	if err == nil {
		a.made, err = os.CreateTemp(filepath.Dir(a.file), "."+filepath.Base(a.file)+".*.partial")
	}
	if err != nil {
		return errors.Join(err, lock.Unlock())
	}
	a.lock = lock
	return nil
}

func (a *archive) reload() error {
	now, err := os.Stat(a.file)
	if err != nil {
		return nil // still not there
	}
	if a.old != nil {
		then, err := a.old.Stat()
		if err != nil || os.SameFile(then, now) {
			return err
		}
		_ = a.old.Close()
	}
	return a.load()
}

// PutBlob adds a blob to the new file, and proves it. One of unknown size waits
// in a file of its own: a tar wants the size first.
func (a *archive) PutBlob(ctx context.Context, b store.Blob) (put store.Put, err error) {
	a.mu.Lock()
	p, there := a.blobs[b.Digest]
	a.mu.Unlock()
	if there && (b.Size < 0 || b.Size == p.size) {
		b.Size = p.size
		return store.Put{Descriptor: b.Descriptor, How: store.Present}, nil
	}
	spool, err := os.CreateTemp(filepath.Dir(a.file), "."+filepath.Base(a.file)+".*.partial")
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
	if _, there := a.blobs[d.Digest]; there {
		return store.Put{Descriptor: d, How: store.Present}, nil
	}
	if err := a.begin(ctx); err != nil {
		return put, err
	}
	err = a.add(d.Digest, io.NewSectionReader(spool, 0, d.Size), d.Size)
	a.dirty = a.dirty || a.keepBlobs && err == nil
	return store.Put{Descriptor: d, How: store.Sent}, err
}

// add appends a blob to the new file. What fails half way is cut off again.
func (a *archive) add(d digest.Digest, content io.Reader, size int64) error {
	at, err := a.entry(blobPath(d), content, size)
	if err == nil {
		a.blobs[d] = place{in: a.made, at: at, size: size}
	}
	return err
}

// entry appends a file and gives the offset of its content.
func (a *archive) entry(name string, content io.Reader, size int64) (at int64, err error) {
	if _, err := a.made.Seek(a.end, io.SeekStart); err != nil {
		return 0, err
	}
	w := tar.NewWriter(a.made)
	err = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Format: tar.FormatPAX})
	if err == nil {
		at, err = a.made.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		_, err = io.CopyBuffer(w, content, make([]byte, copyBuffer))
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return 0, errors.Join(err, a.made.Truncate(a.end))
	}
	a.end, err = a.made.Seek(0, io.SeekCurrent)
	return at, err
}

// PutManifest adds a manifest, which is a blob of the layout as well.
func (a *archive) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx); err != nil {
		return err
	}
	if err := a.mem.PutManifest(ctx, m, tags...); err != nil {
		return err
	}
	if _, there := a.blobs[m.Digest]; !there {
		if err := a.add(m.Digest, bytes.NewReader(m.Raw), int64(len(m.Raw))); err != nil {
			return err
		}
	}
	a.dirty = true
	d := store.Plain(m.Descriptor)
	if _, err := a.index.put(d); err != nil {
		return err
	}
	for _, t := range tags {
		if _, err := a.index.tag(d, t); err != nil {
			return err
		}
	}
	return nil
}

// DeleteBlob leaves a blob out of the new file.
func (a *archive) DeleteBlob(ctx context.Context, d store.Descriptor) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx); err != nil {
		return err
	}
	switch _, there := a.blobs[d.Digest]; {
	case !there:
		return fmt.Errorf("%w: blob %s in %s", store.ErrNotFound, d.Digest, a.file)
	case a.index.has(d.Digest):
		return fmt.Errorf("%w: %s is a manifest that index.json lists", store.ErrRefused, d.Digest)
	}
	delete(a.blobs, d.Digest)
	a.dirty = true
	return nil
}

// DeleteManifest leaves a manifest out of the new file, with its tags.
func (a *archive) DeleteManifest(ctx context.Context, d store.Descriptor) error {
	return a.change(ctx, func() error {
		if err := a.mem.DeleteManifest(ctx, d); err != nil {
			return err
		}
		a.index.remove(d.Digest)
		delete(a.blobs, d.Digest)
		return nil
	})
}

// Untag removes a tag and nothing else.
func (a *archive) Untag(ctx context.Context, tag string) error {
	return a.change(ctx, func() error {
		if err := a.mem.Untag(ctx, tag); err != nil {
			return err
		}
		_, err := a.index.untag(tag)
		return err
	})
}

func (a *archive) change(ctx context.Context, do func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.begin(ctx)
	if err == nil {
		err = do()
	}
	a.dirty = a.dirty || err == nil
	return err
}

// Close puts the new file in place of the old, if there is a reason to.
func (a *archive) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	if a.made != nil {
		name := a.made.Name()
		if a.dirty {
			err = a.finish()
		}
		err = errors.Join(err, a.made.Close())
		if a.dirty && err == nil {
			err = os.Rename(name, a.file)
		}
		if !a.dirty || err != nil {
			err = errors.Join(err, os.Remove(name))
		}
		err = errors.Join(err, a.lock.Unlock())
		a.made = nil
	}
	if a.old != nil {
		err = errors.Join(err, a.old.Close())
		a.old = nil
	}
	return err
}

// finish carries over what only the old file has, in the order of the digests,
// and writes what makes the file a layout.
func (a *archive) finish() error {
	var rest []digest.Digest
	for d, p := range a.blobs {
		if p.in != a.made {
			rest = append(rest, d)
		}
	}
	slices.Sort(rest)
	for _, d := range rest {
		p := a.blobs[d]
		if err := a.add(d, io.NewSectionReader(p.in, p.at, p.size), p.size); err != nil {
			return err
		}
	}
	version, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if _, err := a.entry(layoutFile, bytes.NewReader(version), int64(len(version))); err != nil {
		return err
	}
	index := a.index.bytes()
	if _, err := a.entry(indexFile, bytes.NewReader(index), int64(len(index))); err != nil {
		return err
	}
	if _, err := a.made.Write(make([]byte, 1024)); err != nil { // the end of a tar: two empty records
		return err
	}
	if err := a.made.Chmod(0o644); err != nil {
		return err
	}
	return a.made.Sync()
}
