package local

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// unmoved is ErrMoved unless a tag still names what it did.
func unmoved(tag string, now, old digest.Digest) error {
	if now == old {
		return nil
	}
	if now == "" {
		return fmt.Errorf("%w: the tag %q is gone, and named %s", store.ErrMoved, tag, old)
	}
	return fmt.Errorf("%w: the tag %q names %s, and named %s", store.ErrMoved, tag, now, old)
}

// tagged is the digest that a tag of index.json names, "" for none.
func (x *index) tagged(tag string) digest.Digest {
	for _, e := range slices.Backward(x.entries) {
		if e.tag == tag {
			return e.Digest
		}
	}
	return ""
}

// manifests are the entries of index.json, each manifest once, with a tag where it
// has one.
func (x *index) manifests() []store.Descriptor {
	names := map[string]digest.Digest{}
	for _, e := range x.entries {
		names[e.tag] = e.Digest // the later stands, as in find
	}
	var all []store.Descriptor
	at := map[digest.Digest]int{}
	for _, e := range x.entries {
		i, met := at[e.Digest]
		if !met {
			i = len(all)
			at[e.Digest] = i
			all = append(all, store.Plain(e.Descriptor))
		}
		if e.tag != "" && names[e.tag] == e.Digest {
			all[i].Annotations = map[string]string{ocispec.AnnotationRefName: e.tag}
		}
	}
	return all
}

// yieldAll gives out a list that nobody changes.
func yieldAll(ctx context.Context, all []store.Descriptor, yield func(store.Descriptor, error) bool) {
	for _, d := range all {
		if err := context.Cause(ctx); err != nil {
			yield(store.Descriptor{}, err)
			return
		}
		if !yield(d, nil) {
			return
		}
	}
}

// Manifests lists all of them, by digest.
func (s *memory) Manifests(ctx context.Context) iter.Seq2[store.Descriptor, error] {
	return func(yield func(store.Descriptor, error) bool) {
		s.mu.RLock()
		known := s.in == nil || s.exists
		var all []store.Descriptor
		for _, m := range s.manifests {
			all = append(all, m.Descriptor)
		}
		s.mu.RUnlock()
		if !known {
			yield(store.Descriptor{}, notFound("repository "+s.name))
			return
		}
		slices.SortFunc(all, func(a, b store.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
		yieldAll(ctx, all, yield)
	}
}

// Manifests lists the entries of index.json.
func (l *layout) Manifests(ctx context.Context) iter.Seq2[store.Descriptor, error] {
	return func(yield func(store.Descriptor, error) bool) {
		root, x, err := l.read(ctx)
		if err != nil {
			yield(store.Descriptor{}, err)
			return
		}
		_ = root.Close()
		yieldAll(ctx, x.manifests(), yield)
	}
}

// Manifests lists the entries of index.json.
func (a *archive) Manifests(ctx context.Context) iter.Seq2[store.Descriptor, error] {
	return func(yield func(store.Descriptor, error) bool) {
		a.mu.Lock()
		l, there := a.layouts[a.dir]
		var all []store.Descriptor
		if there {
			all = l.index.manifests()
		}
		a.mu.Unlock()
		if !there {
			yield(store.Descriptor{}, a.absent("an OCI layout"))
			return
		}
		yieldAll(ctx, all, yield)
	}
}
