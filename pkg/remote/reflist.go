package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// The list under the referrers tag belongs to everybody who attaches something
// to the subject, and no registry has a conditional PUT (distribution-spec
// "Referrers Tag Schema"). So a change is written, read back after a moment in
// which others may have written over it, and made again until it lasts.
const (
	listTries  = 30
	listSettle = 100 * time.Millisecond // at least; longer where the registry is slow
)

// refList is the list of referrers under a tag.
type refList struct {
	tag    string
	digest digest.Digest // "" where the tag is absent
	other  string        // what the tag is instead of a list; "" where it is one
	index  ocispec.Index
}

func (l *refList) entries() []store.Descriptor {
	if l.other != "" {
		return nil // distribution-spec: what is no index is assumed to list nothing
	}
	return l.index.Manifests
}

func (l *refList) has(d digest.Digest) bool {
	return slices.ContainsFunc(l.index.Manifests, func(e store.Descriptor) bool { return e.Digest == d })
}

// readList reads the list of the subject's referrers.
func (r *repository) readList(ctx context.Context, subject digest.Digest) (*refList, error) {
	l := &refList{tag: wire.ReferrersTag(subject)}
	m, err := r.Manifest(ctx, l.tag)
	if errors.Is(err, store.ErrNotFound) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	l.digest = m.Digest
	switch {
	case m.Digest == subject:
		l.other = "the subject itself" // GitLab reads such a tag as a digest
	case m.MediaType != store.MediaTypeIndex:
		l.other = "a manifest of type " + m.MediaType
	}
	if l.other != "" {
		return l, nil
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, err
	}
	if o.Subject != nil {
		l.other = "an index with a subject of its own"
		return l, nil
	}
	if err := json.Unmarshal(m.Raw, &l.index); err != nil {
		return nil, fmt.Errorf("%w: the list %s: %s", store.ErrInvalid, l.tag, err)
	}
	return l, nil
}

// writeList stores the list and points its tag at it. The fields of an index
// that others wrote are kept.
func (r *repository) writeList(ctx context.Context, l *refList) error {
	l.index.SchemaVersion, l.index.MediaType = 2, store.MediaTypeIndex
	if l.index.Manifests == nil {
		l.index.Manifests = []store.Descriptor{}
	}
	raw, err := json.Marshal(l.index)
	if err != nil {
		return err
	}
	m := store.NewManifest(store.MediaTypeIndex, raw)
	req := r.request(wire.ManifestPut)
	req.Ref = l.tag
	_, err = r.put(ctx, m, req)
	l.digest = m.Digest
	return err
}

// addToList adds an entry to the subject's list.
func (r *repository) addToList(ctx context.Context, subject digest.Digest, d store.Descriptor) error {
	return r.changeList(ctx, subject, listChange{entry: d})
}

// dropFromList removes the entry of a referrer that was deleted.
func (r *repository) dropFromList(ctx context.Context, subject, referrer digest.Digest) error {
	return r.changeList(ctx, subject, listChange{entry: store.Descriptor{Digest: referrer}, drop: true})
}

// listChange is an entry that should be in a list, or not.
type listChange struct {
	entry store.Descriptor
	drop  bool
}

// apply makes the change and says whether there was something to change.
func (c listChange) apply(l *refList) bool {
	if l.has(c.entry.Digest) != c.drop {
		return false
	}
	if c.drop {
		l.index.Manifests = slices.DeleteFunc(l.index.Manifests, func(e store.Descriptor) bool { return e.Digest == c.entry.Digest })
	} else {
		l.index.Manifests = append(l.index.Manifests, c.entry)
	}
	return true
}

// lists are the changes to lists of referrers that come from this process.
// One writer is at work on a list at a time: nobody here needs to lose. What
// arrives meanwhile waits together and is written at once, because each write
// takes the time that others need to show.
type lists struct {
	locks
	mu      sync.Mutex
	waiting map[digest.Digest]*listBatch // by subject
}

// listBatch is what is written at once. Its first change brings the others along.
type listBatch struct {
	changes []listChange
	done    chan struct{} // closed when err is set
	err     error
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

// changeList makes a change to a list until it lasts, together with those that
// arrive while it waits.
func (r *repository) changeList(ctx context.Context, subject digest.Digest, c listChange) error {
	for {
		b, first := r.lists.join(subject, c)
		if first {
			unlock, err := r.lists.lock(ctx, subject)
			r.lists.take(subject)
			if b.err = err; err == nil {
				b.err = r.writeChanges(ctx, subject, b.changes)
				unlock()
			}
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

// writeChanges makes changes to a list until they last.
//
// Another writer that read the list before our PUT writes it without our
// change. It does that within the time of a GET and a PUT, so the list is read
// back after more than that; and once more, later, when somebody else was seen
// at work.
func (r *repository) writeChanges(ctx context.Context, subject digest.Digest, changes []listChange) error {
	var written digest.Digest // by us, "" before the first time
	proofs := 1               // how often the change must still be seen
	for try := 0; try < listTries; {
		began := r.client.opts.Now()
		l, err := r.readList(ctx, subject)
		if err != nil {
			return err
		}
		if l.other != "" {
			return fmt.Errorf("%w: the tag %s should be a list of referrers, but is %s; it is left as it is",
				store.ErrExists, l.tag, l.other)
		}
		changed := false
		for _, c := range changes {
			changed = c.apply(l) || changed
		}
		switch {
		case !changed && written == "":
			return nil // it was so before
		case changed:
			if written != "" {
				proofs = 2 // somebody writes at the same time
			}
			if err := r.writeList(ctx, l); err != nil {
				return err
			}
			written = l.digest
			try++
		case l.digest != written:
			// Ours is in it, and somebody else's too.
			written, proofs = l.digest, max(proofs, 2)-1
		default:
			proofs--
		}
		if proofs == 0 {
			return nil
		}
		settle := max(r.settle, 3*r.client.opts.Now().Sub(began))
		if err := waitFor(ctx, settle+rand.N(settle)); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: the list %s was overwritten %d times by others",
		store.ErrUnavailable, wire.ReferrersTag(subject), listTries)
}
