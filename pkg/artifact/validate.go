package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// Severity says how bad a fault is.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"   // breaks what a specification says MUST be
	SeverityWarning Severity = "warning" // is against what it says SHOULD be, or means nothing
)

// Fault is something wrong with a manifest.
type Fault struct {
	Severity Severity `json:"severity"`
	Pointer  string   `json:"pointer"` // JSON pointer to the place (RFC 6901); "" is the whole document
	Text     string   `json:"text"`
}

// portableManifest is what registries have to take at least (distribution-spec
// "Pushing manifests").
const portableManifest = 4 << 20

// Validate holds a manifest against its specification: image-spec 1.1 for image
// manifests and indexes, v1.1.0-rc2 and the ORAS artifacts-spec for artifact
// manifests, and I-JSON (RFC 7493) for all. It knows the document alone: whether
// what it names exists is no matter. Faults come in the order of the document,
// what makes it unreadable first.
//
// A field that no specification knows is no fault (image-spec considerations.md
// "Extensibility").
func Validate(m store.Manifest) []Fault {
	v := &validator{mediaType: m.MediaType}
	if !v.document(m.Raw) {
		return v.faults
	}
	if len(m.Raw) > portableManifest {
		v.warn("", "it has %d bytes; registries need not take more than %d", len(m.Raw), portableManifest)
	}
	o, ok := v.object("", m.Raw)
	if !ok {
		return v.faults
	}
	switch m.MediaType {
	case store.MediaTypeImage, store.MediaTypeDockerImage:
		v.image(o)
	case store.MediaTypeIndex, store.MediaTypeDockerIndex:
		v.index(o)
	case store.MediaTypeArtifact, store.MediaTypeORASArtifact:
		v.artifact(o)
	default:
		v.warn("/mediaType", "%s is not a kind of manifest that can be checked; only its JSON was", m.MediaType)
		return v.faults
	}
	// What would not be read is wrong, whatever the rules above have let pass.
	if _, err := store.ParseOutline(m); err != nil && !HasErrors(v.faults) {
		v.fail("", "%s", err)
	}
	return v.faults
}

// HasErrors says whether a fault among them is an error.
func HasErrors(faults []Fault) bool {
	for _, f := range faults {
		if f.Severity == SeverityError {
			return true
		}
	}
	return false
}

type validator struct {
	mediaType string
	faults    []Fault
}

func (v *validator) fail(at, format string, args ...any) {
	v.faults = append(v.faults, Fault{SeverityError, at, fmt.Sprintf(format, args...)})
}

func (v *validator) warn(at, format string, args ...any) {
	v.faults = append(v.faults, Fault{SeverityWarning, at, fmt.Sprintf(format, args...)})
}

// document says whether raw is one JSON document that can be looked into.
func (v *validator) document(raw []byte) bool {
	var value any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	switch err := dec.Decode(&value); {
	case !utf8.Valid(raw):
		v.fail("", "it is not UTF-8 (RFC 7493 section 2.1)")
		return false
	case err != nil:
		v.fail("", "it is not JSON: %s", err)
		return false
	}
	if len(bytes.TrimLeft(raw[dec.InputOffset():], " \t\r\n")) > 0 {
		v.fail("", "there is something after the document")
		return false
	}
	return v.names("", bytes.TrimSpace(raw), false, 0)
}

// object gives the members of an object by their names.
func (v *validator) object(at string, raw []byte) (map[string][]byte, bool) {
	fields, err := members(raw)
	if err != nil {
		v.fail(at, "it is not an object")
		return nil, false
	}
	o := map[string][]byte{}
	for _, f := range fields {
		o[f.name] = f.value
	}
	return o, true
}

// list gives the elements of an array.
func (v *validator) list(at string, raw []byte) ([]member, bool) {
	all, err := elements(raw)
	if err != nil {
		v.fail(at, "it is not an array")
	}
	return all, err == nil
}

// text gives a string.
func (v *validator) text(at string, raw []byte) (string, bool) {
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		v.fail(at, "it is not a string")
		return "", false
	}
	return *s, true
}

// isDocker: Docker's manifests are older than the image-spec, and have fewer fields.
func (v *validator) isDocker() bool {
	return v.mediaType == store.MediaTypeDockerImage || v.mediaType == store.MediaTypeDockerIndex
}

// head checks what images and indexes begin with (image-spec manifest.md and
// image-index.md: schemaVersion, mediaType, artifactType).
func (v *validator) head(o map[string][]byte) {
	switch raw, there := o["schemaVersion"]; {
	case !there:
		v.fail("/schemaVersion", "it is missing; it must be 2")
	case string(raw) != "2":
		v.fail("/schemaVersion", "it is %s; it must be 2", start(raw))
	}
	v.ownType(o)
	v.typeName(o, "", "artifactType")
}

// ownType checks the field mediaType of a manifest.
func (v *validator) ownType(o map[string][]byte) {
	const at = "/mediaType"
	raw, there := o["mediaType"]
	switch {
	case !there && (v.isDocker() || IsArtifactManifest(v.mediaType)):
		v.fail(at, "it is missing; it must be %s", v.mediaType)
		return
	case !there:
		v.warn(at, "it is missing; it should be there, so that the document cannot be read as another kind")
		return
	}
	if s, ok := v.text(at, raw); ok && s != v.mediaType {
		v.fail(at, "it is %q; it must be %s", s, v.mediaType)
	}
}

