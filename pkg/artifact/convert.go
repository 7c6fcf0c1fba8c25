package artifact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// ConvertOptions say what ToImage may do beyond carrying fields over.
type ConvertOptions struct {
	// ArtifactType is for manifests that have none: an image manifest with the
	// empty config needs one (image-spec manifest.md, artifactType).
	ArtifactType string
	// KeepUnknown carries fields over that no specification of the artifact
	// manifest knows. Without it they are refused.
	KeepUnknown bool
	// RenameAnnotations turns org.opencontainers.artifact.created and
	// .description into org.opencontainers.image.created and .description.
	RenameAnnotations bool
}

// IsArtifactManifest says whether a media type is one of the artifact
// manifests, all of which are extinct: OCI's of v1.1.0-rc1 and -rc2, and ORAS's.
func IsArtifactManifest(mediaType string) bool {
	return mediaType == store.MediaTypeArtifact || mediaType == store.MediaTypeORASArtifact
}

// ToImage makes an artifact manifest an image manifest of image-spec 1.1. It is
// a function of the bytes and the options: no clock, no registry. Descriptors,
// subject and annotations keep the bytes that they had, but for white space
// between them; blobs are layers, in the same order.
//
// A manifest without an artifact type is ErrUsage unless the options give one;
// fields that have no place are ErrUnsupported; a subject beside refers, or a
// name twice, is ErrInvalid.
func ToImage(m store.Manifest, opts ConvertOptions) (store.Manifest, error) {
	if !IsArtifactManifest(m.MediaType) {
		return m, fmt.Errorf("%w: %s is of type %s, not an artifact manifest", store.ErrUsage, m.Digest, m.MediaType)
	}
	if _, err := store.ParseOutline(m); err != nil {
		return m, err
	}
	fields, err := members(m.Raw)
	if err != nil {
		return m, err
	}
	doc, err := readArtifact(fields, opts)
	if err != nil {
		return m, fmt.Errorf("manifest %s: %w", m.Digest, err)
	}
	raw, err := doc.image()
	if err != nil {
		return m, fmt.Errorf("manifest %s: %w", m.Digest, err)
	}
	image := named(store.MediaTypeImage, raw, m.Digest)
	_, err = store.ParseOutline(image)
	return image, err
}

// artifactDocument is the fields of an artifact manifest as they stand in it;
// nil is what it does not have.
type artifactDocument struct {
	artifactType, subject, annotations []byte
	blobs                              [][]byte
	unknown                            []member
}

