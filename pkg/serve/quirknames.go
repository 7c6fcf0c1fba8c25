package serve

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// quirks are all quirks by their names.
func quirks() []quirk {
	return slices.Concat(manifestQuirks(), referrersQuirks(), listQuirks(), deleteQuirks(), uploadQuirks(), blobQuirks(), otherQuirks())
}

// with is a quirk that sets a field from a value, which name tells of behind "=".
func with[T any](name, help string, field func(q *Quirks) *T, read func(value string) (T, error)) quirk {
	set := func(q *Quirks, value string) error {
		v, err := read(value)
		if err == nil {
			*field(q) = v
		}
		return err
	}
	return quirk{name, help, set, func(q *Quirks) { var zero T; *field(q) = zero }}
}

func flag(name, help string, field func(q *Quirks) *bool) quirk {
	return with(name, help, field, func(string) (bool, error) { return true, nil })
}

func size(name, help string, field func(q *Quirks) *int64) quirk {
	return with(name+"=BYTES", help, field, readSize)
}

func answers(name, help string, field func(q *Quirks) *Answer) quirk {
	return with(name+"=ANSWER", help, field, readAnswer)
}

// status is a quirk that takes one of a few statuses.
func status(name, help string, field func(q *Quirks) *int, allowed ...int) quirk {
	return with(name+"=STATUS", help, field, func(value string) (int, error) {
		n, err := strconv.Atoi(value)
		if err != nil || !slices.Contains(allowed, n) {
			return 0, fmt.Errorf("%w: %s takes one of %v, not %q", store.ErrUsage, name, allowed, value)
		}
		return n, nil
	})
}

func manifestQuirks() []quirk {
	return []quirk{
		flag("any-manifest", "any media type is taken as a manifest (go-containerregistry)", func(q *Quirks) *bool { return &q.AnyManifest }),
		flag("artifact-manifests", "takes OCI and ORAS artifact manifests (zot before 2.0)", func(q *Quirks) *bool { return &q.ArtifactManifests }),
		flag("no-docker", "Docker's manifests are an unknown type (zot)", func(q *Quirks) *bool { return &q.NoDocker }),
		with("refusal=REGISTRY", "an unknown type is refused like by "+strings.Join(refusalNames(), ", "),
			func(q *Quirks) *string { return &q.Refusal }, readRefusal),
		flag("type-before-auth", "an unknown type is refused before the sign-in (Quay)", func(q *Quirks) *bool { return &q.TypeBeforeAuth }),
		flag("sparse", "takes a manifest whose blobs or children are absent (zot 1.4)", func(q *Quirks) *bool { return &q.Sparse }),
		flag("absent-blobs", "takes a manifest whose blobs are absent (go-containerregistry)", func(q *Quirks) *bool { return &q.AbsentBlobs }),
		answers("absent-blob", "to a manifest whose blobs are absent (zot: 400:MANIFEST_INVALID)", func(q *Quirks) *Answer { return &q.AbsentBlob }),
		answers("absent-child", "to an index whose manifests are absent (go-containerregistry: 404:MANIFEST_UNKNOWN)", func(q *Quirks) *Answer { return &q.AbsentChild }),
		answers("wrong-digest", "to a manifest at another digest (zot: 400:MANIFEST_INVALID)", func(q *Quirks) *Answer { return &q.WrongDigest }),
		flag("no-digest-check", "201 on a manifest at another digest (go-containerregistry)", func(q *Quirks) *bool { return &q.NoDigestCheck }),
		flag("layers-required", "an image manifest needs a layer (ECR)", func(q *Quirks) *bool { return &q.LayersRequired }),
		flag("subject-must-exist", "400 on a manifest whose subject is absent (GitLab)", func(q *Quirks) *bool { return &q.SubjectMustExist }),
		flag("strict-accept", "404 on manifests that Accept does not name (Distribution)", func(q *Quirks) *bool { return &q.StrictAccept }),
		flag("digest-tags", "the tag sha256-HEX is read as the digest (GitLab)", func(q *Quirks) *bool { return &q.DigestTags }),
		flag("multi-tag-off", "?tag= is ignored (Distribution)", func(q *Quirks) *bool { return &q.NoMultiTag }),
		size("max-manifest", "413 on larger manifests", func(q *Quirks) *int64 { return &q.MaxManifest }),
		answers("large-manifest", "to a manifest that is too large (Distribution: 400:MANIFEST_INVALID)", func(q *Quirks) *Answer { return &q.LargeManifest }),
	}
}

