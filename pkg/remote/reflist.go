package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptrace"
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
	crowded    = 3                      // times as long where others are at work
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

// writeList stores the list and points its tag at it, or fails: to send it again
// later would take away what others have written since it was read. The fields of
// an index that others wrote are kept.
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
	_, err = r.putOnce(ctx, m, req, true)
	l.digest = m.Digest
	return err
}

// addToList adds an entry to the list of the link's subject.
func (r *repository) addToList(ctx context.Context, l *linking, d store.Descriptor) error {
	return r.changeList(ctx, l, listChange{entry: d})
}

// dropFromList removes the entry of a referrer that was deleted.
func (r *repository) dropFromList(ctx context.Context, subject, referrer digest.Digest) error {
	l := &linking{subject: subject, arrived: func() {}}
	return r.changeList(ctx, l, listChange{entry: store.Descriptor{Digest: referrer}, drop: true})
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

// change is what is to be done to a subject's list.
type change struct {
	subject digest.Digest
	entries []listChange
}

func (c *change) apply(l *refList) (changed bool) {
	for _, e := range c.entries {
		changed = e.apply(l) || changed
	}
	return changed
}

// rescue adds to the change the entries that somebody else has written since base
// was read, and that our write has taken away.
func (c *change) rescue(seen, base *refList) {
	for _, e := range seen.entries() {
		ours := slices.ContainsFunc(c.entries, func(o listChange) bool { return o.entry.Digest == e.Digest })
		if !ours && !base.has(e.Digest) {
			c.entries = append(c.entries, listChange{entry: e})
		}
	}
}

// writeChanges makes changes to a list until they last. l is the list where it
// was read already, from the time began on.
//
// Another writer that read the list before our PUT writes it without our change.
// It sees that when it looks at the list while its PUT is under way, unless it
// looked before our PUT and wrote after it; and that we see, as the list is read
// back when as long has passed once more as ours took. Where somebody else was
// seen at work it is more, and the change has to be seen twice.
func (r *repository) writeChanges(ctx context.Context, todo change, l *refList, began time.Time) (err error) {
	var written digest.Digest // by us, "" before the first time
	proofs, alone := 1, true  // how often the change must still be seen; nobody else was
	failed := 0               // writes, one after the other
	for try := 0; try < listTries; l = nil {
		if l == nil {
			began = r.client.opts.Now()
			if l, err = r.readList(ctx, todo.subject); err != nil {
				return err
			}
		}
		if l.other != "" {
			return fmt.Errorf("%w: the tag %s should be a list of referrers, but is %s; it is left as it is",
				store.ErrExists, l.tag, l.other)
		}
		base := *l
		base.index.Manifests = slices.Clone(l.index.Manifests)
		changed := todo.apply(l)
		switch {
		case !changed && written == "":
			return nil // it was so before
		case changed:
			seen, err := r.writeWatching(ctx, todo.subject, l)
			if seen != nil {
				todo.rescue(seen, &base)
			}
			if err != nil {
				if err := r.pauseList(ctx, l, failed, err); err != nil {
					return err
				}
				// Whether it is there is to be seen.
				failed, written, proofs, alone = failed+1, l.digest, 2, false
				continue
			}
			failed = 0
			if other := seen != nil && seen.digest != base.digest && seen.digest != l.digest; other || written != "" {
				proofs, alone = 2, false // somebody writes at the same time
			}
			written = l.digest
			try++
		case l.digest != written:
			// Ours is in it, and somebody else's too.
			written, proofs, alone = l.digest, max(proofs, 2)-1, false
		default:
			proofs--
		}
		if proofs == 0 {
			return nil
		}
		if err := r.letOthersShow(ctx, r.client.opts.Now().Sub(began), alone); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: the list %s was overwritten %d times by others",
		store.ErrUnavailable, wire.ReferrersTag(todo.subject), listTries)
}

// pauseList waits before a list is read and written anew because a write failed;
// it gives the error of that where it is the last word.
func (r *repository) pauseList(ctx context.Context, l *refList, failed int, err error) error {
	e := statusOf(err)
	if failed >= r.retries() || ctx.Err() != nil || !errors.Is(err, store.ErrUnavailable) || e != nil && e.tooLong {
		return err
	}
	r.client.opts.Events.Emit(store.Event{
		Kind: store.Retrying, Name: "the list " + l.tag, Text: err.Error() + "; reading it and writing it again",
	})
	return pause(ctx, failed)
}

// writeWatching writes a list, and reads it once the request is on its way: what
// others have written since it was read before shows, although it is written over.
// Where it has to be sent twice, for a new token, the last time counts. It gives
// nil where that cannot be seen.
func (r *repository) writeWatching(ctx context.Context, subject digest.Digest, l *refList) (seen *refList, err error) {
	var (
		watching   sync.WaitGroup
		mu         sync.Mutex
		sent, read int  // times, and the one that seen is of
		over       bool // nothing is sent any more
	)
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		sent++
		at := sent
		watching.Go(func() {
			now, err := r.readList(ctx, subject)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && at > read {
				seen, read = now, at
			}
		})
	}
	sending := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { look() }})
	err = r.writeList(sending, l)
	mu.Lock()
	over = true
	mu.Unlock()
	watching.Wait()
	return seen, err
}

// letOthersShow waits for writers who looked at a list before our PUT and write
// it after that, by the time that our own GET and PUT took. Where there are
// several they are not to come in step, and keep each other waiting.
func (r *repository) letOthersShow(ctx context.Context, took time.Duration, alone bool) error {
	settle := max(r.settle, took)
	if alone {
		return waitFor(ctx, settle+rand.N(settle/2))
	}
	settle = max(r.settle, crowded*took)
	return waitFor(ctx, settle+rand.N(settle))
}
