package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// List is a list whose JSON is [] where there is nothing in it, never null.
type List[T any] []T

// MarshalJSON gives a JSON array.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Descriptor is content and where it is: a descriptor (image-spec
// descriptor.md) without the fields that are about its use.
type Descriptor struct {
	Reference    string            `json:"reference"` // "host/repository@digest"
	MediaType    string            `json:"mediaType"`
	Digest       digest.Digest     `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// Describe gives d, which is in the store of ref, as results show it.
func Describe(ref store.Ref, d store.Descriptor) Descriptor {
	return Descriptor{
		Reference:    reference(ref, d.Digest),
		MediaType:    d.MediaType,
		Digest:       d.Digest,
		Size:         d.Size,
		Annotations:  d.Annotations,
		ArtifactType: d.ArtifactType,
	}
}

func reference(ref store.Ref, d digest.Digest) string { return ref.Display() + "@" + d.String() }

// PushResult is what push made, and manifest push and tag: a manifest and the
// tags that now name it.
type PushResult struct {
	Descriptor
	ReferenceAsTags List[string] `json:"referenceAsTags"` // "host/repository:tag", sorted
	DryRun          bool         `json:"dryRun,omitempty"`
	Notes

	target store.Ref
}

// NewPushResult tells of d, which is in the store of ref under the tags of ref.
func NewPushResult(ref store.Ref, d store.Descriptor, notes Notes) PushResult {
	r := PushResult{Descriptor: Describe(ref, d), Notes: notes, target: ref}
	for _, t := range ref.Tags {
		r.ReferenceAsTags = append(r.ReferenceAsTags, ref.Display()+":"+t)
	}
	slices.Sort(r.ReferenceAsTags)
	return r
}

// Text writes the summary of push.
func (r PushResult) Text(out io.Writer) error { return r.summary("Pushed", out) }

// DryRunText writes what push would have summed up.
func (r PushResult) DryRunText(out io.Writer) error { return r.summary("Would push", out) }

func (r PushResult) summary(verb string, out io.Writer) error {
	var l lines
	l.add(verb, place(r.target, r.Digest))
	l.tagged(r.target.Tags)
	if r.ArtifactType != "" {
		l.add("ArtifactType:", r.ArtifactType)
	}
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}

// TagText writes the summary of tag: all tags, and what they name.
func (r PushResult) TagText(out io.Writer) error {
	var l lines
	l.add("Tagging", place(r.target.WithDigest(r.Digest), r.Digest))
	for _, t := range r.target.Tags {
		l.add("Tagged", t)
	}
	return l.write(out)
}

// AttachResult is what attach made: a manifest with a subject.
type AttachResult struct {
	Descriptor
	Notes

	subject store.Ref
}

// NewAttachResult tells of d, attached to the manifest subject in the store of ref.
func NewAttachResult(ref store.Ref, subject digest.Digest, d store.Descriptor, notes Notes) AttachResult {
	return AttachResult{Descriptor: Describe(ref, d), Notes: notes, subject: ref.WithDigest(subject)}
}

// Text writes the summary of attach.
func (r AttachResult) Text(out io.Writer) error {
	var l lines
	l.add("Attached to", place(r.subject, r.subject.Digest))
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}

// File is a file or directory that pull wrote.
type File struct {
	Path string `json:"path"` // absolute; that of a directory ends with a slash
	Descriptor
}

// PullResult is what pull wrote, and of what manifest.
type PullResult struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest,omitempty"`
	Files     List[File]    `json:"files"`
	Skipped   int           `json:"skipped,omitempty"` // layers without a title, which have no name to be written under
	Notes

	source  store.Ref
	program string
}

// NewPullResult tells of the manifest d of ref, pulled by the program of that
// name. Files and Skipped are added as they are known.
func NewPullResult(program string, ref store.Ref, d digest.Digest, notes Notes) PullResult {
	return PullResult{Reference: reference(ref, d), Digest: d, Notes: notes, source: ref, program: program}
}

// Text writes the summary of pull.
func (r PullResult) Text(out io.Writer) error {
	var l lines
	if r.Skipped > 0 {
		// The wording is ORAS's. Unlike there, what was pulled is told as well.
		l.add(`Skipped pulling layers without file name in "org.opencontainers.image.title"`)
		l.add(fmt.Sprintf("Use '%s cp %s --to-oci-layout <layout-dir>' to pull all layers.", r.program, r.source.String()))
	}
	l.add("Pulled", place(r.source, r.Digest))
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}

