package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// index is the index.json of a layout (image-spec image-layout.md). Whatever
// other tools wrote into it, an unknown field or an odd spacing, stands in it
// byte for byte until its own entry changes.
type index struct {
	fields  object // of the document; the value of "manifests" is not used
	entries []entry

	// Where in entries a tag stands last, and a digest. Each of thousands of
	// manifests is looked for, and to go through thousands of entries for it
	// would cost the square.
	byTag    map[string]int
	byDigest map[digest.Digest]int
}

// entry is one manifest of the index, or one of its tags: a manifest with
// three tags has three entries.
type entry struct {
	raw json.RawMessage
	store.Descriptor
	tag    string // org.opencontainers.image.ref.name
	before int    // where the entry of the same digest before this one stands, or none
}

const none = -1

func newIndex() *index {
	x := &index{fields: object{
		{"schemaVersion", json.RawMessage("2")},
		{"mediaType", json.RawMessage(`"` + ocispec.MediaTypeImageIndex + `"`)},
		{"manifests", nil},
	}}
	x.learn()
	return x
}

// parseIndex is ErrInvalid where the document is damaged. Media types that
// stet does not know are no error (image-layout.md, "index.json file").
func parseIndex(raw []byte) (*index, error) {
	// A name that stands twice, or in another case, means one thing to one tool
	// and another to the next, and a change would be made to one of the two:
	// refused, before anything is read from it.
	if err := store.CheckJSON(raw, "schemaVersion", "mediaType", "manifests", "digest", "size", "annotations"); err != nil {
		return nil, err
	}
	fields, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	var head struct {
		SchemaVersion *int   `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("%w: %s", store.ErrInvalid, err)
	}
	// Some tools leave both fields out; what is there must be right.
	if head.SchemaVersion != nil && *head.SchemaVersion != 2 {
		return nil, fmt.Errorf("%w: its schemaVersion is %d, not 2", store.ErrInvalid, *head.SchemaVersion)
	}
	if head.MediaType != "" && head.MediaType != ocispec.MediaTypeImageIndex {
		return nil, fmt.Errorf("%w: its mediaType is %q", store.ErrInvalid, head.MediaType)
	}
	x := &index{fields: fields}
	var raws []json.RawMessage // null, as some tools leave it, is no entries
	if at := fields.find("manifests"); at < 0 {
		x.fields = append(x.fields, field{name: "manifests"})
	} else if err := json.Unmarshal(fields[at].value, &raws); err != nil {
		return nil, fmt.Errorf("%w: manifests: %s", store.ErrInvalid, err)
	}
	for i, raw := range raws {
		e, err := newEntry(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d of manifests: %s", store.ErrInvalid, i, err)
		}
		x.entries = append(x.entries, e)
	}
	x.learn()
	return x, nil
}

// learn finds out anew where everything stands, as it must when entries have gone.
func (x *index) learn() {
	x.byTag, x.byDigest = make(map[string]int, len(x.entries)), make(map[digest.Digest]int, len(x.entries))
	for i := range x.entries {
		x.learnOne(i)
	}
}

// learnOne notes an entry that came after all the others.
func (x *index) learnOne(at int) {
	e := &x.entries[at]
	e.before = none
	if last, ok := x.byDigest[e.Digest]; ok {
		e.before = last
	}
	x.byDigest[e.Digest] = at
	if e.tag != "" {
		x.byTag[e.tag] = at
	}
}

func newEntry(raw json.RawMessage) (entry, error) {
	e := entry{raw: raw}
	if err := json.Unmarshal(raw, &e.Descriptor); err != nil {
		return e, err
	}
	// An algorithm that cannot be computed here may be known to other tools.
	if err := e.Digest.Validate(); err != nil && !errors.Is(err, digest.ErrDigestUnsupported) {
		return e, fmt.Errorf("digest %q: %w", e.Digest, err)
	}
	if e.Size < 0 {
		return e, fmt.Errorf("the size of %s is %d", e.Digest, e.Size)
	}
	e.tag = e.Annotations[ocispec.AnnotationRefName]
	return e, nil
}

// bytes is the document; "manifests" is never null.
func (x *index) bytes() []byte {
	size := 2
	for _, e := range x.entries {
		size += len(e.raw) + 1
	}
	var list bytes.Buffer
	list.Grow(size)
	list.WriteByte('[')
	for i, e := range x.entries {
		if i > 0 {
			list.WriteByte(',')
		}
		list.Write(e.raw)
	}
	list.WriteByte(']')
	fields := slices.Clone(x.fields)
	fields[fields.find("manifests")].value = list.Bytes()
	return fields.bytes()
}

// clone may be changed: entries are replaced as a whole, never changed in
// their place, so that their bytes can be shared.
func (x *index) clone() *index {
	return &index{x.fields, slices.Clone(x.entries), maps.Clone(x.byTag), maps.Clone(x.byDigest)}
}

// find gives what ref names. Of two entries with one tag the later stands, as
// in a log.
func (x *index) find(ref string) (store.Descriptor, bool) {
	at, ok := x.byTag[ref]
	if i, is := x.byDigest[digest.Digest(ref)]; is && (!ok || i > at) {
		at, ok = i, true
	}
	if !ok {
		return store.Descriptor{}, false
	}
	return store.Plain(x.entries[at].Descriptor), true
}

func (x *index) has(d digest.Digest) bool {
	_, ok := x.byDigest[d]
	return ok
}

// put lists d, unless it is listed.
func (x *index) put(d store.Descriptor) (changed bool, err error) {
	if x.has(d.Digest) {
		return false, nil
	}
	return true, x.add(d, "")
}

// add appends an entry with the three fields that a descriptor must have.
func (x *index) add(d store.Descriptor, tag string) error {
	raw, err := json.Marshal(store.Plain(d))
	if err == nil && tag != "" {
		raw, err = withTag(raw, tag)
	}
	if err != nil {
		return err
	}
	e, err := newEntry(raw)
	if err != nil {
		return err
	}
	x.entries = append(x.entries, e)
	x.learnOne(len(x.entries) - 1)
	return nil
}

// tag points tag at d. An entry of d without a tag takes it; what other tools
// wrote beside it stays.
func (x *index) tag(d store.Descriptor, tag string) (changed bool, err error) {
	if at, ok := x.find(tag); ok && at.Digest == d.Digest {
		return false, nil
	}
	if _, err := x.untag(tag); err != nil {
		return false, err
	}
	bare := none // the first of them
	for i, ok := x.byDigest[d.Digest]; ok && i != none; i = x.entries[i].before {
		if x.entries[i].tag == "" {
			bare = i
		}
	}
	if bare == none {
		return true, x.add(d, tag)
	}
	return true, x.retag(bare, tag)
}

// untag removes a tag. The manifest stays listed: the last of its entries
// loses the tag, any other goes.
func (x *index) untag(tag string) (found bool, err error) {
	for {
		at, ok := x.byTag[tag]
		if !ok {
			return found, nil
		}
		found = true
		if e := x.entries[at]; e.before == none && x.byDigest[e.Digest] == at {
			if err := x.retag(at, ""); err != nil {
				return true, err
			}
			continue
		}
		x.entries = slices.Delete(x.entries, at, at+1)
		x.learn()
	}
}

// retag reads the entry anew, so that its parsed fields never differ from its bytes.
func (x *index) retag(at int, tag string) error {
	raw, err := withTag(x.entries[at].raw, tag)
	if err != nil {
		return err
	}
	e, err := newEntry(raw)
	if err != nil {
		return err
	}
	old := x.entries[at]
	e.before = old.before
	x.entries[at] = e
	if old.tag != "" {
		delete(x.byTag, old.tag)
		for i := range x.entries { // it may stand at another one, too
			if x.entries[i].tag == old.tag {
				x.byTag[old.tag] = i
			}
		}
	}
	if tag != "" {
		x.byTag[tag] = at // the only one: whoever tags untags first
	}
	return nil
}

// remove takes all entries of d out.
func (x *index) remove(d digest.Digest) (found bool) {
	if !x.has(d) {
		return false
	}
	x.entries = slices.DeleteFunc(x.entries, func(e entry) bool { return e.Digest == d })
	x.learn()
	return true
}

// withTag is a descriptor with another ref name, or with none for "". All its
// other fields stay as they are.
func withTag(raw json.RawMessage, tag string) (json.RawMessage, error) {
	fields, err := parseObject(raw)
	if err == nil {
		fields, err = withNote(fields, ocispec.AnnotationRefName, tag)
	}
	if err != nil {
		return nil, err
	}
	return fields.bytes(), nil
}

// withNote is an object with another value of an annotation, or without it for "".
// All its other fields and annotations stay as they are.
func withNote(fields object, name, value string) (object, error) {
	fields = slices.Clone(fields)
	var notes object
	at := fields.find("annotations")
	if at >= 0 && !bytes.Equal(fields[at].value, []byte("null")) {
		var err error
		if notes, err = parseObject(fields[at].value); err != nil {
			return nil, err
		}
	}
	notes = slices.DeleteFunc(notes, func(f field) bool { return f.name == name })
	if value != "" {
		notes = append(notes, field{name, quote(value)})
	}
	switch {
	case at < 0 && len(notes) == 0: // nothing to take away from
	case at < 0:
		fields = append(fields, field{"annotations", notes.bytes()})
	case len(notes) == 0: // as it was before the tag came
		fields = slices.Delete(fields, at, at+1)
	default:
		fields[at].value = notes.bytes()
	}
	return fields, nil
}

// object is a JSON object in its order, each value as it stood.
type object []field

type field struct {
	name  string
	value json.RawMessage
}

// parseObject reads token by token: a map would lose the order, and with it
// the bytes that another tool may have signed or compared.
func parseObject(raw []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, fmt.Errorf("%w: not a JSON object", store.ErrInvalid)
	}
	var o object
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", store.ErrInvalid, err)
		}
		f := field{name: fmt.Sprint(name)}
		if err := dec.Decode(&f.value); err != nil {
			return nil, fmt.Errorf("%w: %s", store.ErrInvalid, err)
		}
		o = append(o, f)
	}
	return o, nil
}

func (o object) find(name string) int {
	return slices.IndexFunc(o, func(f field) bool { return f.name == name })
}

func (o object) bytes() []byte {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			buf.WriteByte(',')
		}
		buf.Write(quote(f.name))
		buf.WriteByte(':')
		buf.Write(f.value)
	}
	buf.WriteByte('}')
	return buf.Bytes()
}

// quote is s as JSON without the escapes that only HTML needs.
func quote(s string) json.RawMessage {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
