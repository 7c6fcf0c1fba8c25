package graph

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// SplitDigestTag reads a tag that is made of a digest: ALG-HEX, as the referrers
// tag of the distribution-spec is ("Referrers tag schema"), or ALG-HEX.SUFFIX, as
// cosign names signatures (sig), attestations (att) and SBOMs (sbom).
func SplitDigestTag(tag string) (d digest.Digest, suffix string, ok bool) {
	name, suffix, _ := strings.Cut(tag, ".")
	algorithm, encoded, found := strings.Cut(name, "-")
	d = digest.NewDigestFromEncoded(digest.Algorithm(algorithm), encoded)
	if !found || d.Validate() != nil {
		return "", "", false
	}
	return d, suffix, true
}

// DigestTags lists the tags of a store that name something about other content
// by that one's digest, as cosign does: tags ALG-HEX.SUFFIX by the digest, in
// the order of the store. Referrers tags, which have no suffix, are not among
// them: Referrers reads those.
func DigestTags(ctx context.Context, src store.Reader) (map[digest.Digest][]string, error) {
	found := map[digest.Digest][]string{}
	for tag, err := range src.Tags(ctx, "") {
		if err != nil {
			return nil, fail(Source, "list tags", store.Descriptor{}, err)
		}
		if d, suffix, ok := SplitDigestTag(tag); ok && suffix != "" {
			found[d] = append(found[d], tag)
		}
	}
	return found, nil
}
