package ui

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Verbs is how a command calls what happens to a blob. They are padded to the
// width of Start where a line has them in front of a digest or a name.
type Verbs struct {
	Start   string // begins to move
	Sent    string // has moved
	Present string // was there before
	Again   string // the same content again, under another name
	Mounted string // was linked from another repository
}

// PushVerbs gives the verbs of push, attach, manifest push and blob push.
func PushVerbs() Verbs {
	return Verbs{Start: "Uploading", Sent: "Uploaded", Present: "Exists", Again: "Exists", Mounted: "Mounted"}
}

// PullVerbs gives the verbs of pull.
func PullVerbs() Verbs {
	return Verbs{Start: "Downloading", Sent: "Downloaded", Present: "Skipped", Again: "Restored", Mounted: "Restored"}
}

// CopyVerbs gives the verbs of cp.
func CopyVerbs() Verbs {
	return Verbs{Start: "Copying", Sent: "Copied", Present: "Exists", Again: "Skipped", Mounted: "Mounted"}
}

// VerifyVerbs gives the verbs of verify.
func VerifyVerbs() Verbs {
	return Verbs{Start: "Verifying", Sent: "Verified", Present: "Found", Again: "Found", Mounted: "Found"}
}

// hashingVerb is the verb of content that is read for its digest alone.
const hashingVerb = "Hashing"

// verb is the verb of a change that has a line, or "".
func (v Verbs) verb(c change) string {
	switch {
	case c.step == began && c.event.Kind == store.Hashing:
		return hashingVerb
	case c.step == began:
		return v.Start
	case c.step == failed:
		return "Failed"
	case c.step != arrived:
		return ""
	case c.again:
		return v.Again
	case c.event.How == store.Present:
		return v.Present
	case c.event.How == store.Mounted:
		return v.Mounted
	}
	return v.Sent
}

// status is the status line of a blob without its end of line:
//
//	Uploaded  44136fa355b3 application/vnd.oci.empty.v1+json
//
// A blob whose digest is not known yet is told by its name alone.
func (v Verbs) status(c change) string {
	line := fmt.Sprintf("%-*s %s", len(v.Start), v.verb(c), blobName(c.blob))
	if c.step == failed && c.event.Text != "" {
		line += ": " + Escape(c.event.Text)
	}
	return line
}

func blobName(b *blob) string {
	if b.desc.Digest == "" {
		return Escape(b.name)
	}
	return short(b.desc.Digest) + " " + Escape(b.name)
}

// short is the beginning of a digest by which people tell content apart.
func short(d digest.Digest) string {
	_, hex, ok := strings.Cut(d.String(), ":")
	if !ok {
		hex = d.String()
	}
	return Escape(hex[:min(12, len(hex))])
}

// note is the line for an event that is no status of a blob, without its end
// of line: the program, whom it is about, what, and why.
func note(program string, e store.Event) string {
	about := program + ": "
	if e.Name != "" {
		about += Escape(e.Name) + ": "
	}
	switch e.Kind {
	case store.Fallback:
		return about + fallbackTold(e.Choice) + ": " + Escape(e.Text)
	case store.Retrying:
		return about + "trying again: " + Escape(e.Text)
	}
	return about + "warning: " + Escape(e.Text)
}

// IsDetail says whether a fallback is one of how bytes travel, which changes
// neither what is stored nor what else works (docs/decisions/0007-fallbacks.md).
func IsDetail(choice string) bool { return choice == "post-put" }

// fallbackTold says what was done instead, for the choices of design §6.
func fallbackTold(choice string) string {
	switch choice {
	case "referrers-tag":
		return "referrers are kept under the tag schema"
	case "upload":
		return "uploaded instead of mounted"
	case "post-put":
		return "uploaded with two requests instead of one"
	case "hash-first":
		return "hashed before the upload instead of during it"
	case "one-put":
		return "uploaded in one request, which cannot be gone on with"
	case "chunks":
		return "uploaded in chunks"
	}
	return "took another way, " + Escape(choice)
}
