package ui

import (
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// RepositoriesResult is what repo ls found. The keys are those of ORAS.
type RepositoriesResult struct {
	Registry     string       `json:"registry"`
	Repositories List[string] `json:"repositories"` // whole names
	Notes

	shown []string
}

// NewRepositoriesResult tells of repositories; shown are their names as text
// has them, without the name space that was asked for.
func NewRepositoriesResult(registry string, names, shown []string, notes Notes) RepositoriesResult {
	return RepositoriesResult{Registry: registry, Repositories: names, Notes: notes, shown: shown}
}

// Text writes a name a line.
func (r RepositoriesResult) Text(out io.Writer) error {
	var l lines
	for _, name := range r.shown {
		l.add(name)
	}
	return l.write(out)
}

// TagsResult is what repo tags found. The key tags is ORAS's.
type TagsResult struct {
	Tags    List[string]     `json:"tags"`
	Details *List[TagDetail] `json:"details,omitempty"` // of each of the tags, in their order; nil where nobody asked
	Notes
}

// TagDetail is what a tag names.
type TagDetail struct {
	Tag string `json:"tag"`
	Descriptor
	Kind        string `json:"kind"`                  // such as "image"; see KindWord
	ContentSize *int64 `json:"contentSize,omitempty"` // bytes of the manifest and of the blobs that it names; not of an index
	Created     string `json:"created,omitempty"`
	Error       string `json:"error,omitempty"` // why the manifest could not be read
}

// NewTagDetail tells of d, which the tag names in the store of ref; content is
// store.UnknownSize where there is no such number.
func NewTagDetail(ref store.Ref, tag string, d store.Descriptor, content int64) TagDetail {
	t := TagDetail{Tag: tag, Descriptor: Describe(ref, d), Kind: KindWord(d.MediaType)}
	if content != store.UnknownSize {
		t.ContentSize = &content
	}
	return t
}

// KindWord is a word for a kind of manifest.
func KindWord(mediaType string) string {
	switch mediaType {
	case store.MediaTypeImage:
		return "image"
	case store.MediaTypeIndex:
		return "index"
	case store.MediaTypeArtifact:
		return "artifact"
	case store.MediaTypeORASArtifact:
		return "oras-artifact"
	case store.MediaTypeDockerImage:
		return "docker-image"
	case store.MediaTypeDockerIndex:
		return "docker-index"
	}
	return "unknown"
}

// Text writes a tag a line.
func (r TagsResult) Text(out io.Writer) error {
	var l lines
	for _, tag := range r.Tags {
		l.add(tag)
	}
	return l.write(out)
}

// Table writes a row of details for each tag. What is not known is a dash.
func (r TagsResult) Table(out io.Writer) error {
	var rows [][]string
	for _, d := range *r.Details {
		size := ""
		if d.ContentSize != nil {
			size = Size(*d.ContentSize)
		}
		row := []string{d.Tag, d.Digest.String(), size, d.Kind, d.ArtifactType, d.Created}
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}
		rows = append(rows, row)
	}
	return Table(out, []string{"Tag", "Digest", "Size", "Kind", "Artifact Type", "Created"}, rows)
}

// UntagResult is what untag did.
type UntagResult struct {
	Untagged List[Untagged] `json:"untagged"`
	Missing  List[Untagged] `json:"missing,omitempty"`
	Notes
}

// Untagged is a tag that was removed, and what it named; of a missing one
// nothing is known.
type Untagged struct {
	Tag       string        `json:"tag"`
	Reference string        `json:"reference"` // "host/repository@digest"; of a missing tag "host/repository:tag"
	MediaType string        `json:"mediaType,omitempty"`
	Digest    digest.Digest `json:"digest,omitempty"`
	Size      int64         `json:"size,omitempty"`

	ref store.Ref
}

// Name is the tag with its repository.
func (u Untagged) Name() string { return u.ref.Display() + ":" + u.Tag }

// Add notes a tag of the store of ref, which named d, or was missing.
func (r *UntagResult) Add(ref store.Ref, tag string, d store.Descriptor, missing bool) {
	u := Untagged{Tag: tag, ref: ref.WithTags(tag)}
	if missing {
		u.Reference = u.Name()
		r.Missing = append(r.Missing, u)
		return
	}
	u.Reference, u.MediaType, u.Digest, u.Size = reference(ref, d.Digest), d.MediaType, d.Digest, d.Size
	r.Untagged = append(r.Untagged, u)
}

// Text writes what was removed, with the digest that brings it back.
func (r UntagResult) Text(out io.Writer) error {
	var l lines
	for _, u := range r.Untagged {
		l.add("Untagged", place(u.ref, ""))
		l.add("Digest:", u.Digest.String())
	}
	for _, u := range r.Missing {
		l.add("Missing", place(u.ref, ""))
	}
	return l.write(out)
}
