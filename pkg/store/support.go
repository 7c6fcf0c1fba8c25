package store

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

// Ability is something that one store can do and another cannot.
type Ability string

// The abilities that stores differ in. Local stores have most of them; a
// registry's are found out by use and by remote.Probe.
const (
	AbilityReferrersAPI      Ability = "referrers-api"      // GET referrers/<digest> (distribution-spec end-12)
	AbilityOCISubject        Ability = "oci-subject"        // PUT of a manifest with subject answers OCI-Subject
	AbilityArtifactManifests Ability = "artifact-manifests" // takes application/vnd.oci.artifact.manifest.v1+json
	AbilityMount             Ability = "mount"              // cross-repository mount (end-11)
	AbilitySinglePost        Ability = "single-post"        // POST with digest and body (end-4b)
	AbilityChunked           Ability = "chunked"            // PATCH (end-5)
	AbilityTagDelete         Ability = "tag-delete"
	AbilityManifestDelete    Ability = "manifest-delete"
	AbilityBlobDelete        Ability = "blob-delete"
	AbilityRanges            Ability = "ranges"     // Range on blobs
	AbilitySHA512            Ability = "sha512"     // blobs and manifests named by sha512
	AbilityMultiTag          Ability = "multi-tag"  // PUT by digest with ?tag= (end-7b)
	AbilityCatalog           Ability = "catalog"    // _catalog
	AbilityTagPaging         Ability = "tag-paging" // n and Link on tags/list
)

// Evidence is what an answer rests on.
type Evidence struct {
	Request string `json:"request,omitempty"` // method and path
	Status  int    `json:"status,omitempty"`  // HTTP status of the answer
	Code    string `json:"code,omitempty"`    // error code of the distribution-spec
	Header  string `json:"header,omitempty"`  // the header that decided, "Name: value"
	As      string `json:"as,omitempty"`      // who asked: "anonymous" or the user name
	Note    string `json:"note,omitempty"`    // a sentence where the rest does not say it
}

// Finding is an answer with its evidence.
type Finding struct {
	Answer   Answer
	Evidence Evidence
}

// Support is what is known of a store's abilities. What is not in it is Unknown.
type Support map[Ability]Finding

// Of gives the answer for one ability.
func (s Support) Of(a Ability) Answer { return s[a].Answer }
