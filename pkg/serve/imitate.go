package serve

import (
	"fmt"
	"slices"

	"github.com/stet-oci/stet/pkg/store"
)

// Imitation is a registry of the field as a set of quirks.
type Imitation struct {
	Name   string
	Help   string   // which registry, in a line
	Source string   // what is known of it, and from where
	Quirks []string // as Quirks.Set reads them, in this order
}

// Imitate is the quirks of a registry by the name of an Imitation. What is
// not known of a registry is served as the spec has it. It is ErrUsage for a
// name that is none.
func Imitate(name string) (Quirks, error) {
	for _, i := range Imitations() {
		if i.Name == name {
			return ParseQuirks(i.Quirks...)
		}
	}
	return Quirks{}, fmt.Errorf("%w: there is no imitation %q", store.ErrUsage, name)
}

// Imitations lists what Imitate knows: first those that were run, then those
// that are known from what others wrote.
//
// The mark behind each quirk says where the fact comes from:
//
//	run     we sent the request and read the answer
//	source  read in the registry's source
//	issue   somebody's report in an issue or pull request, with its date
//	vendor  the vendor's own conformance results (opencontainers/oci-conformance)
//
// Hosted registries change; a date says when something was true.
func Imitations() []Imitation {
	return slices.Concat(distributions(), zots(), memories(), hosted(), installed())
}

// distributions, zots and memories were run in the summer of 2026.
func distributions() []Imitation {
	return []Imitation{
		{"distribution-2.8", "CNCF Distribution 2.8.2 with deletion on", "run", append([]string{
			"refusal=distribution-2.8", // run: detail {}
			"no-paging", "unsorted",    // run: tags/list knows neither n nor an order
			"chunk-anywhere",                // run: 202, and appends
			"tag-delete=400:DIGEST_INVALID", // run
		}, distribution()...)},
		{"distribution-3", "CNCF Distribution 3.0", "run", append([]string{
			"refusal=distribution-3",         // run: detail names the type
			"chunk-order-code=RANGE_INVALID", // run
		}, distribution()...)},
	}
}

func zots() []Imitation {
	return []Imitation{
		{"zot", "zot 2.1, main of summer 2026", "run", []string{
			"refusal=zot",                       // run: 415 with an object
			"no-docker",                         // run: 415, unless it is configured to take them
			"wrong-digest=400:MANIFEST_INVALID", // run
			"absent-blob=400:MANIFEST_INVALID",  // run; of an absent child only the 400 is noted
			"referrers-bad-digest=400",          // run: no body
			"last-must-exist",                   // run: no body
			"catalog-last-link",                 // run
			"member-delete=405:DENIED",          // run
			"mount-anywhere",                    // run
			"no-accept-ranges",                  // run
			"options=204", "extensions",         // run
			// OCI-Filters-Applied: sent by one build that was run, not by
			// another; left at the default. Docker's manifests without no-docker: by configuration.
		}},
		{"zot-1.4", "zot 1.4.3: takes artifact manifests", "run", []string{
			"artifact-manifests",  // run: 201, 200, listed as referrer
			"refusal=zot",         // run: 415 on an unknown type; its detail is that of later releases
			"no-docker",           // run: 415
			"sparse",              // run: 201 for absent layers and children
			"no-oci-subject",      // run
			"no-filter-header",    // run: filtered, by the config's type
			"referrers-need-repo", // run
			"no-sha512",           // run
			"multi-tag-off",       // run
			"no-link-brackets",    // run
			"mount-anywhere",      // run
			"max-manifest=64MiB",  // run: 201 at 5 MiB; the real limit is unknown
		}},
	}
}