func referrersQuirks() []quirk {
	return []quirk{
		flag("no-referrers-api", "referrers are 404 (Distribution, GHCR)", func(q *Quirks) *bool { return &q.NoReferrersAPI }),
		answers("referrers", "to every listing of referrers (ECR: 405:UNSUPPORTED)", func(q *Quirks) *Answer { return &q.Referrers }),
		status("referrers-redirect", "referrers lead to a page that answers 429 (GHCR: 303)", func(q *Quirks) *int { return &q.ReferrersRedirect },
			http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect),
		flag("referrers-need-repo", "404 on referrers in an absent repository (go-containerregistry)", func(q *Quirks) *bool { return &q.ReferrersNeedRepo }),
		status("referrers-bad-digest", "to referrers of what is no digest (olareg: 200, zot: 400)", func(q *Quirks) *int { return &q.ReferrersBadDigest },
			http.StatusOK, http.StatusBadRequest),
		answers("unknown-subject", "to referrers of an absent digest (Quay: 400:MANIFEST_INVALID)", func(q *Quirks) *Answer { return &q.UnknownSubject }),
		flag("no-oci-subject", "OCI-Subject is not sent (Quay)", func(q *Quirks) *bool { return &q.NoOCISubject }),
		flag("false-oci-subject", "OCI-Subject even without a referrers API (Docker Hub in 2024)", func(q *Quirks) *bool { return &q.FalseOCISubject }),
		flag("no-filter", "referrers are not filtered (go-containerregistry)", func(q *Quirks) *bool { return &q.NoFilter }),
		flag("no-filter-header", "referrers are filtered without OCI-Filters-Applied (zot 1.4)", func(q *Quirks) *bool { return &q.NoFilterHeader }),
		flag("unlisted-artifacts", "artifact manifests are no referrers (cuelabs ociregistry)", func(q *Quirks) *bool { return &q.UnlistedArtifacts }),
	}
}

func listQuirks() []quirk {
	return []quirk{
		with("page-size=N", "lists come in pages of N, whatever n says", func(q *Quirks) *int { return &q.PageSize }, readCount),
		with("max-page=N", "400 where n is more than N (ECR: 1000)", func(q *Quirks) *int { return &q.MaxPage }, readCount),
		flag("no-paging", "n and last of a list of tags are ignored (Distribution 2.8)", func(q *Quirks) *bool { return &q.NoPaging }),
		flag("unsorted", "tags come in no order (Distribution 2.8)", func(q *Quirks) *bool { return &q.Unsorted }),
		flag("last-must-exist", "404 where last is no tag (zot)", func(q *Quirks) *bool { return &q.LastMustExist }),
		flag("no-link", "lists are cut short without Link (go-containerregistry)", func(q *Quirks) *bool { return &q.NoLink }),
		flag("no-link-brackets", "Link without <> (zot 1.4)", func(q *Quirks) *bool { return &q.NoLinkBrackets }),
		flag("no-link-quotes", "Link with rel=next (olareg)", func(q *Quirks) *bool { return &q.NoLinkQuotes }),
		flag("catalog-last-link", "Link even on the last page of _catalog (zot)", func(q *Quirks) *bool { return &q.CatalogLastLink }),
		flag("empty-tags", "an absent repository has an empty list of tags (olareg)", func(q *Quirks) *bool { return &q.EmptyTags }),
		flag("catalog-off", "_catalog is 404 (Docker Hub)", func(q *Quirks) *bool { return &q.NoCatalog }),
	}
}

