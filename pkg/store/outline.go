package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types of manifests that stet reads. The artifact manifest left the
// image-spec before its release 1.1; some still lie in registries.
const (
	MediaTypeImage        = ocispec.MediaTypeImageManifest
	MediaTypeIndex        = ocispec.MediaTypeImageIndex
	MediaTypeArtifact     = "application/vnd.oci.artifact.manifest.v1+json"       // image-spec v1.1.0-rc1 (field refers) and -rc2
	MediaTypeORASArtifact = "application/vnd.cncf.oras.artifact.manifest.v1+json" // ORAS artifacts-spec 1.0-rc
	MediaTypeDockerImage  = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerIndex  = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// ManifestTypes are all media types above, in the order of an Accept header.
func ManifestTypes() []string {
	return []string{
		MediaTypeImage, MediaTypeIndex, MediaTypeArtifact, MediaTypeORASArtifact, MediaTypeDockerImage, MediaTypeDockerIndex,
	}
}

// IsExtinct says whether a manifest of this media type belongs to no released
// specification, so that most registries of today refuse it.
func IsExtinct(mediaType string) bool {
	return mediaType == MediaTypeArtifact || mediaType == MediaTypeORASArtifact
}

// IsManifestType says whether content of this media type is a manifest or index.
func IsManifestType(mediaType string) bool {
	for _, t := range ManifestTypes() {
		if t == mediaType {
			return true
		}
	}
	return false
}

// Outline is what a manifest says of its place in a graph: what it holds and
// what it refers to. Fields that its kind does not have are empty.
type Outline struct {
	MediaType    string // the field mediaType; may be empty
	ArtifactType string // artifactType; for an image manifest without it, the config's media type
	Config       *Descriptor
	Layers       []Descriptor // layers, or the blobs of an artifact manifest
	Manifests    []Descriptor // of an index
	Subject      *Descriptor
	Annotations  map[string]string
}

// Blobs are the config and the layers, in this order.
func (o *Outline) Blobs() []Descriptor {
	if o.Config == nil {
		return o.Layers
	}
	return append([]Descriptor{*o.Config}, o.Layers...)
}

// document has the fields of every manifest kind.
type document struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *named            `json:"config"`
	Layers       []named           `json:"layers"`
	Blobs        []named           `json:"blobs"`
	Manifests    []named           `json:"manifests"`
	Subject      *named            `json:"subject"`
	Refers       *named            `json:"refers"` // image-spec v1.1.0-rc1's name of subject
	Annotations  map[string]string `json:"annotations"`
}

// named is a descriptor as a document writes it: a size that is missing or null
// is not a size of zero.
type named struct {
	Descriptor
	Size *int64 `json:"size"`
}

// one is the descriptor of d, nil for nil.
func one(d *named) *Descriptor {
	if d == nil {
		return nil
	}
	return &plainList([]named{*d})[0]
}

// plainList is list without what only check needs; nil stays nil.
func plainList(list []named) []Descriptor {
	if list == nil {
		return nil
	}
	out := make([]Descriptor, len(list))
	for i, d := range list {
		out[i] = d.Descriptor
		out[i].Size = *d.Size
	}
	return out
}

// ParseOutline reads a manifest. It is ErrInvalid where the document could be
// read in two ways (CVE-2021-41190, RFC 7493): not UTF-8, more than one value,
// a name twice, a field's name in another case, mediaType against the
// descriptor's, layers beside manifests, null in
// place of content, a digest outside the grammar, a size that is negative or
// missing.
//
// A media type that is not in ManifestTypes has no known edges: ErrUnsupported.
func ParseOutline(m Manifest) (*Outline, error) {
	if !IsManifestType(m.MediaType) {
		return nil, fmt.Errorf("%w: %s is not a kind of manifest that stet can read", ErrUnsupported, m.MediaType)
	}
	if err := checkJSON(m.Raw, FieldNames(), contentFields()); err != nil {
		return nil, fmt.Errorf("%s %s: %w", m.MediaType, m.Digest, err)
	}
	if !bytes.HasPrefix(bytes.TrimLeft(m.Raw, " \t\r\n"), []byte("{")) {
		return nil, fmt.Errorf("%w: %s %s: not a JSON object", ErrInvalid, m.MediaType, m.Digest)
	}
	var d document
	if err := json.Unmarshal(m.Raw, &d); err != nil {
		return nil, fmt.Errorf("%w: %s %s: %s", ErrInvalid, m.MediaType, m.Digest, err)
	}
	if err := d.check(m.MediaType); err != nil {
		return nil, fmt.Errorf("%w: %s %s: %s", ErrInvalid, m.MediaType, m.Digest, err)
	}
	o := &Outline{
		MediaType: d.MediaType, ArtifactType: d.ArtifactType, Config: one(d.Config), Layers: plainList(d.Layers),
		Manifests: plainList(d.Manifests), Subject: one(d.Subject), Annotations: d.Annotations,
	}
	switch m.MediaType {
	case MediaTypeArtifact, MediaTypeORASArtifact:
		o.Config, o.Layers = nil, plainList(d.Blobs)
		if o.Subject == nil {
			o.Subject = one(d.Refers)
		}
	case MediaTypeIndex, MediaTypeDockerIndex:
		o.Config, o.Layers = nil, nil
	default:
		if o.ArtifactType == "" && d.Config != nil {
			o.ArtifactType = d.Config.MediaType // distribution-spec "Pushing manifests with subject"
		}
	}
	return o, nil
}

