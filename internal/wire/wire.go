// Package wire is the one grammar of the distribution-spec's requests. The
// client builds its requests with Request.URL, the server reads them with
// Parse, and the two are inverse, so that they cannot disagree.
//
// It knows methods, paths, queries and scopes. Headers, bodies and answers
// belong to pkg/remote and pkg/serve.
package wire

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Kind is an endpoint of the distribution-spec with its method; the comment
// gives the spec's number (distribution-spec "Endpoints").
type Kind int

// The endpoints.
const (
	Unknown        Kind = iota
	Ping                // end-1   GET /v2/
	BlobGet             // end-2   GET /v2/<name>/blobs/<digest>
	BlobHead            // end-2   HEAD
	ManifestGet         // end-3   GET /v2/<name>/manifests/<reference>
	ManifestHead        // end-3   HEAD
	UploadStart         // end-4a  POST /v2/<name>/blobs/uploads/
	UploadSingle        // end-4b  POST …?digest=<digest>, with the body
	UploadMount         // end-11  POST …?mount=<digest>&from=<name>
	UploadChunk         // end-5   PATCH <location>
	UploadFinish        // end-6   PUT <location>?digest=<digest>
	UploadStatus        // end-13  GET <location>
	UploadCancel        // end-14  DELETE <location>
	ManifestPut         // end-7   PUT /v2/<name>/manifests/<reference>[?tag=…]
	TagList             // end-8   GET /v2/<name>/tags/list?n=&last=
	ManifestDelete      // end-9   DELETE /v2/<name>/manifests/<reference>
	BlobDelete          // end-10  DELETE /v2/<name>/blobs/<digest>
	Referrers           // end-12  GET /v2/<name>/referrers/<digest>?artifactType=
	Catalog             //         GET /v2/_catalog?n=&last= (Docker Registry HTTP API v2)
)

// Request is one request of the protocol. Which fields a kind uses is said
// beside each; the others are zero.
type Request struct {
	Kind Kind
	Repo string // all but Ping and Catalog

	Digest digest.Digest // Blob*, UploadSingle, UploadMount, UploadFinish, Referrers
	Ref    string        // Manifest*: a tag or a digest
	Tags   []string      // ManifestPut by digest: further tags (?tag=, end-7b)
	From   string        // UploadMount: the repository that has the blob; "" leaves it to the registry

	// Algorithm is the digest algorithm of an upload that is not sha256
	// (UploadStart: ?digest-algorithm=).
	Algorithm string

	// Session is the server's id of an upload (UploadChunk, Finish, Status,
	// Cancel). A client uses the Location that it was given instead.
	Session string

	ArtifactType string // Referrers: filter
	N            int    // TagList, Catalog: page size; NoLimit asks without n
	Last         string // TagList, Catalog: the entry to go on after
}

// NoLimit as Request.N leaves the page size to the server.
const NoLimit = -1

// ErrNoEndpoint says that method and path are no request of the protocol.
var ErrNoEndpoint = errors.New("no such endpoint")

var methods = map[Kind]string{
	Ping: http.MethodGet, BlobGet: http.MethodGet, BlobHead: http.MethodHead, ManifestGet: http.MethodGet,
	ManifestHead: http.MethodHead, UploadStart: http.MethodPost, UploadSingle: http.MethodPost,
	UploadMount: http.MethodPost, UploadChunk: http.MethodPatch, UploadFinish: http.MethodPut,
	UploadStatus: http.MethodGet, UploadCancel: http.MethodDelete, ManifestPut: http.MethodPut,
	TagList: http.MethodGet, ManifestDelete: http.MethodDelete, BlobDelete: http.MethodDelete,
	Referrers: http.MethodGet, Catalog: http.MethodGet,
}

// Method is the HTTP method of the request.
func (r Request) Method() string { return methods[r.Kind] }

