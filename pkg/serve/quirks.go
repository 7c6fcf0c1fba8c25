package serve

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Quirks are deviations from a full registry, each as some real registry has
// it. The zero value has none: everything of the spec works, and the manifest
// kinds that are extinct are refused, as registries of today do.
type Quirks struct {
	NoReferrersAPI    bool  // referrers are 404: Distribution 2.8 and 3, GHCR, GitLab
	ArtifactManifests bool  // takes the artifact manifests of image-spec 1.1-rc: zot before 2.0, ORAS distribution
	AnyManifest       bool  // takes any media type as a manifest: go-containerregistry, cuelabs ociregistry
	Sparse            bool  // takes a manifest whose blobs or children are absent: zot 1.4
	StrictAccept      bool  // hides manifests that Accept does not name: Distribution
	NoOCISubject      bool  // keeps a subject without OCI-Subject: Quay, GHCR
	FalseOCISubject   bool  // OCI-Subject without a referrers API: Docker Hub and ECR in 2024
	NoFilter          bool  // ignores ?artifactType=: go-containerregistry
	PageSize          int   // lists in pages of this many, whatever n says; 0 is off
	NoLinkBrackets    bool  // Link without <>: zot 1.4
	NoTagDelete       bool  // 405 on deleting a tag: ACR
	NoDelete          bool  // 405 on every DELETE of content: GHCR, olareg as it is set up by default
	NoSinglePost      bool  // 202 on POST with a digest: Distribution
	NoMount           bool  // 202 on every mount: Artifactory, go-containerregistry
	MountAnywhere     bool  // mounts without from, out of any repository: zot
	NoChunked         bool  // 405 on PATCH: GAR takes blobs in one piece
	ChunkMin          int64 // OCI-Chunk-Min-Length in bytes; a shorter chunk must be the last: Cloudsmith, ECR
	MaxBody           int64 // 413 on a body of an upload over this many bytes: a proxy before the registry
	MaxManifest       int64 // 413 on a manifest over this many bytes; 0 is DefaultMaxManifest
	NoRange           bool  // ignores Range on blobs
	NoDigestHeader    bool  // no Docker-Content-Digest: ECR by tag, ACR on redirects
	WrongDigestHeader bool  // a Docker-Content-Digest of something else
	AbsoluteLocation  bool  // Location and Link with scheme and host: Distribution
	NoSHA512          bool  // 400 on every digest but sha256: cuelabs ociregistry
	NoMultiTag        bool  // ignores ?tag=: Distribution
	ReadOnly          bool  // 405 DENIED on every change: Quay in read-only mode
	RepoMustExist     bool  // 404 NAME_UNKNOWN on a push into a new repository: ECR
	NoCatalog         bool  // _catalog is 404: Docker Hub
	HTML404           bool  // 404s are HTML: GAR, proxies
}

// quirk is a name of a quirk, for flags and scripts.
type quirk struct {
	name string // with "=" and a placeholder where it takes a value
	help string
	set  func(q *Quirks, value string) error
}

// QuirkName is a name that Set takes, with "=" and a placeholder where it wants
// a value, and what it does in a line.
type QuirkName struct{ Name, Help string }

// QuirkNames lists all quirks by name.
func QuirkNames() []QuirkName {
	var all []QuirkName
	for _, k := range quirks() {
		all = append(all, QuirkName{k.name, k.help})
	}
	return all
}

// ParseQuirks reads quirks by their names. It is ErrUsage for what is no quirk.
func ParseQuirks(names ...string) (Quirks, error) {
	var q Quirks
	for _, name := range names {
		if err := q.Set(name); err != nil {
			return Quirks{}, err
		}
	}
	return q, nil
}

// Set switches one quirk on, such as "no-mount" or "page-size=1".
func (q *Quirks) Set(s string) error {
	name, value, hasValue := strings.Cut(s, "=")
	for _, k := range quirks() {
		known, _, takesValue := strings.Cut(k.name, "=")
		if known != name {
			continue
		}
		if hasValue != takesValue {
			return fmt.Errorf("%w: quirk %q is written %s", store.ErrUsage, s, k.name)
		}
		return k.set(q, value)
	}
	return fmt.Errorf("%w: there is no quirk %q", store.ErrUsage, s)
}

