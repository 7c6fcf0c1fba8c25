package remote

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// homeOf is a repository of this registry that has the blob, as far as its
// source or the cache knows; given says that it was the source.
func (r *repository) homeOf(b store.Blob) (from string, given bool) {
	if from, same := strings.CutPrefix(b.Home, r.client.host+"/"); same {
		return from, true
	}
	return r.client.homes.find(b.Digest, r.name), false
}

// asksFirst decides how a small blob begins: by asking for it and opening an
// upload at once, or by sending it. Either is one request, and right in any case.
//
// What is known, or likely, to be here is asked for. Else a registry that stores
// a blob by one POST gets it at once, and any other is asked, because it would
// read the bytes for nothing. As long as neither is known, registries that name
// their version in every answer are of the family of CNCF Distribution, which
// does not store by one POST; and what nothing is known of is asked.
func (r *repository) asksFirst(b store.Blob, here bool) bool {
	if r.noAsking.Load() {
		return false
	}
	switch r.singlePost() {
	case store.Yes:
		return here
	case store.No:
		return true
	}
	return here || r.client.family.Load() != otherFamily
}

// singlePost says whether the registry stores a blob by one POST, as far as
// answers or earlier processes have shown.
func (r *repository) singlePost() store.Answer {
	if a := r.known.of(store.AbilitySinglePost); a != store.Unknown {
		return a
	}
	return r.client.homes.singlePost()
}

// triesPost is true once, where it would be good to know for later processes
// whether the registry stores a blob by one POST: they save a round trip.
func (r *repository) triesPost() bool {
	return r.client.homes != nil && r.singlePost() == store.Unknown &&
		r.client.family.Load() == otherFamily && r.triedPost.CompareAndSwap(false, true)
}

// learnPost keeps whether the registry stores a blob by one POST.
func (r *repository) learnPost(answer store.Answer, e store.Evidence) {
	r.known.learn(store.AbilitySinglePost, answer, e)
	r.client.homes.learnPost(answer)
}

// The families of registries, as their answers show.
const (
	noFamily int32 = iota // nothing was answered
	distributionFamily
	otherFamily
)

// recognize learns the registry's family from an answer.
func (c *client) recognize(resp *http.Response) {
	family := otherFamily
	if resp.Header.Get("Docker-Distribution-Api-Version") != "" {
		family = distributionFamily
	}
	if sameOrigin(resp.Request.URL, c.base) {
		c.family.Store(family)
	}
}

// ask asks for a blob and opens an upload for it where it is not here, in one
// request: it is a mount of the repository's own blob. A registry answers 201
// where it has the blob, and else 202, which is no more than an upload
// (distribution-spec "Mounting a blob from another repository"). One that
// refuses is not asked again.
func (r *repository) ask(ctx context.Context, d digest.Digest) (found bool, s *session, err error) {
	found, s, err = r.tryMount(ctx, d, r.name)
	if err == nil || errors.Is(err, store.ErrUnavailable) || statusOf(err) == nil && !errors.Is(err, store.ErrMismatch) {
		return found, s, err
	}
	r.noAsking.Store(true)
	return false, nil, nil
}

// aheadSize is up to where a blob is read while the registry is asked for it: it
// may be read in vain.
const aheadSize = 64 << 10

// readingAhead is a blob that is being read into memory.
type readingAhead struct {
	read func(ctx context.Context) ([]byte, error)
	stop context.CancelFunc
	came chan struct{} // nil is not begun

	raw []byte
	err error
}

// readAhead begins to read a blob, unless that may be much for nothing.
func readAhead(ctx context.Context, b store.Blob) *readingAhead {
	ctx, stop := context.WithCancel(ctx)
	a := &readingAhead{stop: stop, read: func(ctx context.Context) ([]byte, error) { return store.ReadBlob(ctx, b, smallBlob) }}
	if b.Size > aheadSize {
		return a
	}
	a.came = make(chan struct{})
	go func() {
		defer close(a.came)
		a.raw, a.err = a.read(ctx)
	}()
	return a
}

// wait gives the content, and proves it.
func (a *readingAhead) wait(ctx context.Context) ([]byte, error) {
	if a.came == nil {
		return a.read(ctx)
	}
	<-a.came
	return a.raw, a.err
}
