package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// mount asks the registry to link the blob from another of its repositories.
// Where it does not, it may have opened an upload, which is then used. That is
// told where the caller gave the other repository; what the cache knew of it may
// be long past, and is forgotten.
func (r *repository) mount(ctx context.Context, d digest.Digest, from string, given bool) (bool, *session, error) {
	mounted, s, err := r.tryMount(ctx, d, from, !given)
	if mounted {
		return true, nil, nil
	}
	choice, reason := chooseMount(err, false)
	switch {
	case !given && mayDoWithout(ctx, err, true):
		r.client.homes.drop(d, from, err != nil)
	case choice != "":
		r.fallback(choice, reason)
	default:
		return false, nil, err
	}
	return false, s, nil
}

// mayDoWithout says whether an upload follows a mount that nobody asked for, and
// that failed with err. Nothing but the end of the command, a registry that wants
// to be left alone, and a token server that gives nothing keeps it from that; a
// token to read the other repository is more than an upload needs.
func mayDoWithout(ctx context.Context, err error, other bool) bool {
	e := refusalOf(err)
	return ctx.Err() == nil && (e == nil || !e.tooLong && (other || !e.noToken))
}

// tryMount sends the mount (distribution-spec "Mounting a blob from another
// repository"): 201 is done, 202 has opened an upload. One that can be done
// without is not tried again.
func (r *repository) tryMount(ctx context.Context, d digest.Digest, from string, once bool) (mounted bool, s *session, err error) {
	req := r.request(wire.UploadMount)
	req.Digest, req.From = d, from
	resp, err := r.client.do(ctx, call{Request: req, Once: once, Want: []int{http.StatusCreated, http.StatusAccepted}})
	if err != nil {
		return false, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusAccepted {
		s, _ = r.session(resp) // which was not asked for; without one an upload is opened
		return false, s, nil
	}
	if from != r.name {
		r.known.learn(store.AbilityMount, store.Yes, answered(req, resp, ""))
	}
	err = checkDigestHeader(resp, d)
	return err == nil, nil, err
}

// chooseMount decides what follows a mount that was not done, or of which the
// registry said falsely that it was; "" is to fail.
func chooseMount(err error, lied bool) (choice, reason string) {
	if lied {
		return "upload", "the registry said that it had a blob, and does not have it"
	}
	if err == nil {
		return "upload", "the registry did not mount the blob: it answered 202 and opened an upload"
	}
	if errors.Is(err, store.ErrMismatch) {
		return "upload", "the registry says that it mounted another blob than it was asked for"
	}
	e := statusOf(err)
	if e == nil { // a token server may be who says that the other repository is not to be read
		e = refusalOf(err, http.StatusUnauthorized, http.StatusForbidden)
	}
	if e != nil && !errors.Is(err, store.ErrUnavailable) {
		return "upload", fmt.Sprintf("the registry did not mount the blob: it answered %d", e.Status)
	}
	return "", ""
}