func quirks() []quirk {
	flag := func(name, help string, field func(q *Quirks) *bool) quirk {
		return quirk{name, help, func(q *Quirks, _ string) error { *field(q) = true; return nil }}
	}
	size := func(name, help string, field func(q *Quirks) *int64) quirk {
		return quirk{name, help, func(q *Quirks, value string) error { return setSize(field(q), value) }}
	}
	return []quirk{
		flag("absolute-location", "Location and Link have scheme and host (Distribution)", func(q *Quirks) *bool { return &q.AbsoluteLocation }),
		flag("any-manifest", "any media type is taken as a manifest (go-containerregistry)", func(q *Quirks) *bool { return &q.AnyManifest }),
		flag("artifact-manifests", "takes OCI and ORAS artifact manifests (zot before 2.0)", func(q *Quirks) *bool { return &q.ArtifactManifests }),
		flag("catalog-off", "_catalog is 404 (Docker Hub)", func(q *Quirks) *bool { return &q.NoCatalog }),
		size("chunk-min=BYTES", "a shorter chunk must be the last (Cloudsmith, ECR)", func(q *Quirks) *int64 { return &q.ChunkMin }),
		flag("false-oci-subject", "OCI-Subject even without a referrers API (Docker Hub in 2024)", func(q *Quirks) *bool { return &q.FalseOCISubject }),
		flag("html-404", "404s are HTML pages (GAR)", func(q *Quirks) *bool { return &q.HTML404 }),
		size("max-body=BYTES", "413 on larger bodies of an upload (a proxy)", func(q *Quirks) *int64 { return &q.MaxBody }),
		size("max-manifest=BYTES", "413 on larger manifests", func(q *Quirks) *int64 { return &q.MaxManifest }),
		flag("mount-anywhere", "a mount without from finds the blob in any repository (zot)", func(q *Quirks) *bool { return &q.MountAnywhere }),
		flag("multi-tag-off", "?tag= is ignored (Distribution)", func(q *Quirks) *bool { return &q.NoMultiTag }),
		flag("no-chunked", "405 on PATCH (GAR)", func(q *Quirks) *bool { return &q.NoChunked }),
		flag("no-delete", "405 on DELETE of tags, manifests and blobs (GHCR)", func(q *Quirks) *bool { return &q.NoDelete }),
		flag("no-digest-header", "no Docker-Content-Digest (ECR)", func(q *Quirks) *bool { return &q.NoDigestHeader }),
		flag("no-filter", "referrers are not filtered (go-containerregistry)", func(q *Quirks) *bool { return &q.NoFilter }),
		flag("no-link-brackets", "Link without <> (zot 1.4)", func(q *Quirks) *bool { return &q.NoLinkBrackets }),
		flag("no-mount", "202 on every mount (Artifactory)", func(q *Quirks) *bool { return &q.NoMount }),
		flag("no-oci-subject", "OCI-Subject is not sent (Quay)", func(q *Quirks) *bool { return &q.NoOCISubject }),
		flag("no-range", "Range on blobs is ignored", func(q *Quirks) *bool { return &q.NoRange }),
		flag("no-referrers-api", "referrers are 404 (Distribution, GHCR)", func(q *Quirks) *bool { return &q.NoReferrersAPI }),
		flag("no-sha512", "400 on sha512 (cuelabs ociregistry)", func(q *Quirks) *bool { return &q.NoSHA512 }),
		flag("no-single-post", "202 on POST with a digest (Distribution)", func(q *Quirks) *bool { return &q.NoSinglePost }),
		flag("no-tag-delete", "405 on DELETE of a tag (ACR)", func(q *Quirks) *bool { return &q.NoTagDelete }),
		{"page-size=N", "lists come in pages of N, whatever n says", func(q *Quirks, v string) error { return setCount(&q.PageSize, v) }},
		flag("read-only", "405 on every change (Quay)", func(q *Quirks) *bool { return &q.ReadOnly }),
		{"relative-location", "Location and Link are paths (the default)", func(q *Quirks, _ string) error { q.AbsoluteLocation = false; return nil }},
		flag("repo-must-exist", "404 on a push into a new repository (ECR)", func(q *Quirks) *bool { return &q.RepoMustExist }),
		flag("sparse", "takes a manifest whose blobs or children are absent (zot 1.4)", func(q *Quirks) *bool { return &q.Sparse }),
		flag("strict-accept", "404 on manifests that Accept does not name (Distribution)", func(q *Quirks) *bool { return &q.StrictAccept }),
		flag("wrong-digest-header", "Docker-Content-Digest is of something else", func(q *Quirks) *bool { return &q.WrongDigestHeader }),
	}
}

// setSize reads a number of bytes: digits, with KiB, MiB or GiB where wanted.
func setSize(field *int64, value string) error {
	digits, shift := value, 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if d, ok := strings.CutSuffix(value, unit); ok {
			digits, shift = d, 10*(i+1)
		}
	}
	n, ok := decimal(digits)
	if !ok || n == 0 || n > 1<<60>>shift {
		return fmt.Errorf("%w: %q is not a size such as 65536 or 5MiB", store.ErrUsage, value)
	}
	*field = n << shift
	return nil
}

func setCount(field *int, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return fmt.Errorf("%w: %q is not a count of 1 or more", store.ErrUsage, value)
	}
	*field = n
	return nil
}

// refuse is the answer to requests that a quirk forbids altogether.
func (q Quirks) refuse(r *http.Request, req wire.Request) error {
	not := func(status int, code, message string) error {
		return &apiError{status: status, code: code, message: message}
	}
	deletes := req.Kind == wire.ManifestDelete || req.Kind == wire.BlobDelete
	switch {
	case q.NoReferrersAPI && req.Kind == wire.Referrers, q.NoCatalog && req.Kind == wire.Catalog:
		return errNoRoute
	case q.ReadOnly && changes(req.Kind):
		return not(http.StatusMethodNotAllowed, "DENIED", "the registry is read-only")
	case q.NoDelete && deletes:
		return not(http.StatusMethodNotAllowed, "UNSUPPORTED", "nothing can be deleted")
	case q.NoTagDelete && req.Kind == wire.ManifestDelete && !store.IsDigest(req.Ref):
		return not(http.StatusMethodNotAllowed, "UNSUPPORTED", "a manifest can only be deleted by digest")
	case q.NoChunked && req.Kind == wire.UploadChunk:
		return not(http.StatusMethodNotAllowed, "UNSUPPORTED", "a blob comes in one piece")
	case q.NoSHA512 && changes(req.Kind) && usesOther(req):
		return not(http.StatusBadRequest, "DIGEST_INVALID", "only sha256 is known")
	case q.MaxBody > 0 && changes(req.Kind) && req.Kind != wire.ManifestPut && r.ContentLength > q.MaxBody:
		return bodyTooLarge(q.MaxBody)
	}
	return nil
}

// bodyTooLarge is the answer of a proxy: it knows nothing of error codes.
func bodyTooLarge(limit int64) error {
	return &apiError{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("413 Request Entity Too Large: over %d bytes", limit)}
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
