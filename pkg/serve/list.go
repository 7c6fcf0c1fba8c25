package serve

import (
	"iter"
	"net/http"
	"net/url"
	"slices"

	"github.com/stet-oci/stet/internal/wire"
)

// tagList is distribution-spec "Listing Tags" (end-8).
func (s *Server) tagList(w http.ResponseWriter, c *call) error {
	if s.opts.Quirks.NoPaging {
		c.wire.N, c.wire.Last = wire.NoLimit, ""
	}
	if err := s.needLast(c); err != nil {
		return err
	}
	names, more, err := s.page(c.wire, c.store.Tags(c.Context(), ""))
	if s.opts.Quirks.EmptyTags && isAbsent(err) {
		names, err = []string{}, nil
	}
	if err != nil {
		return err
	}
	if s.opts.Quirks.Unsorted {
		slices.Reverse(names)
	}
	s.linkNames(w, c, names, more)
	return writeJSON(w, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.wire.Repo, names})
}

// needLast is the quirk of a registry that knows only tags as a place in the
// list. Its answer has no body.
func (s *Server) needLast(c *call) error {
	if !s.opts.Quirks.LastMustExist || c.wire.Last == "" {
		return nil
	}
	_, err := c.store.Resolve(c.Context(), c.wire.Last)
	if isAbsent(err) {
		return &apiError{status: http.StatusNotFound}
	}
	return err
}

// catalog lists repositories (Docker Registry HTTP API v2; not in the distribution-spec).
func (s *Server) catalog(w http.ResponseWriter, c *call) error {
	names, more, err := s.page(c.wire, s.reg.Repositories(c.Context(), ""))
	if err != nil {
		return err
	}
	s.linkNames(w, c, names, more || s.opts.Quirks.CatalogLastLink && len(names) > 0)
	return writeJSON(w, "application/json", struct {
		Repositories []string `json:"repositories"`
	}{names})
}

// page takes from the names those that a request asks for, and says whether
// more follow. A store lists in its own order, while a page has to begin after
// the name `last` in the order of bytes: so all of them are read and sorted.
func (s *Server) page(req wire.Request, seq iter.Seq2[string, error]) (names []string, more bool, err error) {
	names = []string{}
	for name, err := range seq {
		if err != nil {
			return nil, false, err
		}
		if name > req.Last {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if req.N == 0 {
		return []string{}, false, nil // n=0 is an empty list without a Link
	}
	limit := maxPage
	if req.N != wire.NoLimit {
		limit = min(limit, req.N)
	}
	if p := s.opts.Quirks.PageSize; p > 0 {
		limit = p
	}
	if len(names) > limit {
		return names[:limit], true, nil
	}
	return names, false, nil
}

// linkNames sets the Link to the page after names.
func (s *Server) linkNames(w http.ResponseWriter, c *call, names []string, more bool) {
	if !more || s.opts.Quirks.NoLink {
		return
	}
	next := c.wire
	next.Last = names[len(names)-1]
	if next.N != wire.NoLimit {
		next.N = len(names)
	}
	s.setLink(w, c, next.URL())
}

// setLink sets the Link to the next page (RFC 8288).
func (s *Server) setLink(w http.ResponseWriter, c *call, next *url.URL) {
	target := s.location(c.Request, next)
	if !s.opts.Quirks.NoLinkBrackets {
		target = "<" + target + ">"
	}
	rel := `"next"`
	if s.opts.Quirks.NoLinkQuotes {
		rel = "next"
	}
	w.Header().Set("Link", target+"; rel="+rel)
}
