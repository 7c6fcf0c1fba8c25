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

// packed is one OCI layout in an archive. Tags are in memory, and which manifests there
// are; their bytes are in the file, as those of blobs: in the old one, or in the one
// that is being made. What was put since the file was opened is in memory as well.
type packed struct {
	mem   *memory // manifests and tags
	blobs map[digest.Digest]place
	index *index
	bad   map[digest.Digest]error // manifests that are not what they should be
	named map[digest.Digest]bool  // what its manifests name and it has not; nil until somebody asks
}

func newPacked() *packed {
	return &packed{
		mem: newMemory(""), blobs: map[digest.Digest]place{}, index: newIndex(), bad: map[digest.Digest]error{},
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

// remember finds the manifests of the index, and those under them. One that is not
// there is absent, as in a sparse layout; one that is damaged is an error for whoever
// reads it, and for nobody else.
func (l *packed) remember() error {
	seen := map[digest.Digest]bool{}
	var queue []store.Descriptor
	for _, e := range l.index.entries {
		var tags []string
		if e.tag != "" {
			tags = []string{e.tag}
		}
		children, err := l.recall(e.Descriptor, tags...)
		if err != nil {
			return err
		}
		queue = append(queue, l.unread(children, seen)...)
	}
	for len(queue) > 0 {
		children, err := l.recall(queue[0])
		if err != nil {
			return err
		}
		queue = append(queue[1:], l.unread(children, seen)...)
	}
	return nil
}

// unread are the children of a manifest that lie in the archive and are to be read
// still: so few that a list of millions costs no memory.
func (l *packed) unread(children []store.Descriptor, seen map[digest.Digest]bool) (all []store.Descriptor) {
	for _, d := range children {
		if _, here := l.blobs[d.Digest]; here && !seen[d.Digest] && !l.index.has(d.Digest) && store.IsManifestType(d.MediaType) {
			seen[d.Digest] = true
			all = append(all, store.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
		}
	}
	return all
}

// recall reads one manifest, once, and gives those that it lists.
func (l *packed) recall(d store.Descriptor, tags ...string) ([]store.Descriptor, error) {
	p, ok := l.blobs[d.Digest]
	if !ok {
		return nil, nil
	}
	if p.size > maxManifest || p.size != d.Size {
		l.bad[d.Digest] = store.Mismatch("manifest %s has %d bytes, expected %d", d.Digest, p.size, d.Size)
		return nil, nil
	}
	if known, err := l.mem.Resolve(context.Background(), d.Digest.String()); err == nil && known.MediaType == d.MediaType {
		if err := l.mem.tag(d.Digest, tags); err != nil {
			l.bad[d.Digest] = err
		}
		return nil, nil
	}
	raw, err := p.read()
	if err != nil {
		return nil, err
	}
	m := store.Manifest{Descriptor: store.Plain(d), Raw: raw}
	if err := l.mem.PutManifest(context.Background(), m, tags...); err != nil {
		l.bad[d.Digest] = err
		return nil, nil
	}
	l.mem.rest(d.Digest, p)
	if !store.IsManifestType(d.MediaType) {
		return nil, nil
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, err
	}
	return o.Manifests, nil
}

// lacks says whether a manifest names what is not there. It reads all of them, once;
// where one cannot be read, the answer is yes.
func (l *packed) lacks(d digest.Digest) bool {
	if l.named == nil {
		named := map[digest.Digest]bool{}
		for m, err := range l.mem.Manifests(context.Background()) {
			if err != nil || l.note(m.Digest, named) != nil {
				return true
			}
		}
		l.named = named
	}
	return l.named[d]
}

// note adds to named what a manifest names and what is not there.
func (l *packed) note(manifest digest.Digest, named map[digest.Digest]bool) error {
	m, err := l.mem.Manifest(context.Background(), manifest.String())
	if err != nil || !store.IsManifestType(m.MediaType) {
		return err
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return err
	}
	for _, b := range slices.Concat(o.Blobs(), o.Manifests) {
		if _, here := l.blobs[b.Digest]; !here {
			named[b.Digest] = true
		}
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
