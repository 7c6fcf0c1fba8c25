package serve

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// referrers is distribution-spec "Listing Referrers" (end-12). An absent
// subject or repository is an empty list: the spec forbids 404.
func (s *Server) referrers(w http.ResponseWriter, c *call) error {
	filter := c.wire.ArtifactType
	if s.opts.Quirks.NoFilter {
		filter = ""
	}
	all, err := store.Collect(c.store.Referrers(c.Context(), c.wire.Digest, filter))
	if err != nil && !isAbsent(err) {
		return err
	}
	// Pages need an order that does not move when a referrer is added.
	slices.SortFunc(all, func(a, b store.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	page, more, err := s.referrersPage(all, c.URL.Query().Get("last"))
	if err != nil {
		return err
	}
	if more {
		next := c.wire.URL()
		q := next.Query()
		q.Set("last", page[len(page)-1].Digest.String())
		next.RawQuery = q.Encode()
		s.setLink(w, c, next)
	}
	if filter != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return writeJSON(w, store.MediaTypeIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: store.MediaTypeIndex, Manifests: page,
	})
}

// referrersPage takes from the sorted list what comes after the digest last
// and fits into one document. A page has at least one descriptor.
func (s *Server) referrersPage(all []store.Descriptor, last string) (page []store.Descriptor, more bool, err error) {
	page = []store.Descriptor{}
	size := 0
	for _, d := range all {
		if d.Digest.String() <= last {
			continue
		}
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, false, err
		}
		size += len(raw)
		full := size > maxPageBytes || len(page) == s.opts.Quirks.PageSize && s.opts.Quirks.PageSize > 0
		if full && len(page) > 0 {
			return page, true, nil
		}
		page = append(page, d)
	}
	return page, false, nil
}