// memories are registries that tests run in a process.
func memories() []Imitation {
	return []Imitation{
		{"olareg", "olareg 0.2.2 as it is set up by default", "run", []string{
			"bad-range=416",                // run: in plain text
			"refusal=olareg",               // run: detail is a string
			"text-errors",                  // run: JSON that is called text/plain
			"no-delete",                    // run: 405 UNSUPPORTED, configurable
			"referrers-bad-digest=200",     // run
			"empty-tags", "no-link-quotes", // run
			"catalog-off",                   // run
			"mount-needs-from",              // run
			"chunk-order-code=SIZE_INVALID", // run: with Range
			"max-manifest=8MiB",             // run
			// n=0 makes it end the connection, and the Range of an upload without
			// content is "0--1"; that is not imitated.
		}},
		{"go-containerregistry", "go-containerregistry 0.22, crane registry serve", "run, source", []string{
			"chunk-order-code=BLOB_UPLOAD_UNKNOWN", // run
			"bad-range=416:BLOB_UNKNOWN",           // run
			"no-accept-ranges",                     // run
			"text-errors",                          // run
			"any-manifest",                         // run
			"no-digest-check",                      // run: 201 at a wrong digest; source: stored under both
			"absent-blobs",                         // run
			"absent-child=404:MANIFEST_UNKNOWN",    // run
			"no-oci-subject", "no-filter",          // run, with referrers switched on
			"referrers-need-repo",                                              // the same
			"referrers=404:METHOD_UNKNOWN",                                     // run: unless switched on; "referrers=off" does that
			"multi-tag-off",                                                    // run
			"no-link",                                                          // run: n cuts, nothing leads on
			"no-mount",                                                         // run
			"no-open-range",                                                    // run: 416 on bytes=100-
			"upload-status=400:NAME_INVALID", "upload-cancel=400:NAME_INVALID", // run
			"max-manifest=64MiB", // run: 201 at 5 MiB; source: no limit
		}},
		{"cuelabs", "cuelabs ociregistry over memory", "run", []string{
			"bad-range=500:UNKNOWN",                               // run
			"chunk-order-code=RANGE_INVALID",                      // run
			"mount-absent=404:BLOB_UNKNOWN",                       // run
			"any-manifest",                                        // run
			"unlisted-artifacts",                                  // run: artifact manifests are taken and not listed
			"absent-blob=500:UNKNOWN", "absent-child=500:UNKNOWN", // run
			"referrers-need-repo",       // run
			"no-sha512",                 // run
			"multi-tag-off",             // run
			"chunk-min=8KiB",            // run
			"mount-needs-from",          // run
			"upload-cancel=405:UNKNOWN", // run
			"max-manifest=64MiB",        // run: 201 at 5 MiB
		}},
	}
}

// distribution is what Distribution 2.8 and 3 have in common.
func distribution() []string {
	return []string{
		"no-referrers-api", "no-oci-subject", // run: 404 page not found
		"strict-accept",                       // run: for */* as well
		"large-manifest=400:MANIFEST_INVALID", // run, over 4 MiB
		"canonical-sha256",                    // run: blobs 201 by sha256, manifests 400
		"multi-tag-off",                       // run
		"no-single-post",                      // run
		"mount-needs-from",                    // run
		"bad-range=416",                       // run: in plain text
		"absolute-location",                   // run
		"options=200",                         // run
	}
}

