package ui

import (
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// DeleteResult is what blob delete and manifest delete took away.
type DeleteResult struct {
	Descriptor
	Missing bool         `json:"missing,omitempty"` // it was gone already
	Tags    List[string] `json:"tags,omitempty"`    // of a manifest: the tags that went with it, where that was looked at
	Notes

	target store.Ref
}

// NewDeleteResult tells that d is no longer in the store of ref.
func NewDeleteResult(ref store.Ref, d store.Descriptor, notes Notes) DeleteResult {
	return DeleteResult{Descriptor: Describe(ref, d), Notes: notes, target: ref}
}

// Text writes the summary of a delete.
func (r DeleteResult) Text(out io.Writer) error { return DeleteText(r.target, r.Missing)(out) }

// IndexResult is an index that was made or changed.
type IndexResult struct {
	Descriptor
	ReferenceAsTags List[string]        `json:"referenceAsTags"`
	Changed         bool                `json:"changed"`            // is another one than before
	Previous        digest.Digest       `json:"previous,omitempty"` // of update: what it was before
	Added           List[digest.Digest] `json:"added"`
	Merged          List[digest.Digest] `json:"merged"`
	Removed         List[digest.Digest] `json:"removed"`
	Present         List[digest.Digest] `json:"present"` // to be added, and there already
	Path            string              `json:"path,omitempty"`
	Idle            string              `json:"-"` // why nothing was pushed; for people
	Notes

	target store.Ref
}

// NewIndexResult tells of the index d, in the store of ref under its tags.
func NewIndexResult(ref store.Ref, d store.Descriptor, notes Notes) IndexResult {
	r := IndexResult{Descriptor: Describe(ref, d), Notes: notes, target: ref}
	for _, t := range ref.Tags {
		r.ReferenceAsTags = append(r.ReferenceAsTags, ref.Display()+":"+t)
	}
	slices.Sort(r.ReferenceAsTags)
	return r
}

// Text writes what happened to the entries, then the summary of a push; of an
// index that was written to a file, its digest alone.
func (r IndexResult) Text(out io.Writer) error {
	var l lines
	for _, list := range []struct {
		verb    string
		digests []digest.Digest
	}{{"Removed", r.Removed}, {"Added", r.Added}, {"Merged", r.Merged}, {"Exists", r.Present}} {
		for _, d := range list.digests {
			l.add(fmt.Sprintf("%-7s", list.verb), d.String())
		}
	}
	switch {
	case r.Idle != "":
		l.add("Nothing to update as", r.Idle)
	case r.Path == "":
		l.add("Pushed", place(r.target, r.Digest))
		l.tagged(r.target.Tags)
	}
	if r.ArtifactType != "" {
		l.add("ArtifactType:", r.ArtifactType)
	}
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}

// ManifestFault is something wrong with a manifest, and where.
type ManifestFault struct {
	Severity string `json:"severity"` // error or warning
	Pointer  string `json:"pointer"`  // RFC 6901; "" is the whole document
	Text     string `json:"text"`
}

// ValidateResult is what is wrong with a manifest, if anything.
type ValidateResult struct {
	Reference string              `json:"reference,omitempty"` // where it was read from a store
	Path      string              `json:"path,omitempty"`      // where it was read from a file, as given
	MediaType string              `json:"mediaType"`
	Digest    digest.Digest       `json:"digest"`
	Size      int64               `json:"size"`
	Valid     bool                `json:"valid"` // there are no errors; there may be warnings
	Faults    List[ManifestFault] `json:"faults"`
}

// Text writes the faults, one to a line, and then the verdict.
func (r ValidateResult) Text(out io.Writer) error {
	var rows [][]string
	for _, f := range r.Faults {
		at := f.Pointer
		if at == "" {
			at = "(document)"
		}
		rows = append(rows, []string{f.Severity, at, f.Text})
	}
	if err := Table(out, nil, rows); err != nil {
		return err
	}
	verdict := "Valid"
	if !r.Valid {
		verdict = "Not valid"
	}
	var l lines
	l.add(verdict+":", r.MediaType)
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}
