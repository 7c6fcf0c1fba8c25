package serve

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// referrers is distribution-spec "Listing Referrers" (end-12). An absent
// subject or repository is an empty list: the spec forbids 404.
func (s *Server) referrers(w http.ResponseWriter, c *call) error {
	q := s.opts.Quirks
	if q.ReferrersRedirect != 0 {
		u := &url.URL{Path: asidePacked + c.wire.Repo + "/referrers/" + c.wire.Digest.String()}
		w.Header().Set("Location", s.location(c.Request, u))
		w.WriteHeader(q.ReferrersRedirect)
		return nil
	}
	if err := s.needSubject(c); err != nil {
		return err
	}
	filter := c.wire.ArtifactType
	if q.NoFilter {
		filter = ""
	}
	all, err := store.Collect(c.store.Referrers(c.Context(), c.wire.Digest, filter))
	if err != nil && !isAbsent(err) {
		return err
	}
	if q.UnlistedArtifacts {
		all = slices.DeleteFunc(all, func(d store.Descriptor) bool {
			return d.MediaType == store.MediaTypeArtifact || d.MediaType == store.MediaTypeORASArtifact
		})
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
	if filter != "" && !q.NoFilterHeader {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return writeReferrers(w, page)
}

func writeReferrers(w http.ResponseWriter, page []store.Descriptor) error {
	if page == nil {
		page = []store.Descriptor{}
	}
	return writeJSON(w, store.MediaTypeIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: store.MediaTypeIndex, Manifests: page,
	})
}

// needSubject is the quirk of registries that want repository or subject to
// be there.
func (s *Server) needSubject(c *call) error {
	q := s.opts.Quirks
	if q.ReferrersNeedRepo {
		if err := s.needRepository(c.Request, c.wire.Repo); err != nil {
			return err
		}
	}
	if q.UnknownSubject.Status == 0 {
		return nil
	}
	_, err := c.store.Resolve(c.Context(), c.wire.Digest.String())
	if isAbsent(err) {
		return q.UnknownSubject.err("the subject %s is unknown", c.wire.Digest)
	}
	return err
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
