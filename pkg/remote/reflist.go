package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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
	return r.changeList(ctx, subject, func(l *refList) bool {
		if l.has(d.Digest) {
			return false
		}
		l.index.Manifests = append(l.index.Manifests, d)
		return true
	})
}

// dropFromList removes the entry of a referrer that was deleted.
func (r *repository) dropFromList(ctx context.Context, subject, referrer digest.Digest) error {
	return r.changeList(ctx, subject, func(l *refList) bool {
		if !l.has(referrer) {
			return false
		}
		l.index.Manifests = slices.DeleteFunc(l.index.Manifests, func(e store.Descriptor) bool { return e.Digest == referrer })
		return true
	})
}

// changeList makes a change to a list until it lasts. change says whether
// there was something to change.
//
// Another writer that read the list before our PUT writes it without our
// change. It does that within the time of a GET and a PUT, so the list is read
// back after more than that; and once more, later, when somebody else was seen
// at work.
func (r *repository) changeList(ctx context.Context, subject digest.Digest, change func(*refList) bool) error {
	// Within one process nobody needs to lose.
	unlock, err := r.lists.lock(ctx, subject)
	if err != nil {
		return err
	}
	defer unlock()
	var written digest.Digest // by us, "" before the first time
	proofs := 1               // how often the change must still be seen
	for try := 0; try < listTries; {
		began := r.client.opts.Now()
		l, err := r.readList(ctx, subject)
		if err != nil {
			return err
		}
		if l.other != "" {
			return fmt.Errorf("%w: the tag %s should list the referrers of %s, but is %s; it is left as it is",
				store.ErrExists, l.tag, subject, l.other)
		}
		changed := change(l)
		switch {
		case !changed && written == "":
			return nil // it was so before
		case changed:
			if written != "" {
				proofs = 2 // somebody writes at the same time
			}
			if err := r.writeList(ctx, l); err != nil {
				return fmt.Errorf("the tag %s: %w", l.tag, err)
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
	return fmt.Errorf("%w: the list %s of the referrers of %s was overwritten %d times by others",
		store.ErrUnavailable, wire.ReferrersTag(subject), subject, listTries)
}
