package local

import (
	"bytes"
	"maps"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// stored is a manifest with what it says of itself; the outline may be nil.
type stored struct {
	store.Manifest
	outline *store.Outline
	at      *place // where its bytes lie that are not here; then the outline has the subject alone
}

// bytes gives a copy, proven where it comes from a file.
func (m stored) bytes() ([]byte, error) {
	if m.at == nil {
		return bytes.Clone(m.Raw), nil
	}
	raw, err := m.at.read()
	if err != nil {
		return nil, err
	}
	return raw, store.CheckManifest(store.Manifest{Descriptor: m.Descriptor, Raw: raw}, m.Digest)
}

// referrer is how the manifest is listed among the referrers of its subject.
func (m stored) referrer() (store.Descriptor, error) {
	o := m.outline
	if m.at != nil {
		raw, err := m.bytes()
		if err != nil {
			return store.Descriptor{}, err
		}
		if o, err = store.ParseOutline(store.Manifest{Descriptor: m.Descriptor, Raw: raw}); err != nil {
			return store.Descriptor{}, err
		}
	}
	d := referrer(m.Descriptor, o)
	d.Annotations = maps.Clone(d.Annotations)
	return d, nil
}

// rest leaves the bytes of a manifest where they lie.
func (s *memory) rest(d digest.Digest, at place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.manifests[d]
	if o := m.outline; o != nil && o.Subject != nil {
		m.outline = &store.Outline{Subject: &store.Descriptor{Digest: o.Subject.Digest}}
	} else {
		m.outline = nil
	}
	m.Raw, m.at = nil, &at
	s.manifests[d] = m
}

// tag gives tags to a manifest that is there.
func (s *memory) tag(d digest.Digest, tags []string) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tag := range tags {
		s.tags[tag] = d
	}
	return nil
}
