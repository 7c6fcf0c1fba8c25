package store

import "fmt"

// Answer is yes, no or unknown. Unknown is never treated or kept as no.
type Answer int

// The three answers; the zero value is Unknown.
const (
	Unknown Answer = iota
	Yes
	No
)

// String gives "unknown", "yes" or "no".
func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "unknown"
}

// MarshalText makes an answer its word in JSON.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads a word that String gives.
func (a *Answer) UnmarshalText(text []byte) error {
	for _, known := range []Answer{Unknown, Yes, No} {
		if known.String() == string(text) {
			*a = known
			return nil
		}
	}
	return fmt.Errorf("%w: %q is not yes, no or unknown", ErrInvalid, text)
}

// Ability is something that one store can do and another cannot.
type Ability string

// The abilities that stores differ in. Local stores have most of them; a
// registry's are found out by use and by remote.Probe.
const (
	AbilityAPI                   Ability = "api"                     // GET /v2/ (distribution-spec end-1)
	AbilityAuth                  Ability = "auth"                    // asks who one is; value: the scheme, such as "bearer"
	AbilityReferrersAPI          Ability = "referrers-api"           // GET referrers/<digest> (end-12)
	AbilityReferrersFilter       Ability = "referrers-filter"        // ?artifactType= on it (end-12b)
	AbilityOCISubject            Ability = "oci-subject"             // PUT of a manifest with subject answers OCI-Subject
	AbilityArtifactType          Ability = "artifact-type"           // takes image manifests with artifactType and the empty config
	AbilityEmptyLayers           Ability = "empty-layers"            // takes image manifests without layers
	AbilityNestedIndex           Ability = "nested-index"            // takes an index in an index
	AbilityArtifactManifests     Ability = "artifact-manifests"      // takes application/vnd.oci.artifact.manifest.v1+json
	AbilityORASArtifactManifests Ability = "oras-artifact-manifests" // takes application/vnd.cncf.oras.artifact.manifest.v1+json
	AbilitySHA512                Ability = "sha512"                  // blobs and manifests named by sha512
	AbilityMaxManifest           Ability = "max-manifest"            // takes manifests of 4 MiB; value: the largest that was tried and taken, in bytes
	AbilityMount                 Ability = "mount"                   // cross-repository mount (end-11)
	AbilityMountAnywhere         Ability = "mount-without-from"      // the same without the name of a repository
	AbilitySinglePost            Ability = "single-post"             // POST with digest and body (end-4b)
	AbilityChunked               Ability = "chunked"                 // PATCH (end-5); value: the smallest chunk in bytes where it names one
	AbilityChunkOrder            Ability = "chunk-order"             // refuses a chunk that begins elsewhere (end-5, 416)
	AbilityUploadResume          Ability = "upload-resume"           // GET of an upload tells how far it is (end-13)
	AbilityUploadCancel          Ability = "upload-cancel"           // DELETE of an upload (end-14)
	AbilityRanges                Ability = "ranges"                  // Range on blobs; value: the host that blobs are redirected to
	AbilityTagDelete             Ability = "tag-delete"              // DELETE of a tag leaves the manifest
	AbilityManifestDelete        Ability = "manifest-delete"
	AbilityBlobDelete            Ability = "blob-delete"
	AbilityMultiTag              Ability = "multi-tag"  // PUT by digest with ?tag= (end-7b)
	AbilityTagPaging             Ability = "tag-paging" // n and Link on tags/list
	AbilityCatalog               Ability = "catalog"    // _catalog
	AbilityHTTP2                 Ability = "http2"
	AbilityWarnings              Ability = "warnings" // header Warning; value: the text
)

// Abilities are all of them, in the order in which people are shown them.
func Abilities() []Ability {
	return []Ability{
		AbilityAPI, AbilityAuth, AbilityReferrersAPI, AbilityReferrersFilter, AbilityOCISubject, AbilityArtifactType,
		AbilityEmptyLayers, AbilityNestedIndex, AbilityArtifactManifests, AbilityORASArtifactManifests, AbilitySHA512,
		AbilityMaxManifest, AbilityMount, AbilityMountAnywhere, AbilitySinglePost, AbilityChunked, AbilityChunkOrder,
		AbilityUploadResume, AbilityUploadCancel, AbilityRanges, AbilityTagDelete, AbilityManifestDelete, AbilityBlobDelete,
		AbilityMultiTag, AbilityTagPaging, AbilityCatalog, AbilityHTTP2, AbilityWarnings,
	}
}

// Evidence is what an answer rests on.
type Evidence struct {
	Request string `json:"request,omitempty"` // method and path
	Status  int    `json:"status,omitempty"`  // HTTP status of the answer
	Code    string `json:"code,omitempty"`    // error code of the distribution-spec
	Header  string `json:"header,omitempty"`  // the header that decided, "Name: value"
	As      string `json:"as,omitempty"`      // who asked: "anonymous" or the user name
	Note    string `json:"note,omitempty"`    // a sentence where the rest does not say it
}

// Finding is an answer with its evidence, and the value that belongs to it
// where the ability has one.
type Finding struct {
	Answer   Answer   `json:"answer"`
	Value    string   `json:"value,omitempty"`
	Evidence Evidence `json:"evidence"`
}

// Support is what is known of a store's abilities. What is not in it is Unknown.
type Support map[Ability]Finding

// Of gives the answer for one ability.
func (s Support) Of(a Ability) Answer { return s[a].Answer }

// Carriage says whether one sort of content can be copied to a store.
type Carriage struct {
	What    string  `json:"what"`    // the content, in words
	Ability Ability `json:"ability"` // what it takes
	Answer  Answer  `json:"answer"`
	Note    string  `json:"note,omitempty"` // how it is done, or that the source has none
}

// Carry compares two stores: what of the first can be copied to the second
// with its digest as it is. It knows kinds of content only, not what lies in
// the first.
func Carry(from, to Support) []Carriage {
	var all []Carriage
	for _, c := range []Carriage{
		{What: "image manifests with an artifactType", Ability: AbilityArtifactType},
		{What: "image manifests without layers", Ability: AbilityEmptyLayers},
		{What: "indexes in indexes", Ability: AbilityNestedIndex},
		{What: "OCI artifact manifests", Ability: AbilityArtifactManifests},
		{What: "ORAS artifact manifests", Ability: AbilityORASArtifactManifests},
		{What: "content named by sha512", Ability: AbilitySHA512},
		{What: "manifests up to 4 MiB", Ability: AbilityMaxManifest},
	} {
		c.Answer = to.Of(c.Ability)
		extinct := c.Ability == AbilityArtifactManifests || c.Ability == AbilityORASArtifactManifests
		switch {
		case c.Answer != Yes && from.Of(c.Ability) == No:
			c.Note = "the source takes none either"
		case c.Answer == No && extinct:
			c.Note = "unless they are converted, which gives them other digests"
		}
		all = append(all, c)
	}
	return append(all, carryReferrers(to))
}

// carryReferrers: referrers can always be copied. How they are listed there
// differs (distribution-spec "Referrers tag schema").
func carryReferrers(to Support) Carriage {
	c := Carriage{What: "referrers", Ability: AbilityReferrersAPI, Answer: Yes}
	switch to.Of(AbilityReferrersAPI) {
	case Yes:
		c.Note = "listed by the referrers API"
	case No:
		c.Note = "listed under the referrers tag, which clients write"
	default:
		c.Answer, c.Note = Unknown, "whether there is a referrers API is not known"
	}
	return c
}
