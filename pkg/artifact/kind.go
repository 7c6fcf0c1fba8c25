// Package artifact turns files into artifacts and artifacts into files: it
// chooses the kind of manifest, packs files and directories into the same
// bytes on every machine, and unpacks what a manifest names inside one
// directory.
//
// It opens no store: Pack gives blobs for others to put, Unpack reads from a
// store.Reader that it is given. It knows no registry, so nothing that a
// registry answers can change a digest.
//
// Unpack tells a sink of events itself, as graph.Copy does, because only it
// knows when content is proven: what store.Observe can tell is that all of it
// was read. So every byte is hashed once.
package artifact

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/stet-oci/stet/pkg/store"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kind is a kind of manifest to pack. The user picks it; a registry never does.
type Kind string

// The kinds of manifests that Pack makes.
const (
	KindImage    Kind = "image"      // image manifest of image-spec 1.1
	KindImageV10 Kind = "image-v1.0" // image manifest as image-spec 1.0 knew it
	KindArtifact Kind = "artifact"   // artifact manifest of image-spec v1.1.0-rc2, extinct

	// DefaultKind is packed where no kind is named.
	DefaultKind = KindImage
)

// The types that stand in for one that was not given; ORAS writes the same.
const (
	UnknownArtifactType = "application/vnd.unknown.artifact.v1"
	UnknownConfigType   = "application/vnd.unknown.config.v1+json"
)

// Kinds are all kinds, the default first.
func Kinds() []Kind { return []Kind{KindImage, KindImageV10, KindArtifact} }

// ParseKind reads a value of --manifest-kind. It is ErrUsage for other words.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds() {
		if s == string(k) {
			return k, nil
		}
	}
	return "", fmt.Errorf("%w: manifest kind %q: it is one of image, image-v1.0, artifact", store.ErrUsage, s)
}

// ParseImageSpec reads a value of --image-spec, ORAS's spelling of a kind:
// v1.1 and v1.1-image, v1.0, v1.1-artifact.
func ParseImageSpec(s string) (Kind, error) {
	switch s {
	case "v1.1", "v1.1-image":
		return KindImage, nil
	case "v1.0":
		return KindImageV10, nil
	case "v1.1-artifact":
		return KindArtifact, nil
	}
	return "", fmt.Errorf("%w: image spec %q: it is one of v1.1, v1.0, v1.1-image, v1.1-artifact", store.ErrUsage, s)
}

// ParseKindFlags reads both spellings of the kind; either may be "". It gives
// "" where none is given, and is ErrUsage where they contradict each other.
func ParseKindFlags(manifestKind, imageSpec string) (Kind, error) {
	var kind, spec Kind
	var err error
	if manifestKind != "" {
		if kind, err = ParseKind(manifestKind); err != nil {
			return "", err
		}
	}
	if imageSpec != "" {
		if spec, err = ParseImageSpec(imageSpec); err != nil {
			return "", err
		}
	}
	if kind != "" && spec != "" && kind != spec {
		return "", fmt.Errorf("%w: manifest kind %s and image spec %s contradict each other", store.ErrUsage, kind, imageSpec)
	}
	if kind == "" {
		kind = spec
	}
	return kind, nil
}

// Request is what a kind depends on, and all that it depends on.
type Request struct {
	Kind         Kind   // "" where the user named none
	ArtifactType string // "" where none was given
	Config       bool   // a config file was given
	ConfigType   string // its media type; "" where none was given
	Subject      bool   // the artifact refers to a subject
	Platform     bool   // a platform was given, to be written into the config
	Files        bool   // there is at least one file
}

// Decision says what is packed.
type Decision struct {
	Kind            Kind
	MediaType       string // of the manifest
	ArtifactType    string // the field artifactType; "" leaves it out
	ConfigMediaType string // "" where the kind has no config
	EmptyLayer      bool   // without files, one layer with the empty descriptor
	Reason          string // why, in a sentence
}

// Type is the type that people know the artifact by: artifactType, else the
// config's media type (image-spec manifest.md, "Guidelines for Artifact Usage").
func (d Decision) Type() string {
	if d.ArtifactType != "" {
		return d.ArtifactType
	}
	return d.ConfigMediaType
}

