package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Resolve asks with HEAD and, where the answer does not name the manifest in
// full, reads it.
func (r *repository) Resolve(ctx context.Context, ref string) (store.Descriptor, error) {
	if err := checkRef(ref); err != nil {
		return store.Descriptor{}, err
	}
	req := r.request(wire.ManifestHead)
	req.Ref = ref
	resp, err := r.client.do(ctx, call{Request: req, Header: accept(), Want: []int{http.StatusOK}})
	if statusOf(err, http.StatusMethodNotAllowed, http.StatusNotImplemented) != nil {
		return r.resolveByGet(ctx, ref)
	}
	if err != nil {
		return store.Descriptor{}, err
	}
	defer resp.Body.Close()
	d := store.Descriptor{MediaType: mediaType(resp), Digest: headerDigest(resp), Size: resp.ContentLength}
	if store.IsDigest(ref) {
		if err := checkDigestHeader(resp, digest.Digest(ref)); err != nil {
			return store.Descriptor{}, err
		}
		if d.Digest != digest.Digest(ref) {
			return r.resolveByGet(ctx, ref) // named by another algorithm, or not at all
		}
	}
	// An answer to HEAD has no bytes that could make up for what it lacks.
	if d.Digest == "" || d.Size <= 0 || isGeneric(d.MediaType) || isHTML(d.MediaType) {
		return r.resolveByGet(ctx, ref)
	}
	return d, nil
}

func (r *repository) resolveByGet(ctx context.Context, ref string) (store.Descriptor, error) {
	m, err := r.Manifest(ctx, ref)
	return m.Descriptor, err
}

// accept is the header of requests for manifests. Registries answer 404 when
// the type is not in the list, some even with */* in it: both are there
// (distribution-spec "Pulling manifests").
func accept() http.Header {
	return http.Header{"Accept": {strings.Join(store.ManifestTypes(), ", ") + ", */*"}}
}

// Manifest reads a manifest and proves it against the digest that was asked
// for, or the one that the registry gives for the tag.
func (r *repository) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	if err := checkRef(ref); err != nil {
		return store.Manifest{}, err
	}
	req := r.request(wire.ManifestGet)
	req.Ref = ref
	get := call{Request: req, Header: accept(), Want: []int{http.StatusOK}}
	var m store.Manifest
	var wrong error // no reason to ask again
	err := r.client.document(ctx, get, r.client.opts.MaxManifest, func(resp *http.Response, raw []byte) {
		m, wrong = readManifest(resp, ref, raw)
	})
	if err != nil {
		return store.Manifest{}, err
	}
	err = r.client.clean(wrong)
	if store.IsDigest(ref) && errors.Is(err, store.ErrMismatch) {
		return store.Manifest{}, err // names the digest itself
	}
	if err != nil {
		return store.Manifest{}, fmt.Errorf("manifest %s: %w", ref, err)
	}
	return m, nil
}

// readManifest makes raw a manifest: media type and digest from the answer,
// each checked against the bytes.
func readManifest(resp *http.Response, ref string, raw []byte) (store.Manifest, error) {
	m := store.Manifest{Raw: raw}
	m.Size = int64(len(raw))
	kind := mediaType(resp)
	if isHTML(kind) {
		return m, fmt.Errorf("%w: the answer is a web page (%s); is there a registry at this address?", store.ErrInvalid, kind)
	}
	var err error
	if m.Digest, err = manifestDigest(resp, ref, raw); err != nil {
		return m, err
	}
	said, err := saidMediaType(raw)
	switch {
	case isGeneric(kind) && err != nil:
		return m, err
	case isGeneric(kind) && said == "":
		return m, fmt.Errorf("%w: neither the answer (%q) nor the document says its media type", store.ErrInvalid, kind)
	case isGeneric(kind):
		kind = said
	case err != nil && store.IsManifestType(kind):
		return m, err
	case err == nil && said != "" && said != kind:
		// CVE-2021-41190: two readers would read two documents.
		return m, fmt.Errorf("%w: Content-Type is %s, mediaType in the document is %q", store.ErrInvalid, kind, said)
	}
	m.MediaType = kind
	return m, nil
}

// manifestDigest is the digest that names raw: the one asked for, else the one
// in the header, else sha256. It is ErrMismatch where raw has another.
func manifestDigest(resp *http.Response, ref string, raw []byte) (digest.Digest, error) {
	want := headerDigest(resp)
	if store.IsDigest(ref) {
		want = digest.Digest(ref)
	}
	if want == "" {
		return digest.FromBytes(raw), nil
	}
	if got := want.Algorithm().FromBytes(raw); got != want {
		return "", fmt.Errorf("%w: the manifest should have %s, and has %s", store.ErrMismatch, want, got)
	}
	return want, nil
}

// saidMediaType is the field mediaType of a document, which must be I-JSON.
func saidMediaType(raw []byte) (string, error) {
	if err := store.CheckJSON(raw); err != nil {
		return "", err
	}
	var doc struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "", fmt.Errorf("%w: %s", store.ErrInvalid, err)
	}
	return doc.MediaType, nil
}

