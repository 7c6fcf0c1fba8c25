package ui

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Named is a manifest in a map: what it is and what names it.
type Named struct {
	MediaType    string        `json:"mediaType"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"`
	ArtifactType string        `json:"artifactType,omitempty"`
}

// Converted is an old manifest, what stands for it now, and why.
type Converted struct {
	Old     Named        `json:"old"`
	New     Named        `json:"new"`
	Reasons List[string] `json:"reasons"` // type-change, subject-moved, child-moved
	Tags    List[string] `json:"tags"`    // that named the old manifest, as far as the command was given them

	// Stale: it is a signature or attestation, and what it says is about the
	// old digest of its subject. It says nothing about the new one.
	Stale bool `json:"stale"`
	// DanglingSubject is a subject that is not in the store; it is named as before.
	DanglingSubject digest.Digest `json:"danglingSubject,omitempty"`
	// Left are the manifests that refer to the old one and were not taken along.
	Left List[digest.Digest] `json:"referrersLeft,omitempty"`
	// Original is the referrer of the new manifest that keeps the old bytes.
	Original digest.Digest `json:"original,omitempty"`
}

// ConvertResult is what convert made: the new root, and the map old → new.
type ConvertResult struct {
	Descriptor
	Source string       `json:"source"` // the reference that was given
	To     string       `json:"to"`     // image or original
	Tags   List[string] `json:"tags"`   // that name the new root now; in a dry run, that would
	DryRun bool         `json:"dryRun"`
	// Recursive: what refers to the root was looked at as well.
	Recursive bool            `json:"recursive"`
	Map       List[Converted] `json:"map"`
	Notes

	from, into store.Ref
}

// NewConvertResult tells of the root d, which stands in the store `into` for
// what from named. The map and the rest are added as they are known.
func NewConvertResult(from, into store.Ref, d store.Descriptor, notes Notes) ConvertResult {
	return ConvertResult{Descriptor: Describe(into, store.Plain(d)), Source: from.String(), Notes: notes, from: from, into: into}
}

// Text writes the summary of convert and its map.
func (r ConvertResult) Text(out io.Writer) error {
	var l lines
	verb := "Converted"
	switch {
	case len(r.Map) == 0:
		l.add("Nothing to convert in", place(r.from, r.Digest))
		if !r.Recursive {
			l.add("What refers to it was not looked at; -r takes it along")
		}
	case r.DryRun:
		verb = "Would convert"
		fallthrough
	default:
		l.add(verb, place(r.from, r.Digest), "=>", place(r.into.WithDigest(r.Digest), r.Digest))
	}
	if !r.DryRun {
		for _, t := range r.Tags {
			l.add("Tagged", t)
		}
	}
	if err := l.write(out); err != nil {
		return err
	}
	if len(r.Map) > 0 {
		if err := r.Table(out); err != nil {
			return err
		}
	}
	l = lines{}
	if n := r.stale(); n > 0 {
		l.add("Stale:", strconv.Itoa(n), "(see NOTE): what was signed is the old digest, which says nothing about the new one; sign or attest anew")
	}
	l.add("Digest:", r.Digest.String())
	return l.write(out)
}

func (r ConvertResult) stale() int {
	return len(slices.DeleteFunc(slices.Clone(r.Map), func(c Converted) bool { return !c.Stale }))
}

// Table writes the map alone.
func (r ConvertResult) Table(out io.Writer) error {
	var rows [][]string
	for _, c := range r.Map {
		rows = append(rows, []string{
			c.Old.Digest.String(), c.New.Digest.String(), strings.Join(c.Reasons, ", "), dash(strings.Join(c.Tags, ", ")), dash(c.note()),
		})
	}
	return Table(out, []string{"OLD", "NEW", "REASON", "TAGS", "NOTE"}, rows)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// note is what people should know of one line of the map.
func (c Converted) note() string {
	var notes []string
	if c.Stale {
		notes = append(notes, "stale: signs the old digest")
	}
	if c.DanglingSubject != "" {
		notes = append(notes, "dangling: its subject "+c.DanglingSubject.String()+" is not there")
	}
	if n := len(c.Left); n > 0 {
		notes = append(notes, fmt.Sprintf("%d referring to the old digest not converted; see -r", n))
	}
	return strings.Join(notes, "; ")
}