// ManifestResult is a manifest with its content.
type ManifestResult struct {
	Descriptor
	Content json.RawMessage `json:"content"` // null where the manifest is no JSON
}

// NewManifestResult tells of m, which is in the store of ref.
func NewManifestResult(ref store.Ref, m store.Manifest) ManifestResult {
	r := ManifestResult{Descriptor: Describe(ref, m.Descriptor)}
	if json.Valid(m.Raw) {
		r.Content = m.Raw
	}
	return r
}

// CopyResult is what cp did. ORAS has no such result; the keys are ours.
type CopyResult struct {
	Source      string        `json:"source"`      // the reference that was given
	Destination string        `json:"destination"` // "host/repository@digest"
	MediaType   string        `json:"mediaType"`
	Digest      digest.Digest `json:"digest"`
	Size        int64         `json:"size"`
	Tags        List[string]  `json:"tags"`
	Counts      Counts        `json:"counts"`
	DryRun      bool          `json:"dryRun,omitempty"`
	CopyDetails
	Fallbacks List[FallbackTaken] `json:"fallbacks"`
	Warnings  List[string]        `json:"warnings,omitempty"`

	from, to store.Ref
}

// NewCopyResult tells of the manifest d, copied as the recorder saw it.
func NewCopyResult(from, to store.Ref, d store.Descriptor, seen *Recorder) CopyResult {
	notes := seen.Notes()
	return CopyResult{
		Source:      from.String(),
		Destination: reference(to, d.Digest),
		MediaType:   d.MediaType,
		Digest:      d.Digest,
		Size:        d.Size,
		Tags:        to.Tags,
		Counts:      seen.Counts(),
		Fallbacks:   notes.Fallbacks,
		Warnings:    notes.Warnings,
		from:        from,
		to:          to,
	}
}

// Text writes the summary of cp.
func (r CopyResult) Text(out io.Writer) error {
	var l lines
	l.add("Copied", place(r.from, r.Digest), "=>", place(r.to, r.Digest))
	l.tagged(r.to.Tags)
	for _, t := range r.DigestTags {
		l.add("Tagged", t)
	}
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}

// DryRunText writes what cp would have done.
func (r CopyResult) DryRunText(out io.Writer) error {
	var l lines
	l.add("Would copy", place(r.from, r.Digest), "=>", place(r.to, r.Digest))
	l.add(fmt.Sprintf("Would send: %d blobs, %d bytes; %d manifests", r.Counts.Sent, r.Counts.Bytes, r.Counts.Manifests))
	l.add(fmt.Sprintf("Would mount: %d blobs", r.Counts.Mounted))
	l.add(fmt.Sprintf("Would skip: %d blobs", r.Counts.Present))
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}

// DeleteText gives the text of a delete; with force, what was missing is no error.
func DeleteText(ref store.Ref, missing bool) func(io.Writer) error {
	return func(out io.Writer) error {
		var l lines
		if missing {
			l.add("Missing", place(ref, ref.Digest))
		} else {
			l.add("Deleted", place(ref, ref.Digest))
		}
		return l.write(out)
	}
}

// place is a reference as people are shown it, such as
// "[registry] host/repository:tag": the first tag, or else the digest d.
func place(ref store.Ref, d digest.Digest) string {
	s := fmt.Sprintf("[%s] %s", ref.Scheme, ref.Display())
	switch {
	case ref.Digest != "":
		return s + "@" + ref.Digest.String()
	case len(ref.Tags) > 0:
		return s + ":" + ref.Tags[0]
	case d != "":
		return s + "@" + d.String()
	}
	return s
}

// lines are the lines of a summary, which is written in one piece.
type lines struct{ b strings.Builder }

func (l *lines) add(words ...string) {
	l.b.WriteString(Escape(strings.Join(words, " ")) + "\n")
}

// tagged adds the tags that the first line does not name.
func (l *lines) tagged(tags []string) {
	for _, t := range tags[min(1, len(tags)):] {
		l.add("Tagged", t)
	}
}

func (l *lines) write(out io.Writer) error {
	_, err := io.WriteString(out, l.b.String())
	return err
}
