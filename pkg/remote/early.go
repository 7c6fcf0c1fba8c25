package remote

import (
	"context"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// early is a subject's list of referrers that is read before it is known to be
// needed, because it does not depend on the answer that is waited for meanwhile.
// nil is none.
type early struct {
	list        *refList
	err         error
	began, read time.Time
	turn        int // of the list, when it was read

	done   sync.WaitGroup
	cancel context.CancelFunc
}

// readEarly begins to read the subject's list.
func (r *repository) readEarly(ctx context.Context, subject digest.Digest) *early {
	e := &early{began: r.client.opts.Now(), turn: r.lists.turnOf(subject)}
	ctx, e.cancel = context.WithCancel(ctx)
	e.done.Go(func() {
		e.list, e.err = r.readList(ctx, subject)
		e.read = r.client.opts.Now()
	})
	return e
}

// stop ends what nobody waits for.
func (e *early) stop() {
	if e != nil {
		e.cancel()
		e.done.Wait()
	}
}

// wait gives the list.
func (e *early) wait() (*refList, error) {
	e.done.Wait()
	return e.list, e.err
}

// usable gives the list where a change may still be made to it, else nil: it was
// not written here since, and it was read just now. Who writes a list makes those
// lose who have written it since he read it.
func (e *early) usable(r *repository, subject digest.Digest) (*refList, time.Time) {
	if e == nil {
		return nil, time.Time{}
	}
	l, err := e.wait()
	if err != nil || e.turn%2 != 0 || e.turn != r.lists.turnOf(subject) || r.client.opts.Now().Sub(e.read) > r.fresh {
		return nil, time.Time{}
	}
	return l, e.began
}

// linking is a manifest with a subject on its way into the subject's list.
type linking struct {
	subject digest.Digest
	entry   store.Manifest
	arrived func() // of lists.announce
	only    bool   // no other is on its way: nothing here will change the list before
	early   *early
}

// beginLink announces a referrer that is about to be put. Where it is known that the
// list of referrers is kept under a tag, the list is read meanwhile.
func (r *repository) beginLink(ctx context.Context, m store.Manifest, subject digest.Digest) *linking {
	l := &linking{subject: subject, entry: m}
	if l.arrived, l.only = r.lists.announce(subject); l.only && r.hasReferrersAPI() == store.No {
		l.early = r.readEarly(ctx, subject)
	}
	return l
}

// stop ends what was begun for it.
func (l *linking) stop() {
	l.arrived()
	l.early.stop()
}