func deleteQuirks() []quirk {
	return []quirk{
		flag("no-tag-delete", "405 on DELETE of a tag (ACR)", func(q *Quirks) *bool { return &q.NoTagDelete }),
		flag("no-delete", "405 on DELETE of tags, manifests and blobs (GHCR)", func(q *Quirks) *bool { return &q.NoDelete }),
		answers("tag-delete", "to DELETE of a tag (Distribution 2.8: 400:DIGEST_INVALID)", func(q *Quirks) *Answer { return &q.TagDelete }),
		flag("untag-deletes", "DELETE of a tag deletes its manifest with all its tags", func(q *Quirks) *bool { return &q.UntagDeletes }),
		answers("manifest-delete", "to DELETE of a manifest (ECR: 404)", func(q *Quirks) *Answer { return &q.ManifestDelete }),
		answers("blob-delete", "to DELETE of a blob (Artifactory: 405)", func(q *Quirks) *Answer { return &q.BlobDelete }),
		answers("member-delete", "to DELETE of what a tagged index names (zot: 405:DENIED)", func(q *Quirks) *Answer { return &q.MemberDelete }),
	}
}

func uploadQuirks() []quirk {
	return []quirk{
		flag("no-single-post", "202 on POST with a digest (Distribution)", func(q *Quirks) *bool { return &q.NoSinglePost }),
		flag("no-mount", "202 on every mount (Artifactory)", func(q *Quirks) *bool { return &q.NoMount }),
		flag("mount-anywhere", "a mount without from finds the blob in any repository (zot)", func(q *Quirks) *bool { return &q.MountAnywhere }),
		flag("mount-needs-from", "202 on a mount without from (Distribution)", func(q *Quirks) *bool { return &q.MountNeedsFrom }),
		answers("mount-without-from", "to a mount without from (Quay: 400)", func(q *Quirks) *Answer { return &q.MountWithoutFrom }),
		answers("mount-absent", "to a mount of what is not there (cuelabs ociregistry: 404:BLOB_UNKNOWN)", func(q *Quirks) *Answer { return &q.MountAbsent }),
		flag("no-chunked", "405 on PATCH (GAR)", func(q *Quirks) *bool { return &q.NoChunked }),
		size("chunk-min", "a shorter chunk must be the last (Cloudsmith, ECR)", func(q *Quirks) *int64 { return &q.ChunkMin }),
		size("chunk-max", "416 on a longer chunk (GHCR)", func(q *Quirks) *int64 { return &q.ChunkMax }),
		flag("chunk-anywhere", "a chunk out of order is appended (Distribution 2.8)", func(q *Quirks) *bool { return &q.ChunkAnywhere }),
		with("chunk-order-code=CODE", "of the 416 to a chunk out of order (olareg: SIZE_INVALID)",
			func(q *Quirks) *string { return &q.ChunkOrderCode }, readCode),
		flag("chunk-created", "201 on PATCH (ECR)", func(q *Quirks) *bool { return &q.ChunkCreated }),
		flag("no-progress", "Range of an upload stays 0-0 (ECR)", func(q *Quirks) *bool { return &q.NoProgress }),
		flag("range-unit", "Range of an upload is bytes=0-N (Quay)", func(q *Quirks) *bool { return &q.RangeUnit }),
		answers("upload-status", "to GET of an upload (ECR: 404)", func(q *Quirks) *Answer { return &q.UploadStatus }),
		answers("upload-cancel", "to DELETE of an upload (cuelabs ociregistry: 405)", func(q *Quirks) *Answer { return &q.UploadCancel }),
		size("max-body", "413 on larger bodies of an upload (a proxy)", func(q *Quirks) *int64 { return &q.MaxBody }),
	}
}

func blobQuirks() []quirk {
	return []quirk{
		flag("redirect-blobs", "307 on GET of a blob (ACR)", func(q *Quirks) *bool { return &q.RedirectBlobs }),
		flag("no-range", "Range on blobs is ignored", func(q *Quirks) *bool { return &q.NoRange }),
		answers("bad-range", "to a range that the blob does not have (Distribution: 416)", func(q *Quirks) *Answer { return &q.BadRange }),
		flag("no-open-range", "416 on a range without an end (go-containerregistry)", func(q *Quirks) *bool { return &q.NoOpenRange }),
		flag("no-accept-ranges", "no Accept-Ranges, but ranges (zot)", func(q *Quirks) *bool { return &q.NoAcceptRanges }),
		flag("no-sha512", "400 on sha512 (cuelabs ociregistry)", func(q *Quirks) *bool { return &q.NoSHA512 }),
		flag("canonical-sha256", "a blob pushed by sha512 is answered by sha256, a manifest is 400 (Distribution)", func(q *Quirks) *bool { return &q.CanonicalSHA256 }),
		flag("no-digest-header", "no Docker-Content-Digest", func(q *Quirks) *bool { return &q.NoDigestHeader }),
		flag("no-tag-digest-header", "no Docker-Content-Digest on a manifest by tag (ECR)", func(q *Quirks) *bool { return &q.NoTagDigestHeader }),
		flag("wrong-digest-header", "Docker-Content-Digest is of something else", func(q *Quirks) *bool { return &q.WrongDigestHeader }),
	}
}

