package serve

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// Quirks are deviations from a full registry, each as some real registry has
// it. The zero value has none: everything of the spec works, and the manifest
// kinds that are extinct are refused, as registries of today do.
type Quirks struct {
	// Manifests.
	ArtifactManifests bool   // takes the artifact manifests of image-spec 1.1-rc: zot before 2.0, ORAS distribution
	AnyManifest       bool   // takes any media type as a manifest: go-containerregistry, cuelabs ociregistry
	NoDocker          bool   // refuses Docker's manifests as an unknown type: zot
	Refusal           string // how a type that is unknown is refused, by the name of a registry; "" is 400 MANIFEST_INVALID
	TypeBeforeAuth    bool   // refuses an unknown type before it asks who is there: Quay
	Sparse            bool   // takes a manifest whose blobs or children are absent: zot 1.4
	AbsentBlobs       bool   // takes a manifest whose blobs are absent: go-containerregistry
	AbsentBlob        Answer // instead of 400 MANIFEST_BLOB_UNKNOWN: zot, cuelabs ociregistry
	AbsentChild       Answer // the same for a child of an index
	WrongDigest       Answer // instead of 400 DIGEST_INVALID for a manifest: zot, Quay
	NoDigestCheck     bool   // 201 at a digest that is not the manifest's: go-containerregistry
	LayersRequired    bool   // refuses an image manifest without layers like an unknown type: ECR
	SubjectMustExist  bool   // 400 MANIFEST_BLOB_UNKNOWN for an absent subject: GitLab, Docker Hub in 2022
	StrictAccept      bool   // hides manifests that Accept does not name: Distribution
	DigestTags        bool   // reads the tag sha256-<hex> as the digest: GitLab
	NoMultiTag        bool   // ignores ?tag=: Distribution
	MaxManifest       int64  // 413 on a manifest over this many bytes; 0 is DefaultMaxManifest
	LargeManifest     Answer // instead of that 413: Distribution

	// Subjects and referrers.
	NoReferrersAPI     bool   // referrers are a path that is unknown: Distribution 2.8 and 3, GHCR, GitLab
	Referrers          Answer // to every listing of referrers: ECR
	ReferrersRedirect  int    // status that leads from referrers to a page that answers 429: GHCR
	ReferrersNeedRepo  bool   // 404 NAME_UNKNOWN for referrers in an absent repository: cuelabs ociregistry
	ReferrersBadDigest int    // 200 (olareg) or 400 without a body (zot) for referrers of what is no digest
	UnknownSubject     Answer // to referrers of a digest that the repository does not have: Quay
	NoOCISubject       bool   // keeps a subject without OCI-Subject: Quay, GHCR
	FalseOCISubject    bool   // OCI-Subject without a referrers API: Docker Hub and ECR in 2024
	NoFilter           bool   // ignores ?artifactType=: go-containerregistry
	NoFilterHeader     bool   // filters without saying so: zot 1.4
	UnlistedArtifacts  bool   // leaves artifact manifests out of referrers: cuelabs ociregistry

	// Lists.
	PageSize        int  // lists in pages of this many, whatever n says; 0 is off
	MaxPage         int  // 400 where n is more: ECR
	NoPaging        bool // ignores n and last of a list of tags: Distribution 2.8
	Unsorted        bool // lists tags the wrong way round: Distribution 2.8
	LastMustExist   bool // 404 where last is no tag: zot
	NoLink          bool // cuts a list short without Link: go-containerregistry
	NoLinkBrackets  bool // Link without <>: zot 1.4
	NoLinkQuotes    bool // Link with rel=next: olareg
	CatalogLastLink bool // Link even on the last page of the catalog: zot
	EmptyTags       bool // an absent repository has an empty list of tags: olareg
	NoCatalog       bool // _catalog is a path that is unknown: Docker Hub

	// Deletion.
	NoTagDelete    bool   // 405 on deleting a tag: ACR
	NoDelete       bool   // 405 on every DELETE of content: GHCR, olareg as it is set up by default
	TagDelete      Answer // to deleting a tag: Distribution 2.8, Harbor
	UntagDeletes   bool   // deleting a tag deletes its manifest
	ManifestDelete Answer // to deleting a manifest: ECR
	BlobDelete     Answer // to deleting a blob: Quay, Artifactory
	MemberDelete   Answer // to deleting what a tagged index names: zot, Docker Hub

	// Uploads.
	NoSinglePost     bool   // 202 on POST with a digest: Distribution
	NoMount          bool   // 202 on every mount: Artifactory, go-containerregistry
	MountAnywhere    bool   // mounts without from, out of any repository: zot
	MountNeedsFrom   bool   // 202 on a mount without from: Distribution, olareg
	MountWithoutFrom Answer // to a mount without from: Quay
	MountAbsent      Answer // to a mount from a repository that does not have the blob: cuelabs ociregistry
	NoChunked        bool   // 405 on PATCH: GAR takes blobs in one piece
	ChunkMin         int64  // OCI-Chunk-Min-Length in bytes; a shorter chunk must be the last: Cloudsmith, ECR
	ChunkMax         int64  // 416 on a PATCH of more bytes: GHCR
	ChunkAnywhere    bool   // appends a chunk wherever it says that it begins: Distribution 2.8
	ChunkOrderCode   string // code of the 416 to a chunk out of order; "" is BLOB_UPLOAD_INVALID
	ChunkCreated     bool   // 201 on PATCH: ECR
	NoProgress       bool   // Range of an upload stays 0-0: ECR
	RangeUnit        bool   // Range of an upload is bytes=0-N: Quay
	UploadStatus     Answer // to GET of an upload: ECR
	UploadCancel     Answer // to DELETE of an upload: cuelabs ociregistry
	MaxBody          int64  // 413 on a body of an upload over this many bytes: a proxy before the registry

	// Blobs and digests.
	RedirectBlobs     bool   // 307 on GET of a blob, to another path or to Options.BlobsAt: ACR
	NoRange           bool   // ignores Range on blobs
	BadRange          Answer // instead of 416 SIZE_INVALID for a range that the blob does not have: Distribution
	NoOpenRange       bool   // 416 on a range without an end: go-containerregistry
	NoAcceptRanges    bool   // takes Range and does not say so: zot
	NoSHA512          bool   // 400 on every digest but sha256: cuelabs ociregistry
	CanonicalSHA256   bool   // names every blob by sha256, and refuses manifests of another digest: Distribution
	NoDigestHeader    bool   // no Docker-Content-Digest
	NoTagDigestHeader bool   // no Docker-Content-Digest on a manifest by tag: ECR
	WrongDigestHeader bool   // a Docker-Content-Digest of something else

	// Everything.
	AbsoluteLocation bool   // Location and Link with scheme and host: Distribution
	ReadOnly         bool   // 405 DENIED on every change: Quay in read-only mode
	RepoMustExist    bool   // 404 NAME_UNKNOWN on a push into a new repository: ECR
	TextErrors       bool   // errors in JSON are called text/plain: olareg
	HTML404          bool   // 404s are HTML: GAR, proxies
	HTMLLogin        bool   // unknown paths lead to an HTML page with 200: GAR
	Extensions       bool   // lists its extensions, of which it has none: zot
	OptionsStatus    int    // 200 with Allow (Distribution) or 204 (zot) on OPTIONS of content
	Warning          string // text of a Warning with every answer
	Busy             int    // 429 with Retry-After to this many requests, then no more
	AtOnce           int    // 429 above this many requests at once
	Rate             int    // 429 with Retry-After above this many requests in a second: ECR
}

