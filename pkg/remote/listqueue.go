package remote

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
)

// lists are the changes to lists of referrers that come from this process.
// One writer is at work on a list at a time: nobody here needs to lose. What
// arrives meanwhile, and what is on its way, waits together and is written at
// once, because each write takes the time that others need to show.
type lists struct {
	locks
	mu      sync.Mutex
	waiting map[digest.Digest]*listBatch // by subject
	coming  map[digest.Digest]*arrivals  // by subject
	turn    map[digest.Digest]int        // by subject: odd while it is written
}

// listBatch is what is written at once. Its first change brings the others along.
type listBatch struct {
	changes []listChange
	done    chan struct{} // closed when err is set
	err     error
}

// arrivals are changes on their way: their manifests are being put.
type arrivals struct {
	n    int
	none chan struct{} // closed when n is 0 again
}

// announce says that a change is on its way, and whether it is the only one.
// arrived is to be called when it has joined, or does not come.
func (q *lists) announce(subject digest.Digest) (arrived func(), only bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.coming[subject]
	if a == nil {
		a = &arrivals{none: make(chan struct{})}
		if q.coming == nil {
			q.coming = map[digest.Digest]*arrivals{}
		}
		q.coming[subject] = a
	}
	a.n++
	arrived = sync.OnceFunc(func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if a.n--; a.n > 0 {
			return
		}
		close(a.none)
		if q.coming[subject] == a {
			delete(q.coming, subject)
		}
	})
	return arrived, a.n == 1 && q.waiting[subject] == nil
}

// await waits for the changes that are on their way now. What is announced later
// is for the next batch: it could go on for ever.
func (q *lists) await(ctx context.Context, subject digest.Digest) error {
	q.mu.Lock()
	a := q.coming[subject]
	delete(q.coming, subject)
	q.mu.Unlock()
	if a == nil {
		return nil
	}
	select {
	case <-a.none:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// join adds a change to the batch that waits; first is true where it is a new one.
func (q *lists) join(subject digest.Digest, c listChange) (b *listBatch, first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b = q.waiting[subject]; b == nil {
		b, first = &listBatch{done: make(chan struct{})}, true
		if q.waiting == nil {
			q.waiting = map[digest.Digest]*listBatch{}
		}
		q.waiting[subject] = b
	}
	// Of two changes about one referrer the later one holds; together they
	// would never be done.
	b.changes = slices.DeleteFunc(b.changes, func(old listChange) bool { return old.entry.Digest == c.entry.Digest })
	b.changes = append(b.changes, c)
	return b, first
}

// take closes the batch that waits: what comes now begins the next.
func (q *lists) take(subject digest.Digest) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.waiting, subject)
}

// turnOf tells one state of a list from another, as far as it is written here.
func (q *lists) turnOf(subject digest.Digest) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.turn[subject]
}

// next begins or ends to write a list.
func (q *lists) next(subject digest.Digest) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.turn == nil {
		q.turn = map[digest.Digest]int{}
	}
	q.turn[subject]++
}

// changeList makes a change to a list until it lasts, together with those that
// arrive while it waits.
func (r *repository) changeList(ctx context.Context, l *linking, c listChange) error {
	for {
		b, first := r.lists.join(l.subject, c)
		l.arrived()
		if first {
			b.err = r.writeBatch(ctx, l, b)
			close(b.done)
			return b.err
		}
		select {
		case <-b.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		// That who wrote was given up is no reason for the others.
		given := errors.Is(b.err, context.Canceled) || errors.Is(b.err, context.DeadlineExceeded)
		if !given || ctx.Err() != nil {
			return b.err
		}
	}
}

// writeBatch writes a batch when it is its turn and nothing more is on its way.
func (r *repository) writeBatch(ctx context.Context, l *linking, b *listBatch) error {
	unlock, err := r.lists.lock(ctx, l.subject)
	if err == nil {
		defer unlock()
		err = r.lists.await(ctx, l.subject)
	}
	r.lists.take(l.subject)
	if err != nil {
		return err
	}
	list, began := l.early.usable(r, l.subject)
	r.lists.next(l.subject)
	defer r.lists.next(l.subject)
	return r.writeChanges(ctx, change{l.subject, b.changes}, list, began)
}