func otherQuirks() []quirk {
	return []quirk{
		flag("absolute-location", "Location and Link have scheme and host (Distribution)", func(q *Quirks) *bool { return &q.AbsoluteLocation }),
		{
			"relative-location", "Location and Link are paths (the default)",
			func(q *Quirks, _ string) error { q.AbsoluteLocation = false; return nil }, func(*Quirks) {},
		},
		flag("read-only", "405 on every change (Quay)", func(q *Quirks) *bool { return &q.ReadOnly }),
		flag("repo-must-exist", "404 on a push into a new repository (ECR)", func(q *Quirks) *bool { return &q.RepoMustExist }),
		flag("text-errors", "errors in JSON are called text/plain (olareg)", func(q *Quirks) *bool { return &q.TextErrors }),
		flag("html-404", "404s are HTML pages (GAR)", func(q *Quirks) *bool { return &q.HTML404 }),
		flag("html-login", "unknown paths lead to an HTML page with 200 (GAR)", func(q *Quirks) *bool { return &q.HTMLLogin }),
		flag("extensions", "lists its extensions: none (zot)", func(q *Quirks) *bool { return &q.Extensions }),
		status("options", "to OPTIONS of content: 200 with Allow (Distribution) or 204 (zot)", func(q *Quirks) *int { return &q.OptionsStatus },
			http.StatusOK, http.StatusNoContent),
		with("busy=N", "429 with Retry-After: 1 to the first N requests", func(q *Quirks) *int { return &q.Busy }, readCount),
		with("at-once=N", "429 above N requests at once", func(q *Quirks) *int { return &q.AtOnce }, readCount),
		with("rate=N", "429 with Retry-After: 1 above N requests in a second (ECR)", func(q *Quirks) *int { return &q.Rate }, readCount),
		with("warning=TEXT", "a Warning with every answer", func(q *Quirks) *string { return &q.Warning }, readWarning),
	}
}

// readSize reads a number of bytes: digits, with KiB, MiB or GiB where wanted.
func readSize(value string) (int64, error) {
	digits, shift := value, 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if d, ok := strings.CutSuffix(value, unit); ok {
			digits, shift = d, 10*(i+1)
		}
	}
	n, ok := decimal(digits)
	if !ok || n == 0 || n > 1<<60>>shift {
		return 0, fmt.Errorf("%w: %q is not a size such as 65536 or 5MiB", store.ErrUsage, value)
	}
	return n << shift, nil
}

func readCount(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%w: %q is not a count of 1 or more", store.ErrUsage, value)
	}
	return n, nil
}

var codeGrammar = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

func readCode(value string) (string, error) {
	if !codeGrammar.MatchString(value) {
		return "", fmt.Errorf("%w: %q is not a code such as UNSUPPORTED", store.ErrUsage, value)
	}
	return value, nil
}

// readAnswer reads "405:UNSUPPORTED", or "405" for an answer in plain text.
func readAnswer(value string) (Answer, error) {
	number, code, hasCode := strings.Cut(value, ":")
	n, err := strconv.Atoi(number)
	if err != nil || n < 400 || n > 599 || hasCode && !codeGrammar.MatchString(code) {
		return Answer{}, fmt.Errorf("%w: %q is not an answer such as 405:UNSUPPORTED or 404", store.ErrUsage, value)
	}
	return Answer{n, code}, nil
}

// readWarning refuses what would break a header (RFC 9110 §5.5).
func readWarning(value string) (string, error) {
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("%w: a warning is one line of text", store.ErrUsage)
	}
	return value, nil
}
