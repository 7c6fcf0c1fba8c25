package remote

import (
	"slices"

	"github.com/stet-oci/stet/pkg/store"
)

// restTries is how often a manifest is put again whose blobs are not at rest.
const restTries = 4

// unsettled says whether a registry refuses a manifest because of blobs which it
// has said that it stored. Where several clients store the same blob at once,
// as each stores the empty config, Distribution 2.8 writes its entry anew each
// time, and for that moment does not know it.
func (r *repository) unsettled(m store.Manifest, err error) bool {
	e := statusOf(err)
	if e == nil || !e.Has("MANIFEST_BLOB_UNKNOWN") || !store.IsManifestType(m.MediaType) {
		return false
	}
	o, err := store.ParseOutline(m)
	if err != nil || len(o.Blobs()) == 0 {
		return false
	}
	return !slices.ContainsFunc(o.Blobs(), func(d store.Descriptor) bool {
		_, stored := r.flights.has(d.Digest)
		return !stored
	})
}
