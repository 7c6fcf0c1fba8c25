package serve

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// manifestGet is distribution-spec "Pulling manifests" (end-3). Accept is not
// used: a registry has one form of a manifest, and another is another digest.
func (s *Server) manifestGet(w http.ResponseWriter, c *call) error {
	m, err := c.store.Manifest(c.Context(), s.refOf(c.wire))
	if err != nil {
		return err
	}
	if err := s.checkAccept(c, m.MediaType); err != nil {
		return err
	}
	s.manifestHeader(w, c, m.Descriptor)
	_, _ = w.Write(m.Raw) // of a client that is gone nobody is left to tell
	return nil
}

// manifestHead is distribution-spec "Checking if content exists" (end-3).
func (s *Server) manifestHead(w http.ResponseWriter, c *call) error {
	d, err := c.store.Resolve(c.Context(), s.refOf(c.wire))
	if err != nil {
		return err
	}
	if err := s.checkAccept(c, d.MediaType); err != nil {
		return err
	}
	s.manifestHeader(w, c, d)
	w.WriteHeader(http.StatusOK)
	return nil
}

// refOf is the reference under which the store has what a request asks for.
func (s *Server) refOf(req wire.Request) string {
	if s.opts.Quirks.DigestTags {
		if hex, ok := strings.CutPrefix(req.Ref, "sha256-"); ok && digest.NewDigestFromEncoded(digest.SHA256, hex).Validate() == nil {
			return "sha256:" + hex
		}
	}
	return s.aliases.get(req.Repo, req.Ref)
}

func (s *Server) manifestHeader(w http.ResponseWriter, c *call, d store.Descriptor) {
	h := w.Header()
	h.Set("Content-Type", d.MediaType)
	h.Set("Content-Length", strconv.FormatInt(d.Size, 10))
	h.Set("ETag", `"`+d.Digest.String()+`"`)
	if !s.opts.Quirks.NoTagDigestHeader || store.IsDigest(c.wire.Ref) {
		s.setDigest(w, d.Digest)
	}
}

// checkAccept is the quirk of registries that hide what Accept does not name.
func (s *Server) checkAccept(c *call, mediaType string) error {
	if !s.opts.Quirks.StrictAccept {
		return nil
	}
	for _, field := range c.Header.Values("Accept") {
		for _, item := range strings.Split(field, ",") {
			if t, _, err := mime.ParseMediaType(item); err == nil && t == mediaType {
				return nil
			}
		}
	}
	return &apiError{status: http.StatusNotFound, code: "MANIFEST_UNKNOWN", message: mediaType + " is not accepted by the request"}
}