// mediaType is Content-Type without its parameters.
func mediaType(resp *http.Response) string {
	v := resp.Header.Get("Content-Type")
	if t, _, err := mime.ParseMediaType(v); err == nil {
		return t
	}
	t, _, _ := strings.Cut(v, ";")
	return strings.TrimSpace(t)
}

// isGeneric: the media type says nothing of the kind of a manifest.
func isGeneric(t string) bool {
	return slices.Contains([]string{"", "application/json", "text/plain", "application/octet-stream", "binary/octet-stream"}, t)
}

func isHTML(t string) bool { return t == "text/html" || t == "application/xhtml+xml" }

// PutManifest sends a manifest. Nothing of it goes out unless its bytes are
// what they claim to be. Tags come last: a manifest with a subject is put by
// digest first where the list of referrers may have to be written.
func (r *repository) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	subject, err := r.checkPut(m, tags)
	if err != nil {
		return err
	}
	if subject == nil {
		resp, rest, err := r.putFirst(ctx, m, tags)
		if err == nil {
			err = r.proveStored(ctx, m, resp)
		}
		if err != nil {
			return err
		}
		return r.putTags(ctx, m, rest)
	}
	mode := r.client.opts.Referrers
	if mode == ReferrersAPI {
		// Pinned: that the API is missing must be known before anything is changed.
		if err := r.requireReferrersAPI(ctx, subject.Digest); err != nil {
			return err
		}
	}
	var early []string
	if mode != ReferrersTag && r.known.of(store.AbilityOCISubject) == store.Yes {
		early = tags
	}
	l := r.beginLink(ctx, m, subject.Digest)
	defer l.stop()
	resp, rest, err := r.putFirst(ctx, m, early)
	if err != nil {
		return err
	}
	if err := r.linkSubject(ctx, l, resp); err != nil {
		return fmt.Errorf("%s is in %s, but is not listed as a referrer of %s: %w", m.Digest, r.name, subject.Digest, err)
	}
	if early == nil {
		rest = tags
	}
	return r.putTags(ctx, m, rest)
}

// proveStored asks for a manifest that the registry says it stored, where its
// answer does not name it (Docker-Content-Digest), or where the kind is one
// that most refuse: some answer 201 to everything.
func (r *repository) proveStored(ctx context.Context, m store.Manifest, resp *http.Response) error {
	if headerDigest(resp) != "" && !store.IsExtinct(m.MediaType) {
		return nil
	}
	_, err := r.Resolve(ctx, m.Digest.String())
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: the registry answered %d to %s, and does not have it", store.ErrMismatch, resp.StatusCode, m.Digest)
	}
	return err
}

// checkPut proves m and gives its subject, nil without one.
func (r *repository) checkPut(m store.Manifest, tags []string) (*store.Descriptor, error) {
	if err := store.CheckManifest(m, m.Digest); err != nil {
		return nil, err
	}
	if m.MediaType == "" || strings.ContainsAny(m.MediaType, "; \t\r\n") {
		return nil, fmt.Errorf("%w: manifest %s has the media type %q", store.ErrUsage, m.Digest, m.MediaType)
	}
	for _, tag := range tags {
		if err := checkRef(tag); err != nil {
			return nil, err
		}
		if store.IsDigest(tag) {
			return nil, &store.RefError{Ref: tag, Reason: "a digest is not a tag"}
		}
	}
	if !store.IsManifestType(m.MediaType) {
		// Whether the registry takes it is for the registry to say; stet cannot
		// read a subject out of it.
		return nil, nil
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, err
	}
	return o.Subject, nil
}

// put sends a manifest, until what it names has come to rest.
func (r *repository) put(ctx context.Context, m store.Manifest, req wire.Request) (*http.Response, error) {
	for try := 0; ; try++ {
		resp, err := r.putProven(ctx, m, req)
		if try == restTries || !r.unsettled(m, err) {
			return resp, err
		}
		r.client.opts.Events.Emit(store.Event{
			Kind: store.Retrying, Desc: m.Descriptor, Name: r.client.host + "/" + r.name,
			Text: "the registry does not know blobs that it has just stored: " + err.Error(),
		})
		if err := pause(ctx, try); err != nil {
			return nil, err
		}
	}
}

// putOnce is one PUT of a manifest, which is not sent again after a fault where it
// is only right for now. The answer's body is closed.
func (r *repository) putOnce(ctx context.Context, m store.Manifest, req wire.Request, now bool) (*http.Response, error) {
	resp, err := r.client.do(ctx, call{
		Request: req,
		Header:  http.Header{"Content-Type": {m.MediaType}},
		Body:    func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Raw)), nil },
		Length:  m.Size,
		Once:    now,
		Want:    []int{http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent},
	})
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if got := headerDigest(resp); got != "" && got.Algorithm().Available() && got.Algorithm().FromBytes(m.Raw) != got {
		return nil, fmt.Errorf("%w: the registry stored manifest %s as %s", store.ErrMismatch, m.Digest, got)
	}
	return resp, nil
}
