package serve

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Paths beside the protocol, where quirks lead to. They ask for no sign-in:
// in the field they belong to another service.
const (
	asidePath   = "/-/"
	asideBlobs  = asidePath + "blobs/"
	asideLogin  = asidePath + "login"
	asidePacked = asidePath + "v2/packages/"
)

// aside answers on the paths that quirks lead to; ok is false on all others.
func (s *Server) aside(w http.ResponseWriter, r *http.Request) (ok bool, err error) {
	q := s.opts.Quirks
	switch p := r.URL.Path; {
	case q.RedirectBlobs && strings.HasPrefix(p, asideBlobs):
		return true, s.asideBlob(w, r, strings.TrimPrefix(p, asideBlobs))
	case q.HTMLLogin && p == asideLogin:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, htmlPage("Sign in"))
		return true, nil
	case q.ReferrersRedirect != 0 && strings.HasPrefix(p, asidePacked):
		return true, &apiError{status: http.StatusTooManyRequests, message: "429 Too Many Requests", header: http.Header{"Retry-After": {"1"}}}
	}
	return false, nil
}

// unknownPath is the answer to what is no request of the protocol.
func (s *Server) unknownPath(w http.ResponseWriter, r *http.Request) error {
	q := s.opts.Quirks
	if r.Method == http.MethodGet && r.URL.Path == "/v2/_oci/ext/discover" && q.Extensions {
		return writeJSON(w, "application/json", map[string][]string{"extensions": {}})
	}
	err := noEndpoint(r)
	var api *apiError
	switch {
	case !errors.As(err, &api):
		return err
	case api.status == http.StatusMethodNotAllowed && r.Method == http.MethodOptions && q.OptionsStatus != 0:
		if q.OptionsStatus == http.StatusOK {
			w.Header()["Allow"] = api.header["Allow"]
		}
		w.WriteHeader(q.OptionsStatus)
		return nil
	case api.status == http.StatusNotFound:
		return s.noRoute(w, r)
	}
	return err
}

// noRoute is the answer to a path that the registry does not know.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) error {
	if !s.opts.Quirks.HTMLLogin {
		return errNoRoute
	}
	w.Header().Set("Location", s.location(r, &url.URL{Path: asideLogin}))
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// redirectBlob leads to where the blob lies. The path bears a signature, like
// that of an object store: whoever has it was allowed to read the blob.
func (s *Server) redirectBlob(w http.ResponseWriter, c *call) error {
	path := c.wire.Repo + "/" + c.wire.Digest.String()
	u := &url.URL{Path: asideBlobs + path, RawQuery: url.Values{"sig": {s.sign(path)}}.Encode()}
	target := s.location(c.Request, u)
	if base := s.opts.BlobsAt; base != "" {
		target = strings.TrimSuffix(base, "/") + u.RequestURI()
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

func (s *Server) sign(path string) string {
	mac := hmac.New(sha256.New, s.secret)
	_, _ = io.WriteString(mac, path) // a hash takes everything
	return hex.EncodeToString(mac.Sum(nil))
}

// asideBlob is the object store behind redirectBlob. It knows ranges and
// nothing of digests.
func (s *Server) asideBlob(w http.ResponseWriter, r *http.Request, path string) error {
	if !hmac.Equal([]byte(r.URL.Query().Get("sig")), []byte(s.sign(path))) {
		return &apiError{status: http.StatusForbidden, message: "403 Forbidden: the signature does not match"}
	}
	i := strings.LastIndex(path, "/")
	req := wire.Request{Kind: wire.BlobGet, Repo: path[:i], Digest: digest.Digest(path[i+1:])}
	switch r.Method {
	case http.MethodGet:
	case http.MethodHead:
		req.Kind = wire.BlobHead
	default:
		return &apiError{status: http.StatusMethodNotAllowed, message: "405 Method Not Allowed"}
	}
	st, err := s.reg.Repository(r.Context(), req.Repo)
	if err != nil {
		return inRepository(req, err)
	}
	defer st.Close()
	return inRepository(req, s.sendBlob(w, &call{Request: r, wire: req, store: st, aside: true}))
}

// namedByIndex says whether an index under a tag names the manifest.
func namedByIndex(c *call, d digest.Digest) (bool, error) {
	for tag, err := range c.store.Tags(c.Context(), "") {
		if err != nil {
			return false, err
		}
		m, err := c.store.Manifest(c.Context(), tag)
		if isAbsent(err) {
			continue // its tag went meanwhile
		}
		if err != nil {
			return false, err
		}
		o, err := store.ParseOutline(m)
		if err != nil {
			continue // a kind without children
		}
		for _, child := range o.Manifests {
			if child.Digest == d {
				return true, nil
			}
		}
	}
	return false, nil
}

// htmlPage is a page of one line.
func htmlPage(title string) string {
	return "<!DOCTYPE html>\n<html><head><title>" + title + "</title></head><body><h1>" + title + "</h1></body></html>"
}