// check is ParseOutline's rules on fields that contradict each other.
func (d *document) check(mediaType string) error {
	switch {
	case d.MediaType != "" && d.MediaType != mediaType:
		return fmt.Errorf("its mediaType is %q", d.MediaType)
	case d.Manifests != nil && (d.Layers != nil || d.Config != nil || d.Blobs != nil):
		return errors.New("it has both manifests and layers, config or blobs")
	case d.Subject != nil && d.Refers != nil:
		return errors.New("it has both subject and refers")
	}
	for _, p := range []*named{d.Config, d.Subject, d.Refers} {
		if p != nil {
			if err := p.check(); err != nil {
				return err
			}
		}
	}
	for _, list := range [][]named{d.Layers, d.Blobs, d.Manifests} {
		for i := range list {
			if err := list[i].check(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *named) check() error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("it names the digest %q: %w", d.Digest, err)
	}
	if d.Size == nil {
		return fmt.Errorf("it gives %s no size", d.Digest)
	}
	if *d.Size < 0 {
		return fmt.Errorf("it gives %s the size %d", d.Digest, *d.Size)
	}
	return nil
}

// CheckJSON says whether raw is one I-JSON value (RFC 7493): UTF-8, nothing
// after it, and no object that has one name twice. Names that differ only in
// case count as one, because Go and others read them as one. A name that is one
// of fields but for its case is refused as well. It is ErrInvalid.
func CheckJSON(raw []byte, fields ...string) error { return checkJSON(raw, fields, nil) }

// FieldNames are the names that decide what a manifest means, those of a platform
// among them (image-spec "Content Descriptors", "Image Manifest", "Image Index").
// Go's decoder takes them in any case and others do not, so another case is refused.
func FieldNames() []string {
	return []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs", "manifests", "subject", "refers",
		"annotations", "digest", "size", "data", "urls",
		"platform", "architecture", "os", "os.version", "os.features", "variant",
	}
}

// contentFields are those FieldNames whose null could be read as empty or as
// unknown. Programs do write null for the others, blobs of the extinct artifact
// manifest among them.
func contentFields() []string {
	return []string{"config", "layers", "manifests", "digest", "size"}
}

func checkJSON(raw []byte, fields, content []string) error {
	if !utf8.Valid(raw) {
		return fmt.Errorf("%w: not UTF-8", ErrInvalid)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := checkNames(dec, fields, content, maxTokens+len(raw)/leastToken); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: data after the document", ErrInvalid)
	}
	return nil
}

// The bounds of a JSON document. Manifests need six levels, and as an average
// more than twelve bytes for each name, value and bracket; two bytes that become
// a hundred in memory are an attack ("layers":[{},{},…).
const (
	maxDepth   = 200
	maxTokens  = 64_000
	leastToken = 12
)

// container is an open object or array; names is nil in an array. Annotations
// are a map of the user's keys, in which case counts; elsewhere names are
// fields, which Go's decoder and others match without regard to case.
type container struct {
	names map[string]bool
	exact bool
}

// checkNames reads one value; the open containers are a stack, so that depth
// costs no goroutine stack. It has at most tokens names, values and brackets, and
// no null under a name of content.
func checkNames(dec *json.Decoder, fields, content []string, tokens int) error {
	var open []container
	var last string // the name before the value that comes next
	for isName := false; ; tokens-- {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: not JSON: %s", ErrInvalid, err)
		}
		if tokens == 0 {
			return fmt.Errorf("%w: too many values for its size", ErrInvalid)
		}
		if name, ok := tok.(string); ok && isName {
			if err := open[len(open)-1].add(name, fields); err != nil {
				return err
			}
			last, isName = name, false
			continue
		}
		switch tok {
		case json.Delim('{'):
			open = append(open, container{map[string]bool{}, last == "annotations"})
		case json.Delim('['):
			open = append(open, container{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > maxDepth {
			return fmt.Errorf("%w: nested more than %d deep", ErrInvalid, maxDepth)
		}
		if len(open) == 0 {
			return nil
		}
		if tok == nil && slices.Contains(content, last) {
			return fmt.Errorf("%w: the field %q is null", ErrInvalid, last)
		}
		last, isName = "", open[len(open)-1].names != nil
	}
}

func (c container) add(name string, fields []string) error {
	key := name
	if !c.exact {
		key = strings.Map(foldRune, name)
		for _, field := range fields {
			if name != field && strings.EqualFold(name, field) {
				return fmt.Errorf("%w: the name %q stands for %q", ErrInvalid, name, field)
			}
		}
	}
	if c.names[key] {
		return fmt.Errorf("%w: the name %q stands twice in one object", ErrInvalid, name)
	}
	c.names[key] = true
	return nil
}

// foldRune maps all runes that are equal without case to the same one, as
// strings.EqualFold and encoding/json compare them.
func foldRune(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// Plain is d reduced to what identifies content: media type, digest and size.
// A subject is named so, wherever it was found.
func Plain(d Descriptor) Descriptor {
	return Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// EmptyJSON is the empty descriptor of image-spec 1.1 with its content in data,
// as ORAS writes it. The blob itself still has to be pushed.
func EmptyJSON() Descriptor { return ocispec.DescriptorEmptyJSON }

// CheckDigest is ErrInvalid unless d follows the grammar and names an algorithm
// that can be computed.
func CheckDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%w: digest %q: %s", ErrInvalid, d, err)
	}
	return nil
}
