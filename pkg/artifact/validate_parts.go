package artifact

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// parsed is what a descriptor says, as far as it could be read.
type parsed struct {
	mediaType string
	digest    digest.Digest
	size      int64 // -1 where it is not known
}

// descriptor checks one descriptor (image-spec descriptor.md).
func (v *validator) descriptor(at string, raw []byte) parsed {
	d := parsed{size: -1}
	o, ok := v.object(at, raw)
	if !ok {
		return d
	}
	for _, name := range []string{"mediaType", "digest", "size"} {
		if _, there := o[name]; !there {
			v.fail(at+"/"+name, "it is missing")
		}
	}
	d.mediaType = v.typeName(o, at, "mediaType")
	v.typeName(o, at, "artifactType")
	if raw, there := o["digest"]; there {
		d.digest = v.digest(at+"/digest", raw)
	}
	if raw, there := o["size"]; there {
		d.size = v.size(at+"/size", raw)
	}
	if raw, there := o["urls"]; there && string(raw) != "null" {
		v.texts(at+"/urls", raw)
	}
	v.annotations(at+"/annotations", o["annotations"])
	if raw, there := o["data"]; there && string(raw) != "null" {
		v.data(at+"/data", raw, d)
	}
	if raw, there := o["platform"]; there && string(raw) != "null" {
		v.platform(at+"/platform", raw)
	}
	v.empty(at, d)
	return d
}

// digest gives a digest whose content can be computed, else "".
func (v *validator) digest(at string, raw []byte) digest.Digest {
	s, ok := v.text(at, raw)
	if !ok {
		return ""
	}
	switch err := digest.Digest(s).Validate(); {
	case errors.Is(err, digest.ErrDigestUnsupported):
		v.fail(at, "%q is of an algorithm that is not known here; sha256 and sha512 are", s)
	case err != nil:
		v.fail(at, "%q is not a digest: %s", s, err)
	default:
		return digest.Digest(s)
	}
	return ""
}

// exactInteger bounds the integers that every reader of JSON has exactly
// (RFC 7493 section 2.2).
const exactInteger = 1<<53 - 1

func (v *validator) size(at string, raw []byte) int64 {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case err != nil:
		v.fail(at, "%s is not a size: it is an integer of 64 bits", start(raw))
		return -1
	case n < 0:
		v.fail(at, "it is negative")
		return -1
	case n > exactInteger:
		v.warn(at, "it is larger than the integers that every reader of JSON has exactly (RFC 7493 section 2.2)")
	}
	return n
}

// texts checks an array of strings.
func (v *validator) texts(at string, raw []byte) {
	list, _ := v.list(at, raw)
	for i, e := range list {
		v.text(fmt.Sprintf("%s/%d", at, i), e.value)
	}
}

// data checks content that stands in its descriptor: it must be the content.
func (v *validator) data(at string, raw []byte, d parsed) {
	s, ok := v.text(at, raw)
	if !ok {
		return
	}
	content, err := base64.StdEncoding.Strict().DecodeString(s)
	switch {
	case err != nil:
		v.fail(at, "it is not base64 (RFC 4648 section 4)")
	case d.size >= 0 && int64(len(content)) != d.size:
		v.fail(at, "it has %d bytes, and the descriptor says %d", len(content), d.size)
	case d.digest != "" && d.digest.Algorithm().FromBytes(content) != d.digest:
		v.fail(at, "it is not the content that the digest names")
	}
}

// empty checks the empty descriptor (image-spec manifest.md "Guidance for an
// Empty Descriptor"): who sees its media type will not look at the content.
func (v *validator) empty(at string, d parsed) {
	want := store.EmptyJSON()
	if d.mediaType != ocispec.MediaTypeEmptyJSON || d.digest == "" {
		return
	}
	if d.digest.Algorithm().FromBytes(want.Data) != d.digest {
		v.warn(at+"/digest", "content of type %s should be {}, which has the digest %s", d.mediaType, d.digest.Algorithm().FromBytes(want.Data))
	} else if d.size >= 0 && d.size != want.Size {
		v.fail(at+"/size", "it is %d; the content that the digest names has %d bytes", d.size, want.Size)
	}
}