// hosted are services. They are known second-hand: nobody signed in to them
// for this.
func hosted() []Imitation {
	return []Imitation{
		{"ecr", "Amazon ECR", "issues of 2022 to 2026", []string{
			"refusal=ecr",                                              // issue: oras #690 (2022-11), #1133 (2023)
			"layers-required",                                          // issue: image-spec #1025 (2023-02); that it answers like to an unknown type is a guess
			"repo-must-exist",                                          // issue
			"referrers=405:UNSUPPORTED",                                // issue: containers-roadmap #2783 (2026-03-06); soci #1327 (2024) saw the API work; the code is a guess
			"false-oci-subject",                                        // issue: sigstore-js #1183 (2024-06-11)
			"no-tag-digest-header",                                     // issue
			"tag-delete=404", "manifest-delete=404", "blob-delete=404", // issue: fluxcd/pkg #328
			"max-page=1000",                                                       // source of go-containerregistry; the status is a guess
			"chunk-created", "chunk-min=5MiB", "no-progress", "upload-status=404", // issue: #2831 (2026-06-24)
		}},
		{"ghcr", "GitHub Container Registry", "issues of 2022 to 2026", []string{
			// Artifact manifests: unknown, left at the default.
			"no-referrers-api", // issue: 404; artifacthub #4785 (2026-04-24) met "referrers-redirect=303"
			"no-oci-subject",   // issue
			"no-delete",        // issue: skopeo #1880
			"chunk-max=4MiB",   // issue: ocx #237 (2026-07-26)
			"strict-accept",    // issue: release-argus/Argus #459 (2024-10), dockerapplifecycle #13 (2024-02)
			"redirect-blobs",   // issue: signed URLs that live for minutes
		}},
		{"docker-hub", "Docker Hub", "issues of 2022 to 2024", []string{
			"refusal=docker-hub",       // issue: hub-feedback #2307 (2023-02-04) 404; oras #557 (2022) 400
			"subject-must-exist",       // issue: oras #666 (2022-11)
			"no-tag-delete",            // issue: by digest only; the status is a guess
			"member-delete=403:DENIED", // issue: 403; the code is a guess
			"catalog-off",              // issue
			// In March 2024 it also had "no-referrers-api" and "false-oci-subject"
			// (hub-feedback #2372); later not (sigstore-js #1057).
		}},
		{"gar", "Google Artifact Registry", "issues of 2023 to 2024", []string{
			// Artifact manifests: unknown, left at the default. Until 2024-10-03
			// it had "no-referrers-api" too.
			"html-login", // issue: oras-go #633
			"no-chunked", // issue: no PATCH; the status is a guess
			"no-paging",  // issue
		}},
		{"acr", "Azure Container Registry", "vendor 2024-06, issues", []string{
			// It took artifact manifests late in 2022 (oras-go #362); today is
			// unknown, and left at the default.
			"no-tag-delete",    // vendor
			"mount-needs-from", // vendor
			"chunk-order-code=BLOB_UPLOAD_RANGE_INVALID", // vendor
			"redirect-blobs", // vendor: without Docker-Content-Digest
			"strict-accept",  // issue: Azure/acr #764 (2024-06)
		}},
	}
}

// installed are products that somebody else runs.
func installed() []Imitation {
	return []Imitation{
		{"quay", "Quay, main of August 2026", "source, issues", []string{
			"refusal=quay", "type-before-auth", // source
			"wrong-digest=400:MANIFEST_INVALID",    // source: status and sentence; the code is a guess
			"no-oci-subject",                       // source
			"unknown-subject=400:MANIFEST_INVALID", // issue: PROJQUAY-7523
			"mount-without-from=400",               // issue: fails; the status is a guess
			"blob-delete=405:UNSUPPORTED",          // source: 405
			"range-unit",                           // source
			// A manifest without a tag goes after an hour; that is not imitated.
		}},
		{"harbor", "Harbor 2.9 and later", "source, issues", []string{
			"refusal=distribution-2.8",   // source: Distribution 2.8.3 is behind it
			"tag-delete=400:UNSUPPORTED", // issue
			// Uploads go to the Distribution behind it; how much of that comes
			// through is unknown, and left at the default.
		}},
		{"gitlab", "GitLab container registry", "issues", []string{
			"refusal=gitlab",     // issue: its allow-list of config types is not imitated
			"no-referrers-api",   // issue: #1205
			"subject-must-exist", // issue: MR 2927
			"digest-tags",        // issue: oras-go #1396 (2026)
		}},
		{"artifactory", "JFrog Artifactory 7.93", "vendor", []string{
			// Artifact manifests: unknown, left at the default.
			"no-mount",        // vendor
			"blob-delete=405", // vendor: not JSON
		}},
	}
}