// Decide chooses the manifest. It is pure and total: the same request has the
// same answer everywhere, and a request that contradicts itself is ErrUsage.
func Decide(r Request) (Decision, error) {
	kind := r.Kind
	if kind == "" {
		kind = DefaultKind
	}
	if fault := r.fault(kind); fault != "" {
		return Decision{}, fmt.Errorf("%w: %s", store.ErrUsage, fault)
	}
	switch kind {
	case KindArtifact:
		return Decision{
			Kind: kind, MediaType: store.MediaTypeArtifact, ArtifactType: orElse(r.ArtifactType, UnknownArtifactType),
			Reason: "the artifact manifest was asked for; it has no config, and no layer is needed",
		}, nil
	case KindImageV10:
		d := Decision{
			Kind: kind, MediaType: store.MediaTypeImage, ConfigMediaType: r.configType(), EmptyLayer: !r.Files,
			Reason: "image-spec 1.0 was asked for; it knows no artifactType, so the config's media type carries the type",
		}
		if !r.Config && !r.Platform {
			d.ConfigMediaType = orElse(r.ArtifactType, UnknownConfigType)
		}
		return d, nil
	}
	d := Decision{
		Kind: kind, MediaType: store.MediaTypeImage, ArtifactType: orElse(r.ArtifactType, UnknownArtifactType),
		ConfigMediaType: r.configType(), EmptyLayer: !r.Files,
		Reason: "an image manifest of image-spec 1.1 is taken by the most registries",
	}
	if r.Config && r.ArtifactType == "" {
		d.ArtifactType = ""
		d.Reason = "a config without an artifact type carries the type by its media type, as image-spec 1.0 did"
	}
	return d, nil
}

// configType is the media type of the config that an image manifest gets.
func (r Request) configType() string {
	switch {
	case r.Config:
		return orElse(r.ConfigType, UnknownConfigType)
	case r.Platform:
		return ocispec.MediaTypeImageConfig
	}
	return ocispec.MediaTypeEmptyJSON
}

// fault is what contradicts itself in the request, or "". What holds for all
// kinds comes first.
func (r Request) fault(kind Kind) string {
	switch {
	case r.ArtifactType != "" && !IsMediaType(r.ArtifactType):
		return fmt.Sprintf("artifact type %q is not a media type such as application/vnd.example.thing (RFC 6838)", r.ArtifactType)
	case r.ConfigType != "" && !IsMediaType(r.ConfigType):
		return fmt.Sprintf("config type %q is not a media type such as application/vnd.example.config.v1+json (RFC 6838)", r.ConfigType)
	case r.ConfigType != "" && !r.Config:
		return "a config type needs a config file"
	case r.Config && r.Platform:
		return "a config file and a platform cannot be given at the same time: both are the config"
	}
	switch kind {
	case KindImage:
		return r.imageFault()
	case KindImageV10:
		return r.imageV10Fault()
	case KindArtifact:
		return r.artifactFault()
	}
	return fmt.Sprintf("manifest kind %q: it is one of image, image-v1.0, artifact", kind)
}

func (r Request) imageFault() string {
	switch {
	case r.Subject && r.ArtifactType == "":
		return "what refers to a subject needs an artifact type: it is found by it"
	case r.Config && r.ArtifactType == "" && r.Kind != "":
		return "missing artifact type: an image-spec 1.1 artifact with a config needs one; give it, or choose image-v1.0"
	case r.Config && r.ArtifactType == "" && r.ConfigType == ocispec.MediaTypeEmptyJSON:
		return "missing artifact type: it must be set where the config is the empty one (image-spec manifest.md)"
	}
	return ""
}

func (r Request) imageV10Fault() string {
	switch {
	case r.Subject:
		return "image-spec 1.0 knows no subject; choose manifest kind image"
	case r.Config && r.ArtifactType != "":
		return "an artifact type and a config cannot both be given for image-spec 1.0: the config's media type is the type"
	case r.Platform && r.ArtifactType != "":
		return "an artifact type and a platform cannot both be given for image-spec 1.0: the platform's config has a type of its own"
	case r.ConfigType == ocispec.MediaTypeEmptyJSON || r.ArtifactType == ocispec.MediaTypeEmptyJSON:
		return "the empty config needs an artifact type, which image-spec 1.0 does not know"
	}
	return ""
}

func (r Request) artifactFault() string {
	switch {
	case r.Config:
		return "an artifact manifest has no config; choose manifest kind image"
	case r.Platform:
		return "an artifact manifest has no config to write a platform into; choose manifest kind image"
	case r.Subject && r.ArtifactType == "":
		return "what refers to a subject needs an artifact type: it is found by it"
	}
	return ""
}

// mediaType is the grammar of RFC 6838 section 4.2: two restricted names,
// without parameters (image-spec descriptor.md asks for it).
var mediaType = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$`)

// IsMediaType says whether s is a media type by RFC 6838 section 4.2.
func IsMediaType(s string) bool { return mediaType.MatchString(s) }

// ParsePlatform reads OS/ARCH[/VARIANT][:OS_VERSION]. ORAS fills a missing
// ARCH with that of the machine; here it is ErrUsage, because a digest must
// not depend on the machine.
func ParsePlatform(s string) (*ocispec.Platform, error) {
	name, version, _ := strings.Cut(s, ":")
	parts := strings.Split(name, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return nil, fmt.Errorf("%w: platform %q: it is OS/ARCH[/VARIANT][:OS_VERSION], such as linux/arm64", store.ErrUsage, s)
	}
	p := &ocispec.Platform{OS: parts[0], Architecture: parts[1], OSVersion: version}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
