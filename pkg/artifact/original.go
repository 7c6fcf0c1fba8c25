package artifact

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// OriginalType is the artifact type of what keeps the bytes of a manifest that
// was converted.
const OriginalType = "application/vnd.stet.original.v1"

// Original wraps a manifest so that every registry keeps it: an image manifest
// that refers to subject, which stands for the old manifest now, and whose one
// layer has the media type and the bytes of the old manifest. The blobs are
// those that it needs. The same arguments give the same bytes.
func Original(old store.Manifest, subject store.Descriptor) (store.Manifest, []store.Blob, error) {
	plain := store.Plain(subject)
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: store.MediaTypeImage, ArtifactType: OriginalType,
		Config: store.EmptyJSON(), Layers: []store.Descriptor{store.Plain(old.Descriptor)}, Subject: &plain,
	})
	if err != nil {
		return store.Manifest{}, nil, err
	}
	layer := store.NewBlob(old.MediaType, old.Raw)
	layer.Descriptor = store.Plain(old.Descriptor)
	return store.NewManifest(store.MediaTypeImage, raw), []store.Blob{EmptyBlob(), layer}, nil
}

// EmptyBlob is the blob "{}" that the empty descriptor names: registries ask
// for it, also where the manifest carries its content in data.
func EmptyBlob() store.Blob { return store.NewBlob(ocispec.MediaTypeEmptyJSON, []byte("{}")) }

// IsOriginal says whether a manifest claims to keep another one.
func IsOriginal(o *store.Outline) bool { return o.ArtifactType == OriginalType }

// ParseOriginal reads what Original made: the blob that is the old manifest,
// and what stands for it. It is ErrInvalid for anything else.
func ParseOriginal(m store.Manifest) (old, subject store.Descriptor, err error) {
	o, err := store.ParseOutline(m)
	if err != nil {
		return old, subject, err
	}
	if !IsOriginal(o) || o.Subject == nil || len(o.Layers) != 1 || !store.IsManifestType(o.Layers[0].MediaType) {
		return old, subject, fmt.Errorf("%w: %s is not a %s with a subject and one manifest as its layer", store.ErrInvalid, m.Digest, OriginalType)
	}
	return o.Layers[0], *o.Subject, nil
}

// Restore is the old manifest that ParseOriginal named, from the bytes of its
// blob. It is ErrMismatch where they are others, and ErrInvalid where they are
// no manifest of that kind.
func Restore(old store.Descriptor, raw []byte) (store.Manifest, error) {
	m := store.Manifest{Descriptor: store.Plain(old), Raw: raw}
	if err := store.CheckManifest(m, old.Digest); err != nil {
		return m, err
	}
	_, err := store.ParseOutline(m)
	return m, err
}
