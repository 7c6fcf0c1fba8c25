package ui

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Fault is one finding of verify.
type Fault struct {
	Kind      string        `json:"kind"`
	Path      string        `json:"path"` // from a root, as "v1/manifests[0]/layers[2]"
	MediaType string        `json:"mediaType,omitempty"`
	Digest    digest.Digest `json:"digest,omitempty"`
	Title     string        `json:"title,omitempty"`
	Expected  string        `json:"expected"` // a digest, a size or a media type; "" where there is none
	Got       string        `json:"got"`      // "" where it is not known
	Reason    string        `json:"reason"`
}

// VerifyResult is what verify found.
type VerifyResult struct {
	Reference string           `json:"reference"`
	OK        bool             `json:"ok"` // there are no faults
	Shallow   bool             `json:"shallow"`
	Recursive bool             `json:"recursive"`
	Roots     List[Descriptor] `json:"roots"`
	Manifests int              `json:"manifests"`
	Blobs     int              `json:"blobs"`
	Bytes     int64            `json:"bytes"`
	Faults    List[Fault]      `json:"faults"`
	Notes

	ref store.Ref
}

// NewVerifyResult tells of what ref names. What was found, and the notes, are added.
func NewVerifyResult(ref store.Ref) VerifyResult {
	return VerifyResult{Reference: ref.String(), ref: ref}
}

// Text writes the faults, each with where it is and why it is one, and the sum.
func (r VerifyResult) Text(out io.Writer) error {
	var l lines
	for _, f := range r.Faults {
		l.add(strings.TrimSpace(strings.Join([]string{"Fault:", f.Kind, f.Path, f.content()}, " ")))
		l.add("  why:", f.Reason)
	}
	verb := "Verified"
	switch {
	case !r.OK:
		verb = "Faulty"
	case r.Shallow:
		verb = "Found"
	}
	d := digest.Digest("")
	if len(r.Roots) == 1 && r.ref.Reference() != "" {
		d = r.Roots[0].Digest
	}
	l.add(verb, place(r.ref, d))
	l.add(fmt.Sprintf("Manifests: %d, blobs: %d, read: %s", r.Manifests, r.Blobs, Size(r.Bytes)))
	if !r.OK {
		l.add("Faults:", strconv.Itoa(len(r.Faults)))
	}
	if d != "" {
		l.add("Digest:", d.String())
	}
	return l.write(out)
}

// content is what is at fault, as far as that is known.
func (f Fault) content() string {
	s := f.Digest.String()
	switch {
	case f.Title != "":
		s += " " + f.Title
	case f.MediaType != "":
		s += " " + f.MediaType
	}
	return s
}
