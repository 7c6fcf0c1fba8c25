package ui

import (
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// CopyDetails is what some copies have to tell.
type CopyDetails struct {
	NewDigest  *NewDigest   `json:"newDigest,omitempty"`  // the copy is another index than the source
	DigestTags List[string] `json:"digestTags,omitempty"` // copied because of what they name
	LeftOut    int          `json:"leftOut,omitempty"`    // referrers of other artifact types
}

// NewDigest is a change of digest that the user allowed.
type NewDigest struct {
	Old digest.Digest `json:"old"`
	New digest.Digest `json:"new"`
}

// Outcome is what became of a tag.
type Outcome string

// The outcomes of a tag.
const (
	OutcomeCopied Outcome = "copied"
	OutcomeExists Outcome = "exists"
	OutcomeFailed Outcome = "failed"
	// Of a dry run: it is not there, and would be copied.
	OutcomeWould Outcome = "would-copy"
)

// CopiedTag is a tag of cp --all-tags.
type CopiedTag struct {
	Tag       string        `json:"tag"`
	Digest    digest.Digest `json:"digest,omitempty"`
	MediaType string        `json:"mediaType,omitempty"`
	Size      int64         `json:"size,omitempty"`
	Outcome   Outcome       `json:"outcome"`
	Error     string        `json:"error,omitempty"`
}

// CopyAllResult is what cp --all-tags did.
type CopyAllResult struct {
	Source      string          `json:"source"`      // "host/repository"
	Destination string          `json:"destination"` // "host/repository"
	Tags        List[CopiedTag] `json:"tags"`
	Copied      int             `json:"copied"`
	WouldCopy   int             `json:"wouldCopy,omitempty"` // of a dry run
	Exist       int             `json:"exist"`
	Failed      int             `json:"failed"`
	Counts      Counts          `json:"counts"`
	DryRun      bool            `json:"dryRun,omitempty"`
	CopyDetails
	Fallbacks List[FallbackTaken] `json:"fallbacks"`
	Warnings  List[string]        `json:"warnings,omitempty"`

	from, to store.Ref
}

// NewCopyAllResult tells of a copy of many tags; Add adds each.
func NewCopyAllResult(from, to store.Ref, seen *Recorder) CopyAllResult {
	notes := seen.Notes()
	return CopyAllResult{
		Source: from.String(), Destination: to.String(), Counts: seen.Counts(),
		Fallbacks: notes.Fallbacks, Warnings: notes.Warnings, from: from, to: to,
	}
}

// Add tells of one tag: what it names, and what became of it.
func (r *CopyAllResult) Add(tag string, d store.Descriptor, exists bool, err error) {
	t := CopiedTag{Tag: tag, Digest: d.Digest, MediaType: d.MediaType, Size: d.Size}
	switch {
	case err != nil:
		t.Outcome, t.Error = OutcomeFailed, err.Error()
		r.Failed++
	case exists:
		t.Outcome = OutcomeExists
		r.Exist++
	case r.DryRun:
		t.Outcome = OutcomeWould
		r.WouldCopy++
	default:
		t.Outcome = OutcomeCopied
		r.Copied++
	}
	r.Tags = append(r.Tags, t)
}

// Text writes a line for each tag, and a summary.
func (r CopyAllResult) Text(out io.Writer) error {
	var l lines
	copied := "Copied"
	if r.DryRun {
		copied = "Would copy"
	}
	verbs := map[Outcome]string{OutcomeCopied: copied, OutcomeWould: copied, OutcomeExists: "Exists", OutcomeFailed: "Failed"}
	for _, t := range r.Tags {
		words := []string{verbs[t.Outcome], t.Tag}
		if t.Digest != "" {
			words = append(words, t.Digest.String())
		}
		l.add(words...)
	}
	l.add(copied, fmt.Sprintf("[%s] %s => [%s] %s: %d tags; %d exist, %d failed", r.from.Scheme, r.from.Display(), r.to.Scheme, r.to.Display(), r.Copied+r.WouldCopy, r.Exist, r.Failed))
	if r.DryRun {
		l.add(fmt.Sprintf("Would send: %d blobs, %d bytes; %d manifests", r.Counts.Sent, r.Counts.Bytes, r.Counts.Manifests))
	}
	return l.write(out)
}