// URL is path and query of the request, without a host.
func (r Request) URL() *url.URL {
	q := url.Values{}
	u := &url.URL{Path: "/v2/" + r.Repo}
	switch r.Kind {
	case Ping:
		u.Path = "/v2/"
	case Catalog:
		u.Path = "/v2/_catalog"
		r.page(q)
	case TagList:
		u.Path += "/tags/list"
		r.page(q)
	case BlobGet, BlobHead, BlobDelete:
		u.Path += "/blobs/" + r.Digest.String()
	case ManifestGet, ManifestHead, ManifestPut, ManifestDelete:
		u.Path += "/manifests/" + r.Ref
		if len(r.Tags) > 0 {
			q["tag"] = r.Tags
		}
	case Referrers:
		u.Path += "/referrers/" + r.Digest.String()
		setIf(q, "artifactType", r.ArtifactType)
	default:
		u.Path += "/blobs/uploads/" + r.Session
		r.upload(q)
	}
	u.RawQuery = q.Encode()
	return u
}

func (r Request) upload(q url.Values) {
	switch r.Kind {
	case UploadStart:
		setIf(q, "digest-algorithm", r.Algorithm)
	case UploadSingle, UploadFinish:
		q.Set("digest", r.Digest.String())
	case UploadMount:
		q.Set("mount", r.Digest.String())
		setIf(q, "from", r.From)
	}
}

func (r Request) page(q url.Values) {
	if r.N != NoLimit {
		q.Set("n", strconv.Itoa(r.N))
	}
	setIf(q, "last", r.Last)
}

func setIf(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}

// Parse reads a request as a server gets it. It is ErrNoEndpoint for a path or
// method outside the protocol, and another error for a value that is wrong in
// its place: a digest, a number. It does not check names and tags: what
// a store does not know is not found.
func Parse(method string, u *url.URL) (Request, error) {
	path, ok := strings.CutPrefix(u.Path, "/v2/")
	if u.Path == "/v2" {
		path, ok = "", true
	}
	if !ok {
		return Request{}, ErrNoEndpoint
	}
	q := u.Query()
	read := method == http.MethodGet || method == http.MethodHead
	switch {
	case path == "" && read:
		return Request{Kind: Ping}, nil
	case path == "_catalog" && read:
		return parsePage(Request{Kind: Catalog}, q)
	}
	if repo, ok := strings.CutSuffix(path, "/tags/list"); ok && read {
		return parsePage(Request{Kind: TagList, Repo: repo}, q)
	}
	if repo, id, ok := cutAround(path, "/blobs/uploads/"); ok {
		return parseUpload(method, Request{Repo: repo, Session: id}, q)
	}
	if repo, ok := strings.CutSuffix(path, "/blobs/uploads"); ok {
		return parseUpload(method, Request{Repo: repo}, q)
	}
	if repo, d, ok := cutAround(path, "/blobs/"); ok {
		return parseDigest(Request{Kind: pick(method, BlobGet, BlobHead, Unknown, BlobDelete), Repo: repo}, d)
	}
	if repo, ref, ok := cutAround(path, "/manifests/"); ok {
		r := Request{Kind: pick(method, ManifestGet, ManifestHead, ManifestPut, ManifestDelete), Repo: repo, Ref: ref}
		if r.Kind == ManifestPut {
			r.Tags = q["tag"]
		}
		return known(r)
	}
	if repo, d, ok := cutAround(path, "/referrers/"); ok && method == http.MethodGet {
		return parseDigest(Request{Kind: Referrers, Repo: repo, ArtifactType: q.Get("artifactType")}, d)
	}
	return Request{}, ErrNoEndpoint
}

// cutAround splits "<name><sep><last>", where last has no slash.
func cutAround(path, sep string) (name, last string, ok bool) {
	i := strings.LastIndex(path, sep)
	if i <= 0 || strings.Contains(path[i+len(sep):], "/") {
		return "", "", false
	}
	return path[:i], path[i+len(sep):], true
}

func pick(method string, get, head, put, del Kind) Kind {
	switch method {
	case http.MethodGet:
		return get
	case http.MethodHead:
		return head
	case http.MethodPut:
		return put
	case http.MethodDelete:
		return del
	}
	return Unknown
}

