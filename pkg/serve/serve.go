// Package serve answers the OCI distribution-spec 1.1 over any store.Registry:
// memory, a directory of layouts, another registry. Quirks make it imitate the
// limits of registries in the field, so that a client can be tested against
// each of them.
//
// It speaks HTTP and nothing else: it listens nowhere, keeps no content of its
// own and proves no bytes; the store that takes them does. What it holds
// between two requests are the uploads under way.
package serve

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Server is an http.Handler that serves a registry.
type Server struct {
	reg     store.Registry
	opts    Options
	routes  map[wire.Kind]handler
	uploads *uploads
	tokens  *tokens // nil where Options.Bearer is
	secret  []byte  // of the signatures of redirected blobs
	aliases aliases
	load    load
}

// call is a request on its way: as HTTP, as the protocol reads it, and the
// repository that it is about.
type call struct {
	*http.Request
	wire  wire.Request
	store store.Store // nil for Ping and Catalog
	aside bool        // on a path beside the protocol
}

// handler answers a call, or says why not; an error is answered by fail.
type handler func(s *Server, w http.ResponseWriter, c *call) error

// New serves reg, which stays the caller's to close.
func New(reg store.Registry, opts Options) *Server {
	s := &Server{reg: reg, opts: opts.withDefaults(), secret: make([]byte, sha256.Size)}
	_, _ = rand.Read(s.secret) // never fails
	s.uploads = newUploads(s.opts.UploadIdle, s.opts.MaxUploads)
	if s.opts.Bearer != nil {
		s.tokens = newTokens(s.opts)
	}
	s.routes = map[wire.Kind]handler{
		wire.Ping:           (*Server).ping,
		wire.BlobGet:        (*Server).blobGet,
		wire.BlobHead:       (*Server).blobGet,
		wire.BlobDelete:     (*Server).blobDelete,
		wire.UploadStart:    (*Server).uploadStart,
		wire.UploadSingle:   (*Server).uploadSingle,
		wire.UploadMount:    (*Server).uploadMount,
		wire.UploadChunk:    (*Server).uploadChunk,
		wire.UploadFinish:   (*Server).uploadFinish,
		wire.UploadStatus:   (*Server).uploadStatus,
		wire.UploadCancel:   (*Server).uploadCancel,
		wire.ManifestGet:    (*Server).manifestGet,
		wire.ManifestHead:   (*Server).manifestHead,
		wire.ManifestPut:    (*Server).manifestPut,
		wire.ManifestDelete: (*Server).manifestDelete,
		wire.TagList:        (*Server).tagList,
		wire.Catalog:        (*Server).catalog,
		wire.Referrers:      (*Server).referrers,
	}
	return s
}

// Close drops the uploads under way and waits until they have let go of the
// store. Uploads that come later are refused.
func (s *Server) Close() error {
	s.uploads.close()
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{ResponseWriter: w, tell: func(status int) { s.opts.OnRequest(r.Method, r.URL.RequestURI(), status) }}
	a.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if text := s.opts.Quirks.Warning; text != "" {
		// distribution-spec "Warnings": the code is 299, the agent is unknown.
		a.Header().Set("Warning", "299 - "+quoted(text))
	}
	leave, err := s.enter()
	switch {
	case err != nil:
	case s.tokens != nil && r.URL.Path == tokenPath:
		defer leave()
		err = s.tokens.serve(a, r)
	default:
		defer leave()
		err = s.dispatch(a, r)
	}
	if err != nil {
		s.fail(a, r, err)
	}
}

// dispatch reads the request, asks whether it is allowed, and hands it to its
// handler.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) error {
	if ok, err := s.aside(w, r); ok {
		return err
	}
	req, err := wire.Parse(r.Method, r.URL)
	switch {
	case errors.Is(err, wire.ErrNoEndpoint):
		return s.unknownPath(w, r)
	case s.opts.Quirks.hides(req.Kind):
		return s.noRoute(w, r)
	case s.opts.Quirks.TypeBeforeAuth && req.Kind == wire.ManifestPut:
		if _, err := s.opts.Quirks.checkType(r); err != nil {
			return err
		}
	}
	if authErr := s.authorize(r, req); authErr != nil {
		return authErr
	}
	if err != nil {
		return s.badValue(w, req, err)
	}
	if req.Repo != "" && !isRepository(req.Repo) {
		return &apiError{status: http.StatusBadRequest, code: "NAME_INVALID", message: fmt.Sprintf("%q is not a repository name", req.Repo)}
	}
	if err := s.opts.Quirks.refuse(r, req); err != nil {
		return err
	}
	if s.opts.Quirks.RepoMustExist && creates(req.Kind) {
		if err := s.needRepository(r, req.Repo); err != nil {
			return err
		}
	}
	c := &call{Request: r, wire: req}
	if req.Repo != "" {
		if c.store, err = s.reg.Repository(r.Context(), req.Repo); err != nil {
			return inRepository(req, err)
		}
		defer c.store.Close()
	}
	return inRepository(req, s.routes[req.Kind](s, w, c))
}

