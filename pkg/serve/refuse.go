package serve

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// refuse is the answer to requests that a quirk forbids altogether.
func (q Quirks) refuse(r *http.Request, req wire.Request) error {
	not := func(status int, code, message string) error {
		return &apiError{status: status, code: code, message: message}
	}
	deletes := req.Kind == wire.ManifestDelete || req.Kind == wire.BlobDelete
	switch {
	case q.ReadOnly && changes(req.Kind):
		return not(http.StatusMethodNotAllowed, "DENIED", "the registry is read-only")
	case q.NoDelete && deletes:
		return not(http.StatusMethodNotAllowed, "UNSUPPORTED", "nothing can be deleted")
	case q.NoTagDelete && req.Kind == wire.ManifestDelete && !store.IsDigest(req.Ref):
		return not(http.StatusMethodNotAllowed, "UNSUPPORTED", "a manifest can only be deleted by digest")
	case q.NoChunked && req.Kind == wire.UploadChunk:
		return not(http.StatusMethodNotAllowed, "UNSUPPORTED", "a blob comes in one piece")
	case q.NoSHA512 && changes(req.Kind) && usesOther(req), q.CanonicalSHA256 && req.Kind == wire.ManifestPut && usesOther(req):
		return not(http.StatusBadRequest, "DIGEST_INVALID", "only sha256 is known")
	case q.MaxPage > 0 && req.N > q.MaxPage:
		return not(http.StatusBadRequest, "UNSUPPORTED", fmt.Sprintf("n is more than %d", q.MaxPage))
	case q.ChunkMax > 0 && req.Kind == wire.UploadChunk && r.ContentLength > q.ChunkMax:
		return chunkTooLarge(q.ChunkMax)
	case q.MaxBody > 0 && changes(req.Kind) && req.Kind != wire.ManifestPut && r.ContentLength > q.MaxBody:
		return bodyTooLarge(q.MaxBody)
	}
	return q.answerTo(req).err("%s is not supported here", r.Method)
}

// answerTo is the answer that a quirk gives to every request of a kind.
func (q Quirks) answerTo(req wire.Request) Answer {
	switch req.Kind {
	case wire.Referrers:
		return q.Referrers
	case wire.BlobDelete:
		return q.BlobDelete
	case wire.UploadStatus:
		return q.UploadStatus
	case wire.UploadCancel:
		return q.UploadCancel
	case wire.UploadMount:
		if req.From == "" {
			return q.MountWithoutFrom
		}
	case wire.ManifestDelete:
		if store.IsDigest(req.Ref) {
			return q.ManifestDelete
		}
		return q.TagDelete
	}
	return Answer{}
}

// hides says whether the registry does not know of an endpoint: no more than of
// any other path, so that it does not ask who is there either.
func (q Quirks) hides(k wire.Kind) bool {
	return q.NoReferrersAPI && k == wire.Referrers || q.NoCatalog && k == wire.Catalog
}

// bodyTooLarge is the answer of a proxy: it knows nothing of error codes.
func bodyTooLarge(limit int64) error {
	return &apiError{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("413 Request Entity Too Large: over %d bytes", limit)}
}

func chunkTooLarge(limit int64) error {
	return &apiError{
		status: http.StatusRequestedRangeNotSatisfiable, code: "BLOB_UPLOAD_INVALID",
		message: fmt.Sprintf("a chunk has at most %d bytes", limit),
	}
}

// usesOther says whether a request names a digest algorithm other than sha256.
func usesOther(req wire.Request) bool {
	alg, _, _ := strings.Cut(req.Digest.String(), ":")
	if strings.Contains(req.Ref, ":") {
		alg, _, _ = strings.Cut(req.Ref, ":")
	}
	if req.Algorithm != "" {
		alg = req.Algorithm
	}
	return alg != "" && alg != "sha256"
}

// takes says whether manifests of a media type are taken.
func (q Quirks) takes(mediaType string) bool {
	switch mediaType {
	case store.MediaTypeArtifact, store.MediaTypeORASArtifact:
		return q.ArtifactManifests || q.AnyManifest
	case store.MediaTypeDockerImage, store.MediaTypeDockerIndex:
		return !q.NoDocker || q.AnyManifest
	}
	return q.AnyManifest || store.IsManifestType(mediaType)
}

// checkType reads Content-Type, and refuses types that are not taken.
func (q Quirks) checkType(r *http.Request) (mediaType string, err error) {
	field := r.Header.Get("Content-Type")
	mediaType, _, err = mime.ParseMediaType(field)
	switch {
	case err != nil && q.Refusal == "":
		return "", &apiError{status: http.StatusBadRequest, code: "MANIFEST_INVALID", message: fmt.Sprintf("Content-Type %q is not a media type", field)}
	case err != nil:
		return "", q.unknownType(field)
	case !q.takes(mediaType):
		return "", q.unknownType(mediaType)
	}
	return mediaType, nil
}

// refusal is how a registry answers to a manifest of a type that it does not
// know. The sources are those of the imitations of the same name.
type refusal struct {
	name          string
	status        int
	code, message string
	detail        func(mediaType string) any // nil: no detail
}

func refusals() []refusal {
	const badRequest, invalid = http.StatusBadRequest, "MANIFEST_INVALID"
	return []refusal{
		// Its default reader is that of schema1 manifests, which has nothing to say.
		{"distribution-2.8", badRequest, invalid, "manifest invalid", func(string) any { return struct{}{} }},
		{"distribution-3", badRequest, invalid, "manifest invalid", func(t string) any {
			return "unsupported manifest media type and no default available: " + t
		}},
		{"zot", http.StatusUnsupportedMediaType, invalid, "manifest invalid", func(t string) any {
			return map[string]string{"description": "the registry could not use this manifest", "mediaType": t}
		}},
		{"olareg", badRequest, invalid, "manifest invalid", func(t string) any { return "unsupported media type: " + t }},
		{"quay", http.StatusUnsupportedMediaType, invalid, "manifest schema version not supported", func(string) any { return struct{}{} }},
		{"ecr", http.StatusMethodNotAllowed, "UNSUPPORTED", "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'", nil},
		{"gitlab", badRequest, invalid, "unknown media type", nil},
		{"docker-hub", http.StatusNotFound, invalid, "manifest invalid", nil},
		// No registry by name: a gateway that has its own idea of the protocol.
		{"html", badRequest, "", htmlPage("400 Bad Request"), nil},
	}
}

func refusalNames() []string {
	var names []string
	for _, r := range refusals() {
		names = append(names, r.name)
	}
	return names
}

func readRefusal(value string) (string, error) {
	for _, r := range refusals() {
		if r.name == value {
			return value, nil
		}
	}
	return "", fmt.Errorf("%w: there is no refusal %q", store.ErrUsage, value)
}

// unknownType is the refusal of a media type.
func (q Quirks) unknownType(mediaType string) error {
	for _, r := range refusals() {
		if r.name != q.Refusal {
			continue
		}
		err := &apiError{status: r.status, code: r.code, message: r.message}
		if r.detail != nil {
			err.details = []any{r.detail(mediaType)}
		}
		return err
	}
	return &apiError{status: http.StatusBadRequest, code: "MANIFEST_INVALID", message: fmt.Sprintf("%v media type: %s", store.ErrUnsupported, mediaType)}
}
