package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// tagSchema is the choice of the referrers tag schema in a Fallback event.
const tagSchema = "referrers-tag"

// Referrers lists what refers to the subject: by the referrers API, or from the
// referrers tag where the registry has no such API (distribution-spec "Listing
// Referrers"). What is no answer to either is an error, never an empty list.
func (r *repository) Referrers(ctx context.Context, subject digest.Digest, artifactType string) iter.Seq2[store.Descriptor, error] {
	return func(yield func(store.Descriptor, error) bool) {
		// The filter is applied here as well, whatever the registry says of
		// its own: some name it and do not do it.
		var unread error
		each := func(d store.Descriptor) bool {
			if d.ArtifactType == ocispec.MediaTypeEmptyJSON || d.ArtifactType == "" && store.IsManifestType(d.MediaType) {
				if d, unread = r.readReferrer(ctx, d); unread != nil {
					return false
				}
			}
			return artifactType != "" && d.ArtifactType != artifactType || yield(d, nil)
		}
		err := r.eachReferrer(ctx, subject, artifactType, each)
		if unread != nil {
			err = unread
		}
		if err != nil {
			yield(store.Descriptor{}, err)
		}
	}
}

// readReferrer reads the entry of a list off the manifest itself, where the list
// gives no artifact type, or the config's where that is the empty descriptor,
// which is the type of no artifact (go-containerregistry answers both).
func (r *repository) readReferrer(ctx context.Context, d store.Descriptor) (store.Descriptor, error) {
	m, err := r.Manifest(ctx, d.Digest.String())
	if err != nil {
		return d, err
	}
	return referrerOf(m)
}

func (r *repository) eachReferrer(ctx context.Context, subject digest.Digest, artifactType string, each func(store.Descriptor) bool) error {
	if err := store.CheckDigest(subject); err != nil {
		return err
	}
	read := func() (*refList, error) { return r.readList(ctx, subject) }
	if r.hasReferrersAPI() != store.No {
		if r.client.opts.Referrers == ReferrersAuto && r.known.of(store.AbilityReferrersAPI) == store.Unknown {
			// Whether the answer will be that there is no API is not known, and
			// the list is not far: one request, the first time, for a round trip.
			early := r.readEarly(ctx, subject)
			defer early.stop()
			read = early.wait
		}
		err := r.listAPI(ctx, subject, artifactType, each)
		if err == nil {
			return nil
		}
		done, err := r.afterRefusal(ctx, subject, err)
		if done || err != nil {
			return err
		}
	}
	list, err := read()
	if err != nil {
		return err
	}
	for _, d := range list.entries() {
		if !each(d) {
			return nil
		}
	}
	return nil
}

// hasReferrersAPI is what is known, or was pinned by Options.Referrers.
func (r *repository) hasReferrersAPI() store.Answer {
	switch r.client.opts.Referrers {
	case ReferrersTag:
		return store.No
	case ReferrersAPI:
		return store.Unknown // always ask: a refusal is the error
	}
	return r.known.of(store.AbilityReferrersAPI)
}

// afterRefusal decides what a refusal of the referrers API means: done (there
// are no referrers), an error, or neither: read the tag.
func (r *repository) afterRefusal(ctx context.Context, subject digest.Digest, err error) (done bool, _ error) {
	switch e := statusOf(err, http.StatusNotFound, http.StatusBadRequest); {
	case e != nil && e.Has("NAME_UNKNOWN"):
		return true, nil // nothing is in a repository that is not there
	case e != nil && e.Status == http.StatusBadRequest:
		// Quay answers 400 for a digest that it does not have; then nothing
		// refers to it. Any other 400 is no answer.
		_, absent := r.Resolve(ctx, subject.String())
		if statusOf(absent, http.StatusNotFound) != nil {
			return true, nil
		}
		return false, err
	}
	choice, reason := chooseReferrers(err)
	if choice == "" {
		return false, err
	}
	if r.client.opts.Referrers == ReferrersAPI {
		// Not wrapped: the 404 is the reason, and not the class of this error.
		return false, fmt.Errorf("%w: %s, and its use is required: %s", store.ErrUnsupported, reason, err)
	}
	e := statusOf(err)
	if !e.Has("MANIFEST_UNKNOWN") { // that one may be about this digest alone
		req := r.request(wire.Referrers)
		req.Digest = subject
		r.known.learn(store.AbilityReferrersAPI, store.No, refused(req, e))
	}
	r.fallback(choice, reason)
	return false, nil
}