// badValue is the answer to a digest or number that is none.
func (s *Server) badValue(w http.ResponseWriter, req wire.Request, err error) error {
	switch how := s.opts.Quirks.ReferrersBadDigest; {
	case req.Kind == wire.Referrers && how == http.StatusOK:
		return writeReferrers(w, nil)
	case req.Kind == wire.Referrers && how != 0:
		return &apiError{status: how}
	case req.Kind == wire.TagList, req.Kind == wire.Catalog:
		return &apiError{status: http.StatusBadRequest, code: "UNSUPPORTED", message: err.Error()} // the spec has no code for a bad n
	}
	return &apiError{status: http.StatusBadRequest, code: "DIGEST_INVALID", message: err.Error()}
}

// needRepository is NAME_UNKNOWN unless the registry lists the repository.
func (s *Server) needRepository(r *http.Request, name string) error {
	for repo, err := range s.reg.Repositories(r.Context(), "") {
		if err != nil {
			return err
		}
		if repo == name {
			return nil
		}
	}
	return &apiError{status: http.StatusNotFound, code: "NAME_UNKNOWN", message: fmt.Sprintf("the repository %q does not exist", name)}
}

func (s *Server) ping(w http.ResponseWriter, _ *call) error {
	return writeJSON(w, "application/json", struct{}{})
}

// noEndpoint tells a wrong method (405, with those that would do) from a wrong
// path (404).
func noEndpoint(r *http.Request) error {
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if _, err := wire.Parse(m, r.URL); !errors.Is(err, wire.ErrNoEndpoint) {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		return errNoRoute
	}
	return &apiError{
		status: http.StatusMethodNotAllowed, code: "UNSUPPORTED", message: "not a method of this endpoint",
		header: http.Header{"Allow": {strings.Join(allow, ", ")}},
	}
}

// repositoryGrammar is <name> and tagGrammar a tag of distribution-spec
// "Pulling manifests".
var (
	repositoryGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func isRepository(name string) bool { return len(name) <= 255 && repositoryGrammar.MatchString(name) }

// creates says whether a request can bring a repository into being.
func creates(k wire.Kind) bool {
	return k == wire.UploadStart || k == wire.UploadSingle || k == wire.UploadMount || k == wire.ManifestPut
}

// changes says whether a request adds or takes away content.
func changes(k wire.Kind) bool {
	switch k {
	case wire.UploadChunk, wire.UploadFinish, wire.UploadStatus, wire.UploadCancel, wire.ManifestDelete, wire.BlobDelete:
		return true
	}
	return creates(k)
}

// location is a Location or the target of a Link: a path, or with the quirk a
// whole URL.
func (s *Server) location(r *http.Request, u *url.URL) string {
	if s.opts.Quirks.AbsoluteLocation {
		return origin(r) + u.RequestURI()
	}
	return u.RequestURI()
}

// origin is scheme and host as the client wrote them.
func origin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// setDigest sets Docker-Content-Digest, which a quirk may leave out or falsify.
func (s *Server) setDigest(w http.ResponseWriter, d digest.Digest) {
	switch {
	case s.opts.Quirks.NoDigestHeader:
		return
	case s.opts.Quirks.WrongDigestHeader:
		d = d.Algorithm().FromString("other content than " + d.String())
	}
	w.Header().Set("Docker-Content-Digest", d.String())
}

// quoted is a quoted-string of RFC 9110 §5.6.4.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// answer tells of its status before it is sent.
type answer struct {
	http.ResponseWriter
	tell   func(status int)
	status int // 0 until the header is written
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		a.tell(status)
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
