package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// IndexRequest is what an index is made of.
type IndexRequest struct {
	Manifests    []store.Descriptor
	ArtifactType string
	Subject      *store.Descriptor
	Annotations  map[string]string
}

// NewIndex makes an image index (image-spec image-index.md). The bytes are those
// that ORAS makes of the same request. Nothing else goes into them, no time
// either.
func NewIndex(r IndexRequest) (store.Manifest, error) {
	if err := checkIndexType(r.ArtifactType); err != nil {
		return store.Manifest{}, err
	}
	manifests := r.Manifests
	if manifests == nil {
		manifests = []store.Descriptor{} // null is no array
	}
	raw, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: store.MediaTypeIndex, ArtifactType: r.ArtifactType,
		Manifests: manifests, Subject: r.Subject, Annotations: r.Annotations,
	})
	if err != nil {
		return store.Manifest{}, err
	}
	return store.NewManifest(store.MediaTypeIndex, raw), nil
}

func checkIndexType(artifactType string) error {
	if artifactType != "" && !IsMediaType(artifactType) {
		return fmt.Errorf("%w: artifact type %q is not a media type such as application/vnd.example.thing (RFC 6838)", store.ErrUsage, artifactType)
	}
	return nil
}

// IsIndex says whether manifests of a media type list other manifests.
func IsIndex(mediaType string) bool {
	return mediaType == store.MediaTypeIndex || mediaType == store.MediaTypeDockerIndex
}

// IndexEdit says what is to change in an index. Entries are removed first, then
// added, then those of other indexes.
type IndexEdit struct {
	Remove       []digest.Digest
	Add          []store.Descriptor
	Merge        []store.Manifest // indexes, whose entries are added as they stand there
	Entries      []EntryEdit      // changes of entries that are there then
	ArtifactType *string          // "" takes it away, nil leaves it
	Annotations  map[string]string
}

// EntryEdit gives the entries of a digest another platform or more annotations.
type EntryEdit struct {
	Digest      digest.Digest
	Platform    *ocispec.Platform
	Annotations map[string]string
}

// Apply changes a descriptor that is not in a document yet.
func (e EntryEdit) Apply(d *store.Descriptor) {
	if e.Platform != nil {
		d.Platform = e.Platform
	}
	if len(e.Annotations) > 0 {
		d.Annotations = maps.Clone(d.Annotations)
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		maps.Copy(d.Annotations, e.Annotations)
	}
}

// IndexChange is what an edit did.
type IndexChange struct {
	Removed, Added, Merged []digest.Digest
	Present                []digest.Digest // to be added or merged, and there already: left as it was
}

// EditIndex changes an index where the edit says so. Entries and fields that it
// does not name keep their bytes and their order, those that no specification
// knows as well. An edit that changes nothing gives m back.
//
// An entry that is there is not added again. Removing what is not there is
// ErrNotFound.
func EditIndex(m store.Manifest, e IndexEdit) (store.Manifest, IndexChange, error) {
	x := &indexEditor{}
	raw, err := x.edit(m, e)
	if err != nil || bytes.Equal(raw, m.Raw) {
		return m, x.change, err
	}
	edited := named(m.MediaType, raw, m.Digest)
	_, err = store.ParseOutline(edited)
	return edited, x.change, err
}

// indexEditor holds the entries of an index as they stand in the document.
type indexEditor struct {
	entries []indexEntry
	changed bool // in another way than in a field of the index itself
	change  IndexChange
}

type indexEntry struct {
	digest digest.Digest
	raw    []byte
}

func (x *indexEditor) edit(m store.Manifest, e IndexEdit) ([]byte, error) {
	var err error
	if x.entries, err = entriesOf(m); err != nil {
		return nil, err
	}
	if err := x.remove(e.Remove); err != nil {
		return nil, err
	}
	if err := x.add(e.Add); err != nil {
		return nil, err
	}
	for _, other := range e.Merge {
		entries, err := entriesOf(other)
		if err != nil {
			return nil, err
		}
		x.change.Merged = append(x.change.Merged, x.append(entries)...)
	}
	for _, change := range e.Entries {
		if err := x.alter(change); err != nil {
			return nil, err
		}
	}
	raw := m.Raw
	if x.changed {
		var list [][]byte
		for _, entry := range x.entries {
			list = append(list, entry.raw)
		}
		value := slices.Concat([]byte("["), bytes.Join(list, []byte(",")), []byte("]"))
		if raw, err = setMember(raw, "manifests", value, "schemaVersion", "mediaType", "artifactType", "config"); err != nil {
			return nil, err
		}
	}
	return setFields(raw, e)
}

// setFields changes what the index says of itself.
func setFields(raw []byte, e IndexEdit) (_ []byte, err error) {
	if e.ArtifactType != nil {
		if err := checkIndexType(*e.ArtifactType); err != nil {
			return nil, err
		}
		var value []byte // nil takes it away
		if *e.ArtifactType != "" {
			if value, err = json.Marshal(*e.ArtifactType); err != nil {
				return nil, err
			}
		}
		if raw, err = setMember(raw, "artifactType", value, "schemaVersion", "mediaType"); err != nil {
			return nil, err
		}
	}
	return addAnnotations(raw, e.Annotations, nil)
}