// Answer is a refusal: a status, and a code of distribution-spec "Error Codes",
// without which the body is plain text. The zero Answer refuses nothing.
type Answer struct {
	Status int
	Code   string
}

// or is the answer, or what the registry says without the quirk.
func (a Answer) or(status int, code string) Answer {
	if a.Status == 0 {
		return Answer{status, code}
	}
	return a
}

// err is nil for the zero Answer.
func (a Answer) err(format string, args ...any) error {
	if a.Status == 0 {
		return nil
	}
	return &apiError{status: a.Status, code: a.Code, message: fmt.Sprintf(format, args...)}
}

// quirk is a name of a quirk, for flags and scripts.
type quirk struct {
	name string // with "=" and a placeholder where it takes a value
	help string
	set  func(q *Quirks, value string) error
	off  func(q *Quirks)
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
	slices.SortFunc(all, func(a, b QuirkName) int { return strings.Compare(a.Name, b.Name) })
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

// Set switches one quirk on, such as "no-mount" or "page-size=1", or off again:
// "no-mount=off".
func (q *Quirks) Set(s string) error {
	name, value, hasValue := strings.Cut(s, "=")
	for _, k := range quirks() {
		known, _, takesValue := strings.Cut(k.name, "=")
		if known != name {
			continue
		}
		if value == "off" {
			k.off(q)
			return nil
		}
		if hasValue != takesValue {
			return fmt.Errorf("%w: quirk %q is written %s", store.ErrUsage, s, k.name)
		}
		return k.set(q, value)
	}
	return fmt.Errorf("%w: there is no quirk %q", store.ErrUsage, s)
}