// chooseReferrers decides whether a refusal shows that the registry has no
// referrers API; "" is to fail (distribution-spec "Unavailable Referrers API").
// Only an answer that speaks of the endpoint counts: not one about rights, the
// repository, throttling, or a fault.
func chooseReferrers(err error) (choice, reason string) {
	e := statusOf(err, http.StatusNotFound, http.StatusMethodNotAllowed)
	if e == nil || e.Has("NAME_UNKNOWN") {
		return "", ""
	}
	return tagSchema, fmt.Sprintf("the registry has no referrers API: it answered %d", e.Status)
}

// listAPI asks the referrers API and follows its pages.
func (r *repository) listAPI(ctx context.Context, subject digest.Digest, artifactType string, each func(store.Descriptor) bool) error {
	req := r.request(wire.Referrers)
	req.Digest, req.ArtifactType = subject, artifactType
	header := http.Header{"Accept": {store.MediaTypeIndex}}
	begun := false
	first := call{Request: req, Header: header, Want: []int{http.StatusOK}}
	err := r.client.pages(ctx, first, boundsOfReferrers(r.client.opts), func(resp *http.Response, raw []byte) (int, bool, error) {
		list, err := decodeReferrers(mediaType(resp), raw)
		if err != nil { // an error of the request names the subject in its URL
			return 0, false, fmt.Errorf("referrers of %s: %w", subject, err)
		}
		begun = true
		r.known.learn(store.AbilityReferrersAPI, store.Yes, answered(req, resp, "Content-Type"))
		for _, d := range list {
			if !each(d) {
				return len(list), false, nil
			}
		}
		return len(list), true, nil
	})
	if e := statusOf(err, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed); e != nil && begun {
		// Of a later page this says nothing about the API: what came is half a list.
		return fmt.Errorf("%w: the list of referrers breaks off: %s", store.ErrInvalid, e)
	}
	return err
}

// decodeReferrers reads an answer of the referrers API, which is an image index.
func decodeReferrers(kind string, raw []byte) ([]store.Descriptor, error) {
	if isGeneric(kind) {
		if bytes.Equal(bytes.TrimSpace(raw), []byte("{}")) {
			return nil, nil // Harbor before 2.9, for a digest that it does not have
		}
		if said, err := saidMediaType(raw); err == nil && said != "" {
			kind = said
		}
	}
	if kind != store.MediaTypeIndex {
		return nil, fmt.Errorf("%w: the referrers API answered with %q, not with an image index", store.ErrInvalid, kind)
	}
	if err := store.CheckJSON(raw); err != nil {
		return nil, err
	}
	var index struct {
		Manifests []store.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("%w: the referrers API: %s", store.ErrInvalid, err)
	}
	return index.Manifests, checkDescriptors(index.Manifests)
}

func checkDescriptors(list []store.Descriptor) error {
	for _, d := range list {
		if err := store.CheckDigest(d.Digest); err != nil {
			return err
		}
		if d.Size < 0 {
			return fmt.Errorf("%w: %s has the size %d", store.ErrInvalid, d.Digest, d.Size)
		}
	}
	return nil
}

// requireReferrersAPI is ErrUnsupported where the registry has no referrers API.
func (r *repository) requireReferrersAPI(ctx context.Context, subject digest.Digest) error {
	if r.known.of(store.AbilityReferrersAPI) == store.Yes {
		return nil
	}
	err := r.listAPI(ctx, subject, "", func(store.Descriptor) bool { return false })
	if err == nil {
		return nil
	}
	_, err = r.afterRefusal(ctx, subject, err)
	return err
}

