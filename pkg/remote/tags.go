package remote

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Several tags in one PUT by digest (distribution-spec "Pushing manifests":
// ?tag=) are new: a registry that does not know of them answers 201, and sets
// none. What that costs is one request; what it saves is all tags but one.
const (
	// maxTagsPerPut is how many tags every registry that takes several takes.
	maxTagsPerPut = 10
	// tagsWorthTrying is from how many on it is tried where nothing is known:
	// for two a request could be saved, or be in vain.
	tagsWorthTrying = 3
)

// atOnce says whether so many tags are to be set in one request.
func (r *repository) atOnce(tags int) bool {
	switch r.known.of(store.AbilityMultiTag) {
	case store.Yes:
		return tags > 1
	case store.No:
		return false
	}
	return tags >= tagsWorthTrying
}

// putFirst sends the manifest by its first tag, by its digest with several, or by
// digest alone: without tags, and where the registry would choose sha256 for a
// tag. It gives the tags that are left.
func (r *repository) putFirst(ctx context.Context, m store.Manifest, tags []string) (*http.Response, []string, error) {
	other := m.Digest.Algorithm() != digest.Canonical
	if len(tags) > 0 && other || r.atOnce(len(tags)) {
		resp, rest, err := r.putSeveral(ctx, m, tags)
		if resp != nil || err != nil {
			return resp, rest, err
		}
	}
	req := r.request(wire.ManifestPut)
	req.Ref = m.Digest.String()
	if len(tags) > 0 && !other {
		req.Ref, tags = tags[0], tags[1:]
	}
	resp, err := r.put(ctx, m, req)
	return resp, tags, err
}

// putSeveral sends the manifest by digest with as many of the tags as one
// request takes. Only those are set that the registry gives back (OCI-Tag); the
// others are left. There is no answer where the registry refused the tags, or
// the manifest: which of them, a request without tags shows.
func (r *repository) putSeveral(ctx context.Context, m store.Manifest, tags []string) (*http.Response, []string, error) {
	req := r.request(wire.ManifestPut)
	req.Ref, req.Tags = m.Digest.String(), tags[:min(len(tags), maxTagsPerPut)]
	resp, err := r.put(ctx, m, req)
	refusal := statusOf(err, http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge, http.StatusNotImplemented)
	if refusal != nil {
		r.known.learn(store.AbilityMultiTag, store.No, refused(req, refusal))
		return nil, tags, nil
	}
	if err != nil {
		return nil, nil, err
	}
	set := echoedTags(resp)
	answer := store.No
	if len(set) > 0 {
		answer = store.Yes
	}
	r.known.learn(store.AbilityMultiTag, answer, answered(req, resp, "OCI-Tag"))
	return resp, slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return slices.Contains(set, t) }), nil
}

// echoedTags reads OCI-Tag: several headers, or one with commas.
func echoedTags(resp *http.Response) []string {
	var tags []string
	for _, v := range resp.Header.Values("OCI-Tag") {
		for t := range strings.SplitSeq(v, ",") {
			tags = append(tags, strings.TrimSpace(t))
		}
	}
	return tags
}

// putTags points tags at a manifest that is there: several at once where the
// registry does that, and each that is left by itself.
func (r *repository) putTags(ctx context.Context, m store.Manifest, tags []string) error {
	for r.atOnce(len(tags)) {
		_, rest, err := r.putSeveral(ctx, m, tags)
		if err != nil {
			return err
		}
		if len(rest) == len(tags) {
			break // it took none of these
		}
		tags = rest
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(tagsAtOnce)
	for _, tag := range tags {
		group.Go(func() error {
			req := r.request(wire.ManifestPut)
			req.Ref = tag
			_, err := r.put(gctx, m, req)
			return err
		})
	}
	return group.Wait()
}

// tagsAtOnce bounds the requests for single tags; the pace of the origin does more.
const tagsAtOnce = 64