func readArtifact(fields []member, opts ConvertOptions) (*artifactDocument, error) {
	d := &artifactDocument{}
	var refused []string
	for _, f := range fields {
		var err error
		switch f.name {
		case "mediaType":
		case "artifactType":
			d.artifactType = f.value
		case "blobs":
			d.blobs, err = values(f)
		case "subject", "refers":
			if !f.isNull() {
				d.subject = f.value
			}
		case "annotations":
			d.annotations, err = annotationsOf(f, opts.RenameAnnotations)
		default:
			if !opts.KeepUnknown || isImageField(f.name) {
				refused = append(refused, strconv.Quote(f.name))
			}
			d.unknown = append(d.unknown, f)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(refused) > 0 {
		return nil, fmt.Errorf("%w: it has fields that an artifact manifest does not have, and that would be lost: %s", store.ErrUnsupported, strings.Join(refused, ", "))
	}
	return d, d.setType(opts.ArtifactType)
}

// isImageField says whether an image manifest gives the name a meaning, so that
// a field of that name cannot be carried over as an unknown one.
func isImageField(name string) bool {
	return slices.Contains([]string{"schemaVersion", "config", "layers", "manifests"}, name)
}

func values(f member) ([][]byte, error) {
	if f.isNull() {
		return nil, nil
	}
	all, err := elements(f.value)
	var out [][]byte
	for _, e := range all {
		out = append(out, e.value)
	}
	return out, err
}

// setType checks the artifact type, and takes the given one where there is none.
func (d *artifactDocument) setType(given string) error {
	var own string
	if d.artifactType != nil {
		if err := json.Unmarshal(d.artifactType, &own); err != nil {
			return fmt.Errorf("%w: artifactType: %s", store.ErrInvalid, err)
		}
	}
	switch {
	case own != "":
		return nil
	case given == "":
		return fmt.Errorf("%w: it has no artifact type, which an image manifest with the empty config must have; give one", store.ErrUsage)
	case !IsMediaType(given):
		return fmt.Errorf("%w: artifact type %q is not a media type such as application/vnd.example.thing (RFC 6838)", store.ErrUsage, given)
	}
	var err error
	d.artifactType, err = quote(given)
	return err
}

// annotationsOf carries annotations over, renamed where that was asked for.
func annotationsOf(f member, rename bool) ([]byte, error) {
	if f.isNull() {
		return nil, nil
	}
	if !rename {
		return f.value, nil
	}
	all, err := members(f.value)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var b bytes.Buffer
	for _, a := range all {
		name, key := imageAnnotation(a.name), []byte(a.key)
		if seen[name] {
			return nil, fmt.Errorf("%w: two annotations would be called %s", store.ErrUsage, name)
		}
		seen[name] = true
		if name != a.name {
			if key, err = quote(name); err != nil {
				return nil, err
			}
		}
		writeField(&b, key, a.value)
	}
	return append(append([]byte("{"), b.Bytes()...), '}'), nil
}

// imageAnnotation is what image-spec 1.1 calls an annotation of artifact.md.
func imageAnnotation(name string) string {
	switch name {
	case "org.opencontainers.artifact.created":
		return ocispec.AnnotationCreated
	case "org.opencontainers.artifact.description":
		return ocispec.AnnotationDescription
	}
	return name
}

// writeField adds a name and value, after a comma where something stands before it.
func writeField(b *bytes.Buffer, key, value []byte) {
	if b.Len() > 0 {
		b.WriteByte(',')
	}
	b.Write(key)
	b.WriteByte(':')
	b.Write(value)
}

// image is the image manifest: the fields in the order of the specification,
// which is also the order of what push makes, then those that are unknown.
func (d *artifactDocument) image() ([]byte, error) {
	empty, err := json.Marshal(store.EmptyJSON())
	if err != nil {
		return nil, err
	}
	layers := d.blobs
	if len(layers) == 0 {
		layers = [][]byte{empty} // image-spec manifest.md: layers SHOULD have an entry
	}
	var b bytes.Buffer
	writeField(&b, []byte(`"schemaVersion"`), []byte("2"))
	writeField(&b, []byte(`"mediaType"`), []byte(strconv.Quote(store.MediaTypeImage)))
	writeField(&b, []byte(`"artifactType"`), d.artifactType)
	writeField(&b, []byte(`"config"`), empty)
	writeField(&b, []byte(`"layers"`), slices.Concat([]byte("["), bytes.Join(layers, []byte(",")), []byte("]")))
	if d.subject != nil {
		writeField(&b, []byte(`"subject"`), d.subject)
	}
	if d.annotations != nil {
		writeField(&b, []byte(`"annotations"`), d.annotations)
	}
	for _, f := range d.unknown {
		writeField(&b, f.key, f.value)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, slices.Concat([]byte("{"), b.Bytes(), []byte("}"))); err != nil {
		return nil, fmt.Errorf("%w: %s", store.ErrInvalid, err)
	}
	return out.Bytes(), nil
}

// Repoint makes a manifest name others: wherever its subject, or an entry of an
// index, is one that `to` knows, the descriptor gets digest, size and media
// type of what `to` gives, and its artifact type and data where it had them.
// All other bytes stay. It says whether anything changed; a manifest that
// names nothing of it comes back as it was.
func Repoint(m store.Manifest, to func(store.Descriptor) (store.Manifest, bool)) (store.Manifest, bool, error) {
	if _, err := store.ParseOutline(m); err != nil {
		return m, false, err
	}
	fields, err := members(m.Raw)
	if err != nil {
		return m, false, err
	}
	var edits []edit
	for _, f := range fields {
		list := []member{f}
		switch {
		case f.isNull(), !isEdge(m.MediaType, f.name):
			continue
		case f.name == "manifests":
			if list, err = elements(f.value); err != nil {
				return m, false, err
			}
			for i := range list {
				list[i].at += f.at
			}
		}
		for _, e := range list {
			with, err := repointed(e.value, to)
			if err != nil {
				return m, false, fmt.Errorf("manifest %s: %w", m.Digest, err)
			}
			if with != nil {
				edits = append(edits, edit{e.at, e.end(), with})
			}
		}
	}
	if len(edits) == 0 {
		return m, false, nil
	}
	return named(m.MediaType, apply(m.Raw, edits), m.Digest), true, nil
}

// isEdge says whether a field names other manifests, as store.ParseOutline
// reads that kind.
func isEdge(mediaType, name string) bool {
	switch name {
	case "subject":
		return true
	case "refers":
		return IsArtifactManifest(mediaType)
	case "manifests":
		return mediaType == store.MediaTypeIndex || mediaType == store.MediaTypeDockerIndex
	}
	return false
}

// repointed is the descriptor raw naming another manifest, or nil where it is
// to stay.
func repointed(raw []byte, to func(store.Descriptor) (store.Manifest, bool)) ([]byte, error) {
	var d store.Descriptor
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("%w: %s", store.ErrInvalid, err)
	}
	m, moved := to(d)
	if !moved || m.Digest == d.Digest {
		return nil, nil
	}
	fields, err := members(raw)
	if err != nil {
		return nil, err
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, err
	}
	var edits []edit
	for _, f := range fields {
		text := ""
		switch f.name {
		case "mediaType":
			text = m.MediaType
		case "digest":
			text = m.Digest.String()
		case "artifactType":
			text = o.ArtifactType
		case "data": // must equal the content (image-spec descriptor.md)
			text = base64.StdEncoding.EncodeToString(m.Raw)
		case "size":
			edits = append(edits, edit{f.at, f.end(), strconv.AppendInt(nil, m.Size, 10)})
			continue
		case "urls":
			return nil, fmt.Errorf("%w: it gives URLs for %s, which do not hold what stands for it now", store.ErrUnsupported, d.Digest)
		default:
			continue
		}
		with, err := quote(text)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{f.at, f.end(), with})
	}
	return apply(raw, edits), nil
}

// IsSignature says whether a manifest is, by its types, a signature of its
// subject or an attestation about it: content that names the subject's digest
// and that says nothing about any other digest.
func IsSignature(o *store.Outline) bool {
	types := []string{o.ArtifactType}
	for _, d := range o.Blobs() {
		types = append(types, d.MediaType, d.ArtifactType)
	}
	return slices.ContainsFunc(types, func(t string) bool {
		return slices.ContainsFunc(signatureTypes(), func(s string) bool { return strings.HasPrefix(t, s) })
	})
}

// signatureTypes are how the media types of signatures and attestations begin.
func signatureTypes() []string {
	return []string{
		"application/vnd.dev.cosign.simplesigning.", // cosign, SIGNATURE_SPEC.md
		"application/vnd.dev.cosign.artifact.sig.",
		"application/vnd.dev.sigstore.bundle",
		"application/vnd.dsse.envelope.",
		"application/vnd.in-toto",
		"application/vnd.cncf.notary.", // Notary Project, also its .v2.signature
		"application/jose+json",        // its envelopes
		"application/cose",
	}
}
