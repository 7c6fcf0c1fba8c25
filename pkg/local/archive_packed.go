package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// packed is one OCI layout in an archive. Manifests, tags and referrers are in
// memory, blobs in the file: in the old one, or in the one that is being made.
type packed struct {
	mem   store.Store // manifests and tags
	blobs map[digest.Digest]place
	index *index
	bad   map[digest.Digest]error // manifests that are not what they should be
	named map[digest.Digest]bool  // blobs that its manifests name
}

func newPacked() *packed {
	return &packed{
		mem: NewMemory(), blobs: map[digest.Digest]place{}, index: newIndex(),
		bad: map[digest.Digest]error{}, named: map[digest.Digest]bool{},
	}
}

// load reads the layout in a directory of an archive, whose blobs are known.
func (l *packed) load(dir string, files map[string]place) error {
	raw, err := content(files, path.Join(dir, layoutFile), maxManifest)
	if err != nil {
		return err
	}
	var v ocispec.ImageLayout
	if json.Unmarshal(raw, &v) != nil || v.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("%w: %s does not say imageLayoutVersion %s", store.ErrInvalid, path.Join(dir, layoutFile), ocispec.ImageLayoutVersion)
	}
	if raw, err = content(files, path.Join(dir, indexFile), maxIndex); err != nil {
		return err
	}
	if l.index, err = parseIndex(raw); err != nil {
		return fmt.Errorf("%s: %w", path.Join(dir, indexFile), err)
	}
	return l.remember()
}

// content reads a file that every layout has.
func content(files map[string]place, name string, limit int64) ([]byte, error) {
	p, ok := files[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s is missing", store.ErrInvalid, name)
	}
	if p.size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, the limit is %d", store.ErrTooLarge, name, p.size, limit)
	}
	return p.read()
}

func (p place) read() ([]byte, error) {
	raw := make([]byte, p.size)
	if _, err := p.in.ReadAt(raw, p.at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return raw, nil
}

// remember puts the manifests of the index, and those under them, into memory.
// One that is not there is absent, as in a sparse layout; one that is damaged
// is an error for whoever reads it, and for nobody else.
func (l *packed) remember() error {
	var queue []store.Descriptor
	for _, e := range l.index.entries {
		var tags []string
		if e.tag != "" {
			tags = []string{e.tag}
		}
		if err := l.recall(e.Descriptor, tags...); err != nil {
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
		if !l.index.has(d.Digest) {
			if err := l.recall(d); err != nil {
				return err
			}
		}
		m, err := l.mem.Manifest(context.Background(), d.Digest.String())
		if err != nil {
			continue // absent or bad
		}
		o, err := store.ParseOutline(m)
		if err != nil {
			return err
		}
		for _, b := range slices.Concat(o.Blobs(), o.Manifests) {
			l.named[b.Digest] = true
		}
		queue = append(queue, o.Manifests...)
	}
	return nil
}

// recall reads one manifest.
func (l *packed) recall(d store.Descriptor, tags ...string) error {
	p, ok := l.blobs[d.Digest]
	if !ok {
		return nil
	}
	if p.size > maxManifest || p.size != d.Size {
		l.bad[d.Digest] = store.Mismatch("manifest %s has %d bytes, expected %d", d.Digest, p.size, d.Size)
		return nil
	}
	raw, err := p.read()
	if err != nil {
		return err
	}
	m := store.Manifest{Descriptor: store.Plain(d), Raw: raw}
	if err := l.mem.PutManifest(context.Background(), m, tags...); err != nil {
		l.bad[d.Digest] = err
	}
	return nil
}

// damaged is the error of what ref names, if that is known to be bad.
func (l *packed) damaged(ref string) error {
	d, ok := l.index.find(ref)
	if !ok && store.IsDigest(ref) {
		d.Digest = digest.Digest(ref)
	}
	return l.bad[d.Digest]
}