// manifestPut is distribution-spec "Pushing Manifests" (end-7). The order of
// its checks is what clients see of real registries: first the kind, then the
// digest, then what the manifest names.
func (s *Server) manifestPut(w http.ResponseWriter, c *call) error {
	m, outline, err := s.readManifest(c)
	if err != nil {
		return err
	}
	tags, err := s.tagsOf(c.wire)
	if err != nil {
		return err
	}
	if err := s.checkEdges(c, outline); err != nil {
		return err
	}
	if err := c.store.PutManifest(c.Context(), m, tags...); err != nil {
		return err
	}
	if at := digest.Digest(c.wire.Ref); store.IsDigest(c.wire.Ref) && at != m.Digest { // Quirks.NoDigestCheck
		if err := s.aliases.set(c.wire.Repo, at, m.Digest); err != nil {
			return err
		}
	}
	h := w.Header()
	if outline.Subject != nil && s.saysSubject() {
		h.Set("OCI-Subject", outline.Subject.Digest.String())
	}
	if store.IsDigest(c.wire.Ref) {
		for _, t := range tags {
			h.Add("OCI-Tag", t)
		}
	}
	h.Set("Location", s.location(c.Request, wire.Request{Kind: wire.ManifestGet, Repo: c.wire.Repo, Ref: m.Digest.String()}.URL()))
	s.setDigest(w, m.Digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// saysSubject says whether OCI-Subject is sent: by the spec, where there is a
// referrers API.
func (s *Server) saysSubject() bool {
	q := s.opts.Quirks
	return q.FalseOCISubject || !q.NoReferrersAPI && !q.NoOCISubject && q.Referrers.Status == 0 && q.ReferrersRedirect == 0
}

// readManifest reads the body and proves it against Content-Type and digest.
func (s *Server) readManifest(c *call) (store.Manifest, *store.Outline, error) {
	refuse := func(status int, code, format string, args ...any) (store.Manifest, *store.Outline, error) {
		return store.Manifest{}, nil, &apiError{status: status, code: code, message: fmt.Sprintf(format, args...)}
	}
	q := s.opts.Quirks
	mediaType, typeErr := q.checkType(c.Request)
	limit := q.MaxManifest
	raw, err := io.ReadAll(io.LimitReader(c.Body, limit+1))
	switch {
	case err != nil:
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "the body broke off: %v", err)
	case int64(len(raw)) > limit:
		a := q.LargeManifest.or(http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		return refuse(a.Status, a.Code, "the manifest has more than %d bytes", limit)
	case typeErr != nil:
		return store.Manifest{}, nil, typeErr
	}
	m := store.NewManifest(mediaType, raw)
	want := m.Digest
	if strings.Contains(c.wire.Ref, ":") { // no tag has a colon
		want = digest.Digest(c.wire.Ref)
		if err := store.CheckDigest(want); err != nil {
			return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%v", err)
		}
		m.Digest = want.Algorithm().FromBytes(raw)
	}
	outline, err := outlineOf(m)
	if err != nil {
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%v", err)
	}
	if image := outline.Config != nil; image && q.LayersRequired && len(outline.Layers) == 0 {
		return store.Manifest{}, nil, q.unknownType(mediaType)
	}
	if m.Digest != want && !q.NoDigestCheck {
		a := q.WrongDigest.or(http.StatusBadRequest, "DIGEST_INVALID")
		return refuse(a.Status, a.Code, "the manifest has the digest %s, not %s", m.Digest, want)
	}
	return m, outline, nil
}

// outlineOf reads a manifest. A media type that stet does not know, and the
// registry takes, names nothing.
func outlineOf(m store.Manifest) (*store.Outline, error) {
	o, err := store.ParseOutline(m)
	if errors.Is(err, store.ErrUnsupported) {
		return &store.Outline{}, nil
	}
	return o, err
}

// tagsOf are the tags that a PUT sets: the reference, or with a digest the
// parameters tag (end-7b).
func (s *Server) tagsOf(req wire.Request) ([]string, error) {
	tags := []string{req.Ref}
	if strings.Contains(req.Ref, ":") {
		tags = slices.Clone(req.Tags)
		if s.opts.Quirks.NoMultiTag {
			tags = nil
		}
	}
	for _, t := range tags {
		if !tagGrammar.MatchString(t) {
			return nil, &apiError{status: http.StatusBadRequest, code: "MANIFEST_INVALID", message: fmt.Sprintf("%q is not a tag", t)}
		}
	}
	return tags, nil
}

// checkEdges is MANIFEST_BLOB_UNKNOWN, once for each, where a manifest names
// content that the repository does not have. A subject may be absent, but for a
// quirk; content with urls lies elsewhere (image-spec "Non-distributable Layers").
func (s *Server) checkEdges(c *call, o *store.Outline) error {
	q := s.opts.Quirks
	var blobs, children []any
	for _, d := range o.Blobs() {
		if len(d.URLs) > 0 || q.Sparse || q.AbsentBlobs {
			continue
		}
		_, err := c.store.Blob(c.Context(), named(d.Digest))
		if err := note(&blobs, d, err); err != nil {
			return err
		}
	}
	for _, d := range o.Manifests {
		if q.Sparse {
			break
		}
		_, err := c.store.Resolve(c.Context(), s.aliases.get(c.wire.Repo, d.Digest.String()))
		if err := note(&children, d, err); err != nil {
			return err
		}
	}
	a := Answer{http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN"}
	switch {
	case len(blobs) > 0:
		a = q.AbsentBlob.or(a.Status, a.Code)
	case len(children) > 0:
		a = q.AbsentChild.or(a.Status, a.Code)
	}
	if q.SubjectMustExist && o.Subject != nil {
		_, err := c.store.Resolve(c.Context(), o.Subject.Digest.String())
		if err := note(&children, *o.Subject, err); err != nil {
			return err
		}
	}
	missing := append(blobs, children...)
	if len(missing) == 0 {
		return nil
	}
	return &apiError{status: a.Status, code: a.Code, message: "the manifest names content that is not in the repository", details: missing}
}

// note adds what is absent to a list, once; another error is the caller's.
func note(missing *[]any, d store.Descriptor, err error) error {
	if !isAbsent(err) {
		return err
	}
	if name := d.Digest.String(); !slices.Contains(*missing, any(name)) {
		*missing = append(*missing, name)
	}
	return nil
}

// manifestDelete is distribution-spec "Deleting tags" and "Deleting Manifests"
// (end-9): a tag goes alone, a digest with all its tags.
func (s *Server) manifestDelete(w http.ResponseWriter, c *call) error {
	var err error
	ref := c.wire.Ref
	switch {
	case s.aliases.remove(c.wire.Repo, ref): // and the manifest stays under its own digest
	case store.IsDigest(ref):
		d := named(digest.Digest(ref))
		d.MediaType = ""
		if err = s.checkMember(c, d.Digest); err == nil {
			err = c.store.DeleteManifest(c.Context(), d)
		}
	case s.opts.Quirks.UntagDeletes:
		var d store.Descriptor
		if d, err = c.store.Resolve(c.Context(), ref); err == nil {
			err = c.store.DeleteManifest(c.Context(), d)
		}
	default:
		err = c.store.Untag(c.Context(), ref)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// checkMember is the quirk of registries that keep what an index names.
func (s *Server) checkMember(c *call, d digest.Digest) error {
	a := s.opts.Quirks.MemberDelete
	if a.Status == 0 {
		return nil
	}
	named, err := namedByIndex(c, d)
	if err != nil || !named {
		return err
	}
	return a.err("an index names %s", d)
}