// platform checks image-spec image-index.md "platform".
func (v *validator) platform(at string, raw []byte) {
	o, ok := v.object(at, raw)
	if !ok {
		return
	}
	for _, name := range []string{"architecture", "os", "os.version", "variant"} {
		value, there := o[name]
		if !there && (name == "architecture" || name == "os") {
			v.fail(at+"/"+name, "it is missing")
		}
		if there {
			v.text(at+"/"+name, value)
		}
	}
	if value, there := o["os.features"]; there && string(value) != "null" {
		v.texts(at+"/os.features", value)
	}
}

// maxNesting bounds the levels of a document; manifests need six.
const maxNesting = 200

// names checks the names of all objects: none twice, and none that differs from
// another, or from a field, in nothing but case. Annotations are the user's
// names, where case counts (exact). It is false where the document is nested so
// deep that nobody should look into it.
func (v *validator) names(at string, raw []byte, exact bool, depth int) bool {
	if depth > maxNesting {
		v.fail("", "it is nested more than %d deep", maxNesting)
		return false
	}
	switch raw[0] {
	case '{':
		fields, err := members(raw)
		if err != nil {
			v.fail(at, "%s", err)
			return false
		}
		seen := map[string]string{}
		for _, f := range fields {
			place := at + "/" + pointerName(f.name)
			v.name(place, f, seen, exact)
			if !v.names(place, f.value, f.name == "annotations", depth+1) {
				return false
			}
		}
	case '[':
		list, err := elements(raw)
		if err != nil {
			v.fail(at, "%s", err)
			return false
		}
		for i, e := range list {
			if !v.names(fmt.Sprintf("%s/%d", at, i), e.value, false, depth+1) {
				return false
			}
		}
	case '"':
		v.surrogates(at, raw)
	}
	return true
}

func (v *validator) name(at string, f member, seen map[string]string, exact bool) {
	v.surrogates(at, f.key)
	key := f.name
	if !exact {
		key = strings.ToLower(strings.ToUpper(key)) // both: ſ is an s, and K a k
		if field, alias := aliasOf(f.name); alias {
			v.fail(at, "some readers take the name %q for %q", f.name, field)
		}
	}
	other, twice := seen[key]
	switch {
	case twice && other == f.name:
		v.fail(at, "the name %q stands twice in one object", f.name)
	case twice && !slices.Contains(store.FieldNames(), f.name) && !slices.Contains(store.FieldNames(), other):
		v.fail(at, "the names %q and %q differ in case alone", other, f.name)
	}
	seen[key] = f.name
}

// aliasOf gives the field that a name is in another case.
func aliasOf(name string) (field string, alias bool) {
	for _, field := range store.FieldNames() {
		if field != name && strings.EqualFold(field, name) {
			return field, true
		}
	}
	return "", false
}

// escapes are the \u escapes of a string, and other escapes, so that an escaped
// backslash is not taken for the beginning of one.
var escapes = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)

// surrogates checks that a string has no half of a pair of UTF-16, which is no
// character (RFC 7493 section 2.1). Go reads it as U+FFFD, others as they like.
func (v *validator) surrogates(at string, raw []byte) {
	if !strings.Contains(string(raw), `\u`) {
		return
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return // the decoder has told already
	}
	said := 0 // U+FFFD that stands there in its own right
	for _, e := range escapes.FindAllString(string(raw), -1) {
		if strings.EqualFold(e, `\ufffd`) {
			said++
		}
	}
	if strings.Count(s, "\uFFFD") > said+strings.Count(string(raw), "\uFFFD") {
		v.fail(at, "it has half of a pair of surrogates, which is no character (RFC 7493 section 2.1)")
	}
}

// pointerName escapes a name for a JSON pointer (RFC 6901 section 3).
func pointerName(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