func known(r Request) (Request, error) {
	if r.Kind == Unknown || r.Repo == "" {
		return Request{}, ErrNoEndpoint
	}
	return r, nil
}

func parseDigest(r Request, s string) (Request, error) {
	if r, err := known(r); err != nil {
		return r, err
	}
	r.Digest = digest.Digest(s)
	if err := r.Digest.Validate(); err != nil {
		return r, fmt.Errorf("digest %q: %w", s, err)
	}
	return r, nil
}

func parsePage(r Request, q url.Values) (Request, error) {
	r.N, r.Last = NoLimit, q.Get("last")
	if s := q.Get("n"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return r, fmt.Errorf("n=%q is not a count", s)
		}
		r.N = n
	}
	if r.Kind == TagList && r.Repo == "" {
		return Request{}, ErrNoEndpoint
	}
	return r, nil
}

func parseUpload(method string, r Request, q url.Values) (Request, error) {
	switch {
	case r.Repo == "":
		return Request{}, ErrNoEndpoint
	case r.Session == "" && method == http.MethodPost && q.Has("mount"):
		r.Kind, r.From = UploadMount, q.Get("from")
		return parseDigest(r, q.Get("mount"))
	case r.Session == "" && method == http.MethodPost && q.Has("digest"):
		r.Kind = UploadSingle
		return parseDigest(r, q.Get("digest"))
	case r.Session == "" && method == http.MethodPost:
		r.Kind, r.Algorithm = UploadStart, q.Get("digest-algorithm")
		return r, nil
	case r.Session == "":
		return Request{}, ErrNoEndpoint
	}
	switch method {
	case http.MethodPatch:
		r.Kind = UploadChunk
	case http.MethodGet, http.MethodHead:
		r.Kind = UploadStatus
	case http.MethodDelete:
		r.Kind = UploadCancel
	case http.MethodPut:
		r.Kind = UploadFinish
		return parseDigest(r, q.Get("digest"))
	default:
		return Request{}, ErrNoEndpoint
	}
	return r, nil
}

// Scope is what the request needs to be allowed, as in a token's scope
// "repository:<name>:<actions>" (distribution token specification).
type Scope struct {
	Type    string // "repository" or "registry"; "" where none is needed
	Name    string
	Actions []string // in the order pull, push, delete
}

// Scope is the scope that the request itself needs. A mount also needs pull on
// the repository it mounts from: MountScope.
func (r Request) Scope() Scope {
	switch r.Kind {
	case Ping, Unknown:
		return Scope{}
	case Catalog:
		return Scope{"registry", "catalog", []string{"*"}}
	case BlobGet, BlobHead, ManifestGet, ManifestHead, TagList, Referrers:
		return Scope{"repository", r.Repo, []string{"pull"}}
	case BlobDelete, ManifestDelete:
		return Scope{"repository", r.Repo, []string{"delete"}}
	}
	return Scope{"repository", r.Repo, []string{"pull", "push"}}
}

// MountScope is the scope on the repository that a mount reads from.
func (r Request) MountScope() Scope {
	if r.Kind != UploadMount || r.From == "" {
		return Scope{}
	}
	return Scope{"repository", r.From, []string{"pull"}}
}

// ReferrersTag is the tag under which the referrers of a digest are listed on a
// registry without the referrers API (distribution-spec "Referrers tag schema"):
// algorithm cut to 32, encoded part cut to 64 characters, what a tag may not
// hold replaced by "-".
func ReferrersTag(d digest.Digest) string {
	alg, enc, _ := strings.Cut(d.String(), ":")
	clean := func(s string, limit int) string {
		s = strings.Map(func(r rune) rune {
			if r == '_' || r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
				return r
			}
			return '-'
		}, s)
		return s[:min(len(s), limit)]
	}
	return clean(alg, 32) + "-" + clean(enc, 64)
}