// typeName checks a member that is a media type, if it is there.
func (v *validator) typeName(o map[string][]byte, at, name string) string {
	raw, there := o[name]
	if !there {
		return ""
	}
	at += "/" + name
	s, ok := v.text(at, raw)
	if ok && !IsMediaType(s) {
		v.fail(at, "%q is not a media type such as application/vnd.example.thing (RFC 6838 section 4.2)", s)
	}
	return s
}

// foreign are fields that belong to another kind: two readers would read two
// documents (CVE-2021-41190).
func (v *validator) foreign(o map[string][]byte, names ...string) {
	for _, name := range names {
		if _, there := o[name]; there {
			v.fail("/"+name, "a document of type %s has no such field; it could be read as another kind", v.mediaType)
		}
	}
}

func (v *validator) image(o map[string][]byte) {
	v.head(o)
	v.foreign(o, "manifests", "blobs")
	raw, there := o["config"]
	var config parsed
	if !there {
		v.fail("/config", "it is missing")
	} else {
		config = v.descriptor("/config", raw)
	}
	if _, typed := o["artifactType"]; !typed && config.mediaType == ocispec.MediaTypeEmptyJSON {
		v.fail("/artifactType", "it is missing; it must be there where the config is the empty one")
	}
	v.layers(o)
	v.tail(o)
}

func (v *validator) layers(o map[string][]byte) {
	raw, there := o["layers"]
	if !there {
		v.fail("/layers", "it is missing; without layers it is an array with the empty descriptor")
		return
	}
	list, ok := v.list("/layers", raw)
	if ok && len(list) == 0 && !v.isDocker() {
		v.warn("/layers", "there should be at least one, so that every registry takes it; the empty descriptor is meant for that")
	}
	hasContent := len(list) == 0
	for i, e := range list {
		d := v.descriptor(fmt.Sprintf("/layers/%d", i), e.value)
		hasContent = hasContent || d.size != 0
	}
	if !hasContent {
		v.warn("/layers", "none of them has content; one of non-zero size should be there, so that every registry takes it")
	}
}

func (v *validator) index(o map[string][]byte) {
	v.head(o)
	v.foreign(o, "config", "layers", "blobs")
	if raw, there := o["manifests"]; !there {
		v.fail("/manifests", "it is missing; without manifests it is an empty array")
	} else if list, ok := v.list("/manifests", raw); ok {
		for i, e := range list {
			v.descriptor(fmt.Sprintf("/manifests/%d", i), e.value)
		}
	}
	v.tail(o)
}

// artifact checks the artifact manifests (image-spec@v1.1.0-rc2 artifact.md,
// ORAS artifacts-spec), which have neither schemaVersion nor config.
func (v *validator) artifact(o map[string][]byte) {
	v.ownType(o)
	// The Go code of v1.1.0-rc2 wrote an empty one where there was none.
	switch raw, typed := o["artifactType"]; {
	case typed && string(raw) != `""`:
		v.typeName(o, "", "artifactType")
	case v.mediaType == store.MediaTypeORASArtifact:
		v.fail("/artifactType", "it is missing")
	default:
		v.warn("/artifactType", "it is missing; it should be there")
	}
	v.foreign(o, "manifests")
	for _, name := range []string{"config", "layers"} {
		if _, there := o[name]; there {
			v.warn("/"+name, "an artifact manifest has no such field; it means nothing")
		}
	}
	if raw, there := o["blobs"]; there && string(raw) != "null" {
		list, _ := v.list("/blobs", raw)
		for i, e := range list {
			v.descriptor(fmt.Sprintf("/blobs/%d", i), e.value)
		}
	}
	if _, both := o["refers"]; both && o["subject"] != nil {
		v.fail("/refers", "it is the old name of subject, which is there as well")
	}
	v.tail(o)
	v.warn("/mediaType", "this kind belongs to no released specification; most registries refuse it")
}

// tail checks what all kinds may end with.
func (v *validator) tail(o map[string][]byte) {
	for _, name := range []string{"subject", "refers"} {
		known := name == "subject" || IsArtifactManifest(v.mediaType)
		if raw, there := o[name]; there && known && string(raw) != "null" {
			v.descriptor("/"+name, raw)
		}
	}
	v.annotations("/annotations", o["annotations"])
}

// annotations checks a map of strings; nil is none.
func (v *validator) annotations(at string, raw []byte) {
	if raw == nil || string(raw) == "null" {
		return
	}
	fields, err := members(raw)
	if err != nil {
		v.fail(at, "it is not an object")
		return
	}
	for _, f := range fields {
		place := at + "/" + pointerName(f.name)
		s, ok := v.text(place, f.value)
		if ok && f.name == ocispec.AnnotationCreated {
			if _, err := time.Parse(time.RFC3339, s); err != nil {
				v.warn(place, "%q is not a time as RFC 3339 has it", s)
			}
		}
	}
}
