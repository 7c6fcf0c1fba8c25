package ui

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// Discovered is a manifest and what was found on it. The keys are those of
// ORAS, and what ORAS does not look for.
type Discovered struct {
	Descriptor
	Platform   *ocispec.Platform `json:"platform,omitempty"`
	Tag        string            `json:"tag,omitempty"`      // the digest tag that names it, such as cosign's
	Repeated   bool              `json:"repeated,omitempty"` // what is on it stands where it is first
	Referrers  List[Discovered]  `json:"referrers"`
	Manifests  List[Discovered]  `json:"manifests,omitempty"`  // of an index
	DigestTags List[Discovered]  `json:"digestTags,omitempty"` // what digest tags name
}

// DiscoverResult is the tree that discover found.
type DiscoverResult struct {
	Discovered
	Notes

	ref store.Ref
}

// NewDiscoverResult tells of what is on the manifest top of ref.
func NewDiscoverResult(ref store.Ref, top Discovered, notes Notes) DiscoverResult {
	return DiscoverResult{Discovered: top, Notes: notes, ref: ref}
}

// Tree gives the tree as text. What is not a referrer stands in brackets:
// annotations, the manifests of an index, what a digest tag names.
func (r DiscoverResult) Tree(colors, annotations bool) func(io.Writer) error {
	return func(out io.Writer) error {
		t := discoverTree{colors: colors, annotations: annotations}
		t.b.WriteString(Escape(r.Reference) + "\n")
		t.branches("", t.under(r.Discovered))
		_, err := io.WriteString(out, t.b.String())
		return err
	}
}

// discoverTree draws branches with the box characters that people know from tree(1).
type discoverTree struct {
	b                   strings.Builder
	colors, annotations bool
}

// treeBranch is a line of a tree and what hangs on it. Its text is escaped.
type treeBranch struct {
	text string
	on   []treeBranch
}

func (t *discoverTree) branches(indent string, all []treeBranch) {
	for i, b := range all {
		corner, below := "├── ", "│   "
		if i == len(all)-1 {
			corner, below = "└── ", "    "
		}
		t.b.WriteString(indent + corner + b.text + "\n")
		t.branches(indent+below, b.on)
	}
}

// under are the branches of d, as ORAS has them: referrers by type, and under
// a type their digests.
func (t *discoverTree) under(d Discovered) []treeBranch {
	var all []treeBranch
	quotes := strings.NewReplacer(`"`, `\"`)
	if t.annotations && len(d.Annotations) > 0 {
		notes := treeBranch{text: t.label("[annotations]", green)}
		for _, key := range slices.Sorted(maps.Keys(d.Annotations)) {
			notes.on = append(notes.on, treeBranch{text: Escape(key) + `: "` + quotes.Replace(Escape(d.Annotations[key])) + `"`})
		}
		all = append(all, notes)
	}
	for i, r := range d.Referrers {
		if i == 0 || d.Referrers[i-1].ArtifactType != r.ArtifactType {
			all = append(all, treeBranch{text: t.label(typeOf(r), yellow)})
		}
		last := &all[len(all)-1]
		last.on = append(last.on, t.one(r))
	}
	for _, m := range d.Manifests {
		all = append(all, treeBranch{text: t.label("["+m.role()+"]", green), on: []treeBranch{t.one(m)}})
	}
	for _, m := range d.DigestTags {
		all = append(all, treeBranch{text: t.label("["+m.role()+"]", green), on: []treeBranch{t.one(m)}})
	}
	return all
}

func (t *discoverTree) one(d Discovered) treeBranch {
	text := Escape(d.Digest.String())
	if d.Repeated {
		return treeBranch{text: text + " (shown elsewhere)"}
	}
	return treeBranch{text: text, on: t.under(d)}
}

func (t *discoverTree) label(s, color string) string {
	if s = Escape(s); t.colors {
		return color + s + noColor
	}
	return s
}

// role says what d is to what it hangs on: "" for a referrer.
func (d Discovered) role() string {
	switch {
	case d.Tag != "":
		return "tag " + d.Tag
	case d.Platform != nil:
		return "manifest " + platforms.FormatAll(*d.Platform)
	}
	return "manifest"
}

func typeOf(d Discovered) string {
	if d.ArtifactType == "" {
		return "<unknown>" // ORAS's word
	}
	return d.ArtifactType
}

// Table writes a row for each referrer, and for what digest tags name. The
// first lines are ORAS's.
func (r DiscoverResult) Table(out io.Writer) error {
	rows := r.rows(nil)
	var l lines
	asked := r.ref.Display() + strings.TrimPrefix(r.ref.String(), r.ref.Name())
	l.add(fmt.Sprintf("Discovered %d artifacts referencing %s", len(rows), asked))
	l.add("Digest:", r.Digest.String())
	l.add()
	if err := l.write(out); err != nil || len(rows) == 0 {
		return err
	}
	heading := []string{"Artifact Type", "Digest", "Subject"}
	if slices.ContainsFunc(rows, func(row []string) bool { return len(row) > len(heading) }) {
		heading = append(heading, "Tag")
	}
	return Table(out, heading, rows)
}

func (d Discovered) rows(rows [][]string) [][]string {
	for _, list := range []List[Discovered]{d.Referrers, d.DigestTags} {
		for _, r := range list {
			row := []string{typeOf(r), r.Digest.String(), d.Digest.String()}
			if r.Tag != "" {
				row = append(row, r.Tag)
			}
			rows = r.rows(append(rows, row))
		}
	}
	for _, m := range d.Manifests {
		rows = m.rows(rows)
	}
	return rows
}
