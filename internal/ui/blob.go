package ui

import (
	"io"

	"github.com/stet-oci/stet/pkg/store"
)

// BlobResult is what became of one blob. ORAS has no such result; the keys of
// the descriptor are its, the others ours.
type BlobResult struct {
	Descriptor
	How    store.How `json:"how,omitempty"`    // of push and mount: sent, mounted or present
	Source string    `json:"source,omitempty"` // of mount: the reference that was given
	Path   string    `json:"path,omitempty"`   // of fetch: the file, absolute
	Notes

	target, from store.Ref
}

// NewBlobResult tells of the blob d, which is in the store of ref.
func NewBlobResult(ref store.Ref, d store.Descriptor, notes Notes) BlobResult {
	return BlobResult{Descriptor: Describe(ref, d), Notes: notes, target: ref.WithDigest(d.Digest)}
}

// From adds to a result of mount where the blob lay before.
func (r BlobResult) From(ref store.Ref) BlobResult {
	r.Source, r.from = ref.String(), ref
	return r
}

// PushText writes the summary of blob push.
func (r BlobResult) PushText(out io.Writer) error {
	var l lines
	l.add("Pushed", place(r.target, r.Digest))
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}

// MountText writes the summary of blob mount. The verb is what happened.
func (r BlobResult) MountText(out io.Writer) error {
	verb := map[store.How]string{store.Mounted: "Mounted", store.Present: "Exists", store.Sent: "Copied"}[r.How]
	var l lines
	l.add(verb, place(r.from, r.Digest), "=>", place(r.target, r.Digest))
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}
