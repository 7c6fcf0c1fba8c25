package remote

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

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

// questions are how a repository finds out which way small blobs begin: by asking
// for one and opening an upload at once, or by sending it. Either is one request,
// and right in any case.
//
// A registry that stores a blob by one POST gets it at once, and any other is asked,
// because it would read the bytes for nothing. While that is not known, a few blobs are asked for: a small artifact
// has no more. If they are not here, one of the others is sent, to learn it.
type questions struct {
	mu       sync.Mutex
	news     chan struct{} // closed when something changes
	refused  bool          // the registry refuses a question
	asked    int
	answered bool
	absent   bool // the first answer was that the blob is not here
	posted   bool // a blob was sent to learn whether that stores it
	tried    bool // and that came to an end
}

// asksAtOnce is how many blobs are asked for before the first answer, and again
// before it is known whether one POST stores a blob.
const asksAtOnce = 4

// asksFirst decides how a small blob begins; it may wait for what others learn.
func (r *repository) asksFirst(ctx context.Context) (bool, error) {
	q := &r.asks
	for {
		q.mu.Lock()
		asks, decided := q.decide(r.singlePost())
		if q.news == nil {
			q.news = make(chan struct{})
		}
		news := q.news
		q.mu.Unlock()
		if decided {
			return asks, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// decide is asksFirst as far as is known now; the caller holds mu.
func (q *questions) decide(post store.Answer) (asks, decided bool) {
	ask := func() (bool, bool) {
		q.asked++
		return true, true
	}
	switch {
	case q.refused:
		return false, true
	case post == store.No:
		return true, true
	case post == store.Yes:
		return false, true
	case q.asked < asksAtOnce, q.answered && !q.absent:
		return ask()
	case !q.answered:
		return false, false
	case !q.posted:
		q.posted = true
		return false, true
	case q.asked < 2*asksAtOnce, q.tried:
		return ask()
	}
	return false, false
}

// heard notes the answer to a question.
func (q *questions) heard(found, refused bool) {
	q.change(func() {
		q.absent = q.absent || !q.answered && !found
		q.answered, q.refused = true, q.refused || refused
	})
}

// change changes what is known, and wakes those who wait for it.
func (q *questions) change(do func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	do()
	if q.news != nil {
		close(q.news)
		q.news = nil
	}
}

// singlePost says whether the registry stores a blob by one POST, as far as
// answers or earlier processes have shown.
func (r *repository) singlePost() store.Answer {
	if a := r.known.of(store.AbilitySinglePost); a != store.Unknown {
		return a
	}
	return r.client.homes.singlePost()
}

// learnPost keeps whether the registry stores a blob by one POST.
func (r *repository) learnPost(answer store.Answer, e store.Evidence) {
	r.known.learn(store.AbilitySinglePost, answer, e)
	r.client.homes.learnPost(answer)
	r.asks.change(func() { r.asks.tried = true })
}

// looksFor asks whether a blob that is said to be here is. No upload is opened: the
// answer is one to believe, where that to a mount would have to be looked after.
func (r *repository) looksFor(ctx context.Context, d store.Descriptor) (bool, error) {
	found, err := r.hasBlob(ctx, d)
	if err != nil && mayDoWithout(ctx, err, false) {
		return false, nil
	}
	return found, err
}

// ask asks for a blob and opens an upload for it where it is not here, in one
// request: it is a mount of the repository's own blob. A registry answers 201
// where it has the blob, and else 202, which is no more than an upload
// (distribution-spec "Mounting a blob from another repository"). Of one that does
// neither nothing is learnt, and the blob is sent; one that refuses is not asked
// again.
func (r *repository) ask(ctx context.Context, d digest.Digest) (found bool, s *session, err error) {
	found, s, err = r.tryMount(ctx, d, r.name, true)
	busy := errors.Is(err, store.ErrUnavailable) && statusOf(err, http.StatusInternalServerError) == nil
	r.asks.heard(found, err != nil && !busy)
	if err != nil && mayDoWithout(ctx, err, false) {
		return false, nil, nil
	}
	return found, s, err
}
