package ui

import (
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Difference is one thing in which two artifacts differ.
type Difference struct {
	Path   string  `json:"path"` // as "manifests[linux/arm64]/layers[site]"; "" is the root
	Kind   string  `json:"kind"`
	Change string  `json:"change"` // added, removed or changed
	From   *string `json:"from"`   // null where it was added
	To     *string `json:"to"`     // null where it was removed
	Why    string  `json:"why,omitempty"`
}

// DiffSide is one of the two that were compared.
type DiffSide struct {
	Reference string        `json:"reference"` // as it was given
	Digest    digest.Digest `json:"digest,omitempty"`
}

// DiffResult is what diff found.
type DiffResult struct {
	Equal       bool             `json:"equal"`
	From        DiffSide         `json:"from"`
	To          DiffSide         `json:"to"`
	Recursive   bool             `json:"recursive"`
	Differences List[Difference] `json:"differences"`
	Notes

	from, to store.Ref
	color    bool
}

// NewDiffResult tells of two references; the digests are "" where all of their
// tags were compared. What was found is added.
func NewDiffResult(from, to store.Ref, a, b digest.Digest, notes Notes) DiffResult {
	return DiffResult{
		From: DiffSide{from.String(), a}, To: DiffSide{to.String(), b}, Notes: notes, from: from, to: to,
	}
}

// Colored is r with colours in its text.
func (r DiffResult) Colored(on bool) DiffResult {
	r.color = on
	return r
}

// Text writes a line for what was added or removed, and for what was changed
// its place with a line for each side.
func (r DiffResult) Text(out io.Writer) error {
	var b strings.Builder
	verb := "Different"
	if r.Equal {
		verb = "Equal"
	}
	b.WriteString(Escape(verb+" "+place(r.from, r.From.Digest)+" and "+place(r.to, r.To.Digest)) + "\n")
	if r.Equal && r.From.Digest != "" {
		b.WriteString(Escape("Digest: "+r.From.Digest.String()) + "\n")
	}
	line := func(indent, sign, color, text string) {
		text = sign + " " + Escape(text)
		if r.color {
			text = color + text + noColor
		}
		b.WriteString(indent + text + "\n")
	}
	for _, d := range r.Differences {
		at := d.Path
		if at == "" {
			at = d.Kind
		}
		switch {
		case d.From == nil && d.To != nil:
			line("", "+", green, at+": "+*d.To)
		case d.To == nil && d.From != nil:
			line("", "-", red, at+": "+*d.From)
		default:
			line("", "~", yellow, at)
			if d.From != nil && d.To != nil {
				line("  ", "-", red, *d.From)
				line("  ", "+", green, *d.To)
			}
		}
		if d.Why != "" {
			b.WriteString("  why: " + Escape(d.Why) + "\n")
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}
