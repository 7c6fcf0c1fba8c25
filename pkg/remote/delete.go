package remote

import (
	"context"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// DeleteBlob deletes a blob by its digest.
func (r *repository) DeleteBlob(ctx context.Context, d store.Descriptor) error {
	if err := store.CheckDigest(d.Digest); err != nil {
		return err
	}
	req := r.request(wire.BlobDelete)
	req.Digest = d.Digest
	r.flights.forget(d.Digest)
	return r.remove(ctx, req, store.AbilityBlobDelete, "this registry does not delete blobs")
}

// DeleteManifest deletes a manifest by its digest. On a registry without the
// referrers API it is also taken from the list of its subject's referrers
// (distribution-spec "Deleting Manifests").
func (r *repository) DeleteManifest(ctx context.Context, d store.Descriptor) error {
	if err := store.CheckDigest(d.Digest); err != nil {
		return err
	}
	// Once it is deleted nobody can tell what it referred to.
	var subject *store.Descriptor
	if r.client.opts.Referrers == ReferrersTag || r.known.of(store.AbilityReferrersAPI) != store.Yes {
		m, err := r.Manifest(ctx, d.Digest.String())
		if err != nil {
			return err
		}
		if o, err := store.ParseOutline(m); err == nil { // else it names no subject that could be known
			subject = o.Subject
		}
	}
	req := r.request(wire.ManifestDelete)
	req.Ref = d.Digest.String()
	if err := r.remove(ctx, req, store.AbilityManifestDelete, "this registry does not delete manifests"); err != nil {
		return err
	}
	if subject == nil {
		return nil
	}
	if err := r.unlinkSubject(ctx, subject.Digest, d.Digest); err != nil {
		return fmt.Errorf("%s is deleted, but may still be listed as a referrer of %s: %w", d.Digest, subject.Digest, err)
	}
	return nil
}

func (r *repository) unlinkSubject(ctx context.Context, subject, referrer digest.Digest) error {
	switch r.client.opts.Referrers {
	case ReferrersAPI:
		return nil
	case ReferrersAuto:
		if r.known.of(store.AbilityReferrersAPI) == store.Yes {
			return nil
		}
		api, _, err := r.isListed(ctx, subject, referrer)
		if err != nil || api == store.Yes {
			return err
		}
	}
	return r.dropFromList(ctx, subject, referrer)
}

// Untag deletes the tag alone. Where the registry cannot, that is said, and
// the manifest with its other tags is never deleted instead.
func (r *repository) Untag(ctx context.Context, tag string) error {
	if err := checkRef(tag); err != nil {
		return err
	}
	if store.IsDigest(tag) {
		return &store.RefError{Ref: tag, Reason: "a digest is not a tag"}
	}
	req := r.request(wire.ManifestDelete)
	req.Ref = tag
	err := r.remove(ctx, req, store.AbilityTagDelete, cannotUntag)
	e := statusOf(err, http.StatusNotFound)
	if e == nil {
		return err
	}
	// ECR answers 404 to every DELETE. Whether it means the tag, the tag tells.
	if _, there := r.Resolve(ctx, tag); there != nil {
		return err
	}
	r.known.learn(store.AbilityTagDelete, store.No, refused(req, e))
	// Not wrapped: the 404 is the reason, and not the class of this error.
	return fmt.Errorf("%w: %s, which is still there: %s", store.ErrUnsupported, cannotUntag, e)
}

const cannotUntag = "this registry cannot remove a tag alone"

// remove sends a DELETE; 400 and 405 say that the registry has it switched off
// (distribution-spec "Content Management").
func (r *repository) remove(ctx context.Context, req wire.Request, a store.Ability, cannot string) error {
	resp, err := r.client.do(ctx, call{Request: req, Want: []int{http.StatusAccepted, http.StatusOK, http.StatusNoContent}})
	if e := statusOf(err, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented); e != nil {
		r.known.learn(a, store.No, refused(req, e))
		return fmt.Errorf("%w: %s: %w", store.ErrUnsupported, cannot, e)
	}
	if e := statusOf(err, http.StatusNotFound); e != nil && e.maybeDone {
		return nil // by a try whose answer got lost
	}
	if err != nil {
		return err
	}
	resp.Body.Close()
	r.known.learn(a, store.Yes, answered(req, resp, ""))
	return nil
}
