package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// DiffKind says what sort of thing differs.
type DiffKind string

// The kinds of differences.
const (
	DiffManifest   DiffKind = "manifest"     // digest and size of a manifest; Why says the reason where one is known
	DiffMediaType  DiffKind = "mediaType"    // of a manifest or of a file
	DiffType       DiffKind = "artifactType" // of a manifest
	DiffConfig     DiffKind = "config"       // the config, or a value in it
	DiffFile       DiffKind = "file"         // a layer or blob
	DiffEntry      DiffKind = "entry"        // a manifest of an index
	DiffAnnotation DiffKind = "annotation"   // of a manifest, a file or an entry
	DiffSubject    DiffKind = "subject"
	DiffReferrer   DiffKind = "referrer"
	DiffTag        DiffKind = "tag"
	DiffContent    DiffKind = "content" // an entry in the tar of a packed directory
	DiffField      DiffKind = "field"   // any other field of a manifest or descriptor
	DiffOrder      DiffKind = "order"   // the same things in another order
)

// Change says on which side something is.
type Change string

// The changes from the first side to the second.
const (
	Added   Change = "added"   // only on the second side
	Removed Change = "removed" // only on the first
	Changed Change = "changed" // on both, and not the same
)

// Difference is one thing in which two artifacts differ.
type Difference struct {
	Path     string // as "manifests[linux/arm64]/layers[site]/annotations[key]"; "" is the root
	Kind     DiffKind
	Change   Change
	From, To string // as Change has them
	Why      string // the reason, where one is known
}

func added(kind DiffKind, path, to string) Difference {
	return Difference{Path: path, Kind: kind, Change: Added, To: to}
}

func removed(kind DiffKind, path, from string) Difference {
	return Difference{Path: path, Kind: kind, Change: Removed, From: from}
}

func changed(kind DiffKind, path, from, to string) Difference {
	return Difference{Path: path, Kind: kind, Change: Changed, From: from, To: to}
}

// couple is the same place on both sides, with different content.
type couple struct {
	path     string
	from, to store.Descriptor
}

// manifestDiff is how two manifests differ, and where to look further.
type manifestDiff struct {
	list    []Difference // of the manifests themselves
	config  *couple
	files   []couple
	entries []couple
	same    []couple // entries that are equal; what refers to them may not be
}

// diffManifests compares two manifests by their bytes alone. Both have been
// read by ParseOutline, which refuses what could be understood in two ways.
func diffManifests(path string, a, b store.Manifest) (*manifestDiff, error) {
	from, err := readSide(a)
	if err != nil {
		return nil, err
	}
	to, err := readSide(b)
	if err != nil {
		return nil, err
	}
	d := &manifestDiff{}
	if a.MediaType != b.MediaType {
		d.add(changed(DiffMediaType, join(path, "mediaType"), a.MediaType, b.MediaType))
		for _, name := range []string{"mediaType", "schemaVersion"} { // an artifact manifest has no schemaVersion
			delete(from.rest, name)
			delete(to.rest, name)
		}
	}
	d.add(diffText(DiffType, join(path, "artifactType"), from.artifactType, to.artifactType)...)
	d.diffConfig(join(path, "config"), from, to)
	d.files = d.diffItems(DiffFile, join(path, "layers"), from.layers, to.layers)
	d.entries = d.diffItems(DiffEntry, join(path, "manifests"), from.manifests, to.manifests)
	d.diffSubject(join(path, "subject"), from.subject, to.subject)
	d.add(diffAnnotations(path, from.Annotations, to.Annotations)...)
	d.add(diffJSON(DiffField, path, from.rest, to.rest)...)
	root := changed(DiffManifest, path, identity(&a.Descriptor), identity(&b.Descriptor))
	root.Why = d.reason(a, b)
	d.list = append([]Difference{root}, d.list...)
	return d, nil
}

func (d *manifestDiff) add(more ...Difference) { d.list = append(d.list, more...) }

// identity is digest and size, as people are told them.
func identity(d *store.Descriptor) string { return fmt.Sprintf("%s (%d bytes)", d.Digest, d.Size) }

// described is identity with the media type.
func described(d *store.Descriptor) string { return identity(d) + " " + d.MediaType }

func join(path, step string) string {
	if path == "" {
		return step
	}
	return path + "/" + step
}

// reason says why the digests of two manifests differ, where the differences
// that were found come to one.
func (d *manifestDiff) reason(a, b store.Manifest) string {
	all := func(is func(Difference) bool) bool {
		return len(d.list) > 0 && !slices.ContainsFunc(d.list, func(x Difference) bool { return !is(x) })
	}
	isKind := func(kinds ...DiffKind) func(Difference) bool {
		return func(x Difference) bool { return slices.Contains(kinds, x.Kind) }
	}
	compressed := func(x Difference) bool { return x.Why == otherCompression }
	switch {
	case len(d.entries) > 0:
		return "" // the reason may be in what it names
	case len(d.list) == 0:
		return sameMeaning(a.Raw, b.Raw)
	case store.IsExtinct(a.MediaType) != store.IsExtinct(b.MediaType):
		return "one is an artifact manifest, the other is not: the same files have another digest then"
	case all(func(x Difference) bool { return x.Kind == DiffAnnotation && isCreated(x.Path) }):
		return "only the time of creation differs"
	case all(isKind(DiffAnnotation)):
		return "only annotations differ"
	case all(isKind(DiffSubject)):
		return "only the subject differs"
	case all(isKind(DiffOrder)):
		return "only the order differs"
	case slices.ContainsFunc(d.list, compressed) && all(func(x Difference) bool { return compressed(x) || x.Kind == DiffMediaType }):
		return otherCompression
	}
	return ""
}