// linkSubject makes sure that a manifest, which resp says was stored, is listed
// as a referrer: by the registry, or in the list under the referrers tag
// (distribution-spec "Pushing Manifests with Subject").
func (r *repository) linkSubject(ctx context.Context, l *linking, resp *http.Response) error {
	mode := r.client.opts.Referrers
	req := r.request(wire.ManifestPut)
	req.Ref = l.entry.Digest.String()
	if resp.Header.Get("OCI-Subject") == l.subject.String() {
		r.known.learn(store.AbilityOCISubject, store.Yes, answered(req, resp, "OCI-Subject"))
		if mode != ReferrersTag {
			return nil
		}
	} else if r.known.of(store.AbilityOCISubject) == store.Unknown {
		r.known.learn(store.AbilityOCISubject, store.No, answered(req, resp, ""))
	}
	if mode != ReferrersTag {
		if l.only && l.early == nil && mode != ReferrersAPI && r.known.of(store.AbilityReferrersAPI) != store.Yes {
			l.early = r.readEarly(ctx, l.subject) // most who do not send OCI-Subject have no API
		}
		api, err := r.waitListed(ctx, l.subject, l.entry.Digest)
		if err != nil || api == store.Yes {
			return err
		}
	}
	d, err := referrerOf(l.entry)
	if err != nil {
		return err
	}
	return r.addToList(ctx, l, d)
}

// listedTries is how often a registry that took a referrer without OCI-Subject
// is asked for it: some list it a moment later.
const listedTries = 4

// waitListed finds out whether the registry lists referrers by itself, and
// whether this one is listed: a referrer that nobody can find is lost.
func (r *repository) waitListed(ctx context.Context, subject, referrer digest.Digest) (store.Answer, error) {
	for try := range listedTries {
		api, listed, err := r.isListed(ctx, subject, referrer)
		if err != nil || api != store.Yes || listed {
			return api, err
		}
		if try < listedTries-1 {
			if err := pause(ctx, try); err != nil {
				return api, err
			}
		}
	}
	return store.Yes, fmt.Errorf("%w: the registry has the referrers API, and does not list it there", store.ErrRefused)
}

// isListed asks the referrers API with one request. Quay refuses to speak of a
// subject that it does not have; then it is asked about the referrer, which
// was just stored, and that it answers has to do.
func (r *repository) isListed(ctx context.Context, subject, referrer digest.Digest) (api store.Answer, listed bool, _ error) {
	if r.hasReferrersAPI() == store.No {
		return store.No, false, nil
	}
	err := r.listAPI(ctx, subject, "", func(d store.Descriptor) bool {
		listed = listed || d.Digest == referrer
		return !listed
	})
	if statusOf(err, http.StatusBadRequest) != nil {
		err = r.listAPI(ctx, referrer, "", func(store.Descriptor) bool { return false })
		listed = true
	}
	if err == nil {
		return store.Yes, listed, nil
	}
	choice, reason := chooseReferrers(err)
	if choice == "" {
		return store.Unknown, false, err
	}
	req := r.request(wire.Referrers)
	req.Digest = subject
	r.known.learn(store.AbilityReferrersAPI, store.No, refused(req, statusOf(err)))
	r.fallback(choice, reason)
	return store.No, false, nil
}

// referrerOf is the entry of a manifest in a list of referrers: its artifact
// type, or its config's media type, and all its annotations.
func referrerOf(m store.Manifest) (store.Descriptor, error) {
	o, err := store.ParseOutline(m)
	if err != nil {
		return store.Descriptor{}, err
	}
	d := store.Plain(m.Descriptor)
	d.ArtifactType, d.Annotations = o.ArtifactType, o.Annotations
	return d, nil
}
