package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stet-oci/stet/pkg/store"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The keys of an annotation file that are not files.
const (
	AnnotationsManifest = "$manifest"
	AnnotationsConfig   = "$config"
)

// The annotations by which ORAS marks a packed directory.
const (
	AnnotationContentDigest = "io.deis.oras.content.digest" // digest of the uncompressed tar
	AnnotationUnpack        = "io.deis.oras.content.unpack" // "true": unpack when pulled
)

// AnnotationMode keeps the permission bits of a file as four octal digits, such
// as "0755": Preserve.Mode writes it, and Unpack gives a file that mode. ORAS and
// others know nothing of it.
const AnnotationMode = "io.github.stet-oci.file.mode"

// annotationArtifactCreated is org.opencontainers.image.created of an artifact
// manifest (image-spec v1.1.0-rc2 annotations.md).
const annotationArtifactCreated = "org.opencontainers.artifact.created"

// Annotations are annotations by what they belong to: AnnotationsManifest,
// AnnotationsConfig, or a file's path as it was typed.
type Annotations map[string]map[string]string

// ParseAnnotations reads KEY=VALUE pairs. A pair without "=", an empty key and
// a key twice are ErrUsage.
func ParseAnnotations(pairs []string) (map[string]string, error) {
	all := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, found := strings.Cut(pair, "=")
		if !found || key == "" {
			return nil, fmt.Errorf("%w: annotation %q: it is KEY=VALUE", store.ErrUsage, pair)
		}
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("%w: annotation %q is given twice", store.ErrUsage, key)
		}
		all[key] = value
	}
	return all, nil
}

// ParseAnnotationFile reads ORAS's annotation file, one JSON object of objects
// of strings. What could be read in two ways is ErrUsage: a name twice, text
// that is not UTF-8, anything after the object.
func ParseAnnotationFile(raw []byte) (Annotations, error) {
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("%w: annotation file: not UTF-8", store.ErrUsage)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	all := Annotations{}
	err := eachMember(dec, func(owner string) error {
		if all[owner] != nil {
			return fmt.Errorf("the name %q stands twice", owner)
		}
		all[owner] = map[string]string{}
		return eachMember(dec, func(key string) error {
			if _, twice := all[owner][key]; twice {
				return fmt.Errorf("the name %q stands twice in %q", key, owner)
			}
			tok, err := dec.Token()
			if err != nil {
				return err
			}
			value, ok := tok.(string)
			if !ok {
				return fmt.Errorf("%q in %q is not a string", key, owner)
			}
			all[owner][key] = value
			return nil
		})
	})
	if err == nil {
		if _, end := dec.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("there is more after the object")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: annotation file: %w", store.ErrUsage, err)
	}
	return all, nil
}

// eachMember reads an object and calls member with each name; member reads the
// value.
func eachMember(dec *json.Decoder, member func(name string) error) error {
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if tok != json.Delim('{') {
		return fmt.Errorf("an object is expected at byte %d", dec.InputOffset())
	}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("not JSON: %w", err)
		}
		name, ok := tok.(string)
		if !ok {
			return fmt.Errorf("a name is expected at byte %d", dec.InputOffset())
		}
		if err := member(name); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// check is ErrUsage for a key that belongs to nothing: ORAS ignores it, and so
// loses annotations in silence.
func (a Annotations) check(files []File, d Decision) error {
	known := []string{AnnotationsManifest}
	if d.ConfigMediaType != "" {
		known = append(known, AnnotationsConfig)
	}
	for _, f := range files {
		known = append(known, f.Path)
	}
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if !slices.Contains(known, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("%w: annotations are given for %q, but there are only %q (a file is named as on the command line)",
			store.ErrUsage, unknown, known)
	}
	return nil
}

// manifestAnnotations are those of the manifest. The time of creation is added
// only where created is given, since a clock has no place in a digest; a value
// that the user gave in its place must be a time as well.
func manifestAnnotations(given map[string]string, kind Kind, created *time.Time) (map[string]string, error) {
	key := ocispec.AnnotationCreated
	if kind == KindArtifact {
		key = annotationArtifactCreated
	}
	all := maps.Clone(given)
	if _, ok := all[key]; !ok && created != nil {
		if all == nil {
			all = map[string]string{}
		}
		all[key] = created.UTC().Format(time.RFC3339)
	}
	for _, k := range []string{ocispec.AnnotationCreated, annotationArtifactCreated} {
		if v, ok := all[k]; ok {
			if _, err := time.Parse(time.RFC3339, v); err != nil {
				return nil, fmt.Errorf("%w: annotation %s=%q: it must be a time of RFC 3339, such as 2006-01-02T15:04:05Z", store.ErrUsage, k, v)
			}
		}
	}
	return all, nil
}