// entriesOf are the entries of an index, which has to be one.
func entriesOf(m store.Manifest) ([]indexEntry, error) {
	if !IsIndex(m.MediaType) {
		return nil, fmt.Errorf("%w: %s is of type %s, not an index", store.ErrUsage, m.Digest, m.MediaType)
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, err
	}
	fields, err := members(m.Raw)
	if err != nil {
		return nil, err
	}
	var all []indexEntry
	for _, f := range fields {
		if f.name != "manifests" || f.isNull() {
			continue
		}
		list, err := elements(f.value)
		if err != nil {
			return nil, err
		}
		for i, e := range list { // as many as the outline has: it read the same array
			all = append(all, indexEntry{o.Manifests[i].Digest, e.value})
		}
	}
	return all, nil
}

func (x *indexEditor) remove(digests []digest.Digest) error {
	for _, d := range digests {
		before := len(x.entries)
		x.entries = slices.DeleteFunc(x.entries, func(e indexEntry) bool { return e.digest == d })
		if len(x.entries) == before && !slices.Contains(x.change.Removed, d) {
			return fmt.Errorf("%w: the index does not list %s", store.ErrNotFound, d)
		}
		if len(x.entries) < before {
			x.change.Removed = append(x.change.Removed, d)
			x.changed = true
		}
	}
	return nil
}

func (x *indexEditor) add(list []store.Descriptor) error {
	var entries []indexEntry
	for _, d := range list {
		raw, err := json.Marshal(d)
		if err != nil {
			return err
		}
		entries = append(entries, indexEntry{d.Digest, raw})
	}
	x.change.Added = x.append(entries)
	return nil
}

// append adds the entries that are not there, and gives their digests.
func (x *indexEditor) append(entries []indexEntry) (added []digest.Digest) {
	for _, e := range entries {
		if slices.ContainsFunc(x.entries, func(old indexEntry) bool { return old.digest == e.digest }) {
			x.change.Present = append(x.change.Present, e.digest)
			continue
		}
		x.entries = append(x.entries, e)
		x.changed = true
		added = append(added, e.digest)
	}
	return added
}

// alter changes the entries of one digest, in the order of fields that a
// descriptor made anew has.
func (x *indexEditor) alter(change EntryEdit) error {
	found := false
	for i, e := range x.entries {
		if e.digest != change.Digest {
			continue
		}
		found = true
		raw, err := addAnnotations(e.raw, change.Annotations, []string{"mediaType", "digest", "size", "urls"})
		if err == nil && change.Platform != nil {
			var value []byte
			if value, err = json.Marshal(change.Platform); err == nil {
				raw, err = setMember(raw, "platform", value, "mediaType", "digest", "size", "urls", "annotations", "data")
			}
		}
		if err != nil {
			return err
		}
		x.changed = x.changed || !bytes.Equal(raw, e.raw)
		x.entries[i].raw = raw
	}
	if !found {
		return fmt.Errorf("%w: the index does not list %s", store.ErrNotFound, change.Digest)
	}
	return nil
}

// addAnnotations sets annotations of the object raw: those that are there keep
// their place, new ones follow by name.
func addAnnotations(raw []byte, pairs map[string]string, after []string) ([]byte, error) {
	if len(pairs) == 0 {
		return raw, nil
	}
	fields, err := members(raw)
	if err != nil {
		return nil, err
	}
	value := []byte("{}")
	for _, f := range fields {
		if f.name == "annotations" && !f.isNull() {
			value = f.value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		text, err := json.Marshal(pairs[key])
		if err != nil {
			return nil, err
		}
		if value, err = setMember(value, key, text); err != nil {
			return nil, err
		}
	}
	return setMember(raw, "annotations", value, after...)
}

// setMember gives the object raw a member. One that is there keeps its place,
// and its bytes where they say the same; a new one comes behind the last of
// `after` that is there, and without `after` at the end. A nil value takes the
// member away. All others keep their bytes, but for space between them.
func setMember(raw []byte, name string, value []byte, after ...string) ([]byte, error) {
	fields, err := members(raw)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(fields, func(f member) bool { return f.name == name })
	switch {
	case at < 0 && value == nil:
		return raw, nil
	case at >= 0 && value == nil:
		fields = slices.Delete(fields, at, at+1)
	case at >= 0 && sameJSON(fields[at].value, value):
		return raw, nil
	case at >= 0:
		fields[at].value = value
	default:
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		at = len(fields)
		if len(after) > 0 {
			at = 0
			for i, f := range fields {
				if slices.Contains(after, f.name) {
					at = i + 1
				}
			}
		}
		fields = slices.Insert(fields, at, member{name: name, key: key, value: value})
	}
	var b bytes.Buffer
	for _, f := range fields {
		writeField(&b, f.key, f.value)
	}
	return slices.Concat([]byte("{"), b.Bytes(), []byte("}")), nil
}

// sameJSON says whether two values are written alike but for space.
func sameJSON(a, b []byte) bool {
	var one, two bytes.Buffer
	return json.Compact(&one, a) == nil && json.Compact(&two, b) == nil && bytes.Equal(one.Bytes(), two.Bytes())
}