func isCreated(path string) bool {
	return strings.HasSuffix(path, "annotations["+ocispec.AnnotationCreated+"]") ||
		strings.HasSuffix(path, "annotations["+annotationArtifactCreated+"]")
}

const otherCompression = "the same files, compressed in another way"

// sameMeaning says how two documents with the same content differ.
func sameMeaning(a, b []byte) string {
	var x, y bytes.Buffer
	switch {
	case bytes.Equal(a, b):
		return "the same bytes, named by another algorithm"
	case json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes()):
		return "the same meaning in other bytes: only the white space differs"
	}
	return "the same meaning in other bytes: the order of names, or how characters are written, differs"
}

func diffText(kind DiffKind, path, from, to string) []Difference {
	switch {
	case from == to:
		return nil
	case from == "":
		return []Difference{added(kind, path, to)}
	case to == "":
		return []Difference{removed(kind, path, from)}
	}
	return []Difference{changed(kind, path, from, to)}
}

func diffAnnotations(path string, from, to map[string]string) []Difference {
	var all []Difference
	keys := slices.Collect(maps.Keys(from))
	for k := range to {
		if _, both := from[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		at := join(path, "annotations["+k+"]")
		f, inFrom := from[k]
		t, inTo := to[k]
		switch {
		case !inFrom:
			all = append(all, added(DiffAnnotation, at, t))
		case !inTo:
			all = append(all, removed(DiffAnnotation, at, f))
		case f != t:
			all = append(all, changed(DiffAnnotation, at, f, t))
		}
	}
	return all
}

// diffConfig compares the descriptors of two configs. Of two that differ the
// content is worth a look.
func (d *manifestDiff) diffConfig(path string, from, to *side) {
	a, b := from.config, to.config
	switch {
	case a == nil && b == nil:
	case a == nil:
		d.add(added(DiffConfig, path, described(&b.Descriptor)))
	case b == nil:
		d.add(removed(DiffConfig, path, described(&a.Descriptor)))
	default:
		if a.Digest != b.Digest {
			d.config = &couple{path, a.Descriptor, b.Descriptor}
			d.add(changed(DiffConfig, path, identity(&a.Descriptor), identity(&b.Descriptor)))
		}
		d.diffDescriptor(path, a, b)
	}
}

// diffDescriptor compares what two descriptors say beside digest and size;
// and the size where the digest is the same, which cannot be right on both sides.
func (d *manifestDiff) diffDescriptor(path string, a, b *item) {
	if a.Digest == b.Digest && a.Size != b.Size {
		d.add(changed(DiffField, join(path, "size"), fmt.Sprint(a.Size), fmt.Sprint(b.Size)))
	}
	d.add(diffText(DiffMediaType, join(path, "mediaType"), a.MediaType, b.MediaType)...)
	d.add(diffAnnotations(path, a.Annotations, b.Annotations)...)
	d.add(diffJSON(DiffField, path, a.rest, b.rest)...)
}

func (d *manifestDiff) diffSubject(path string, a, b *item) {
	switch {
	case a == nil && b == nil:
	case a == nil:
		d.add(added(DiffSubject, path, described(&b.Descriptor)))
	case b == nil:
		d.add(removed(DiffSubject, path, described(&a.Descriptor)))
	default:
		d.add(diffText(DiffSubject, path, described(&a.Descriptor), described(&b.Descriptor))...)
		d.add(diffAnnotations(path, a.Annotations, b.Annotations)...)
		d.add(diffJSON(DiffField, path, a.rest, b.rest)...)
	}
}

// diffItems compares two lists of descriptors, and gives those that stand for
// each other and have other content.
func (d *manifestDiff) diffItems(kind DiffKind, path string, from, to []item) (other []couple) {
	pairs, left, right := match(from, to)
	for _, p := range pairs {
		a, b := &from[p.from], &to[p.to]
		at := path + "[" + p.name + "]"
		c := couple{at, a.Descriptor, b.Descriptor}
		// Of manifests that differ it is said what differs in them.
		graphs := kind != DiffFile && store.IsManifestType(a.MediaType) && store.IsManifestType(b.MediaType)
		switch {
		case a.Digest == b.Digest && kind == DiffEntry:
			d.same = append(d.same, c)
		case a.Digest == b.Digest:
		case graphs:
			other = append(other, c)
		default:
			x := changed(kind, at, identity(&a.Descriptor), identity(&b.Descriptor))
			if kind == DiffFile {
				plain := a.Annotations[AnnotationContentDigest]
				if plain != "" && plain == b.Annotations[AnnotationContentDigest] {
					x.Why = otherCompression
				}
				other = append(other, c)
			}
			d.add(x)
		}
		d.diffDescriptor(at, a, b)
	}
	for _, n := range left {
		d.add(removed(kind, path+"["+n.name+"]", described(&from[n.from].Descriptor)))
	}
	for _, n := range right {
		d.add(added(kind, path+"["+n.name+"]", described(&to[n.to].Descriptor)))
	}
	if !slices.IsSortedFunc(pairs, func(x, y pairing) int { return x.to - y.to }) {
		d.add(Difference{
			Path: path, Kind: DiffOrder, Change: Changed, From: shorten(names(from)), To: shorten(names(to)), Why: "the same, in another order",
		})
	}
	return other
}
