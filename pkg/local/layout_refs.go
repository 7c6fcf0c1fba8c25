package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// node is what a manifest says of its place in the graph, kept by digest so
// that each manifest is read once.
type node struct {
	subject  digest.Digest      // "" without one
	listed   store.Descriptor   // as it stands in a list of referrers
	children []store.Descriptor // manifests of an index
	absent   bool               // it is not there, so that nothing is known
}

// node reads one manifest. One that is not in the layout, or not of a kind
// that stet can read, has no edges: layouts may be sparse.
func (l *layout) node(root *os.Root, d store.Descriptor) (node, error) {
	l.mu.Lock()
	n, ok := l.nodes[d.Digest]
	l.mu.Unlock()
	if ok {
		return n, nil
	}
	if _, err := l.size(root, d.Digest); errors.Is(err, store.ErrNotFound) {
		return node{absent: true}, nil
	} else if err != nil {
		return node{}, err
	}
	// A damaged manifest is an error and not one without edges: a list that
	// lacks a signature must not look complete.
	m, err := l.manifest(root, store.Plain(d))
	if err != nil {
		return node{}, err
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return node{}, l.fail(err)
	}
	n.children = o.Manifests
	if o.Subject != nil {
		n.subject, n.listed = o.Subject.Digest, referrer(d, o)
	}
	l.mu.Lock()
	l.nodes[d.Digest] = n
	l.mu.Unlock()
	return n, nil
}

// walk visits every manifest that index.json lists, and the children of
// indexes, each once.
func (l *layout) walk(ctx context.Context, root *os.Root, x *index, visit func(store.Descriptor, node) bool) error {
	var open []store.Descriptor
	for _, e := range x.entries {
		open = append(open, e.Descriptor)
	}
	// An index may name what others name, and a damaged one may seem to name itself.
	seen := map[digest.Digest]bool{}
	for len(open) > 0 {
		d := open[0]
		open = open[1:]
		if seen[d.Digest] || !store.IsManifestType(d.MediaType) {
			continue
		}
		seen[d.Digest] = true
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := l.node(root, d)
		if err != nil {
			return err
		}
		if !visit(d, n) {
			return nil
		}
		open = append(open, n.children...)
	}
	return nil
}

// Tags are sorted, so that a list can go on after a tag that was removed.
func (l *layout) Tags(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		root, x, err := l.read(ctx)
		if err != nil {
			yield("", err)
			return
		}
		_ = root.Close()
		var tags []string
		for _, e := range x.entries {
			if e.tag != "" {
				tags = append(tags, e.tag)
			}
		}
		slices.Sort(tags)
		yieldAfter(ctx, slices.Compact(tags), after, yield)
	}
}

func (l *layout) Referrers(
	ctx context.Context, subject digest.Digest, artifactType string,
) iter.Seq2[store.Descriptor, error] {
	return func(yield func(store.Descriptor, error) bool) {
		root, x, err := l.read(ctx)
		if errors.Is(err, store.ErrNotFound) {
			return // nothing refers to what is not there
		}
		if err != nil {
			yield(store.Descriptor{}, err)
			return
		}
		defer root.Close()
		all, err := l.referrers(ctx, root, x)
		if err != nil {
			yield(store.Descriptor{}, err)
			return
		}
		for _, d := range all[subject] {
			if artifactType != "" && d.ArtifactType != artifactType {
				continue
			}
			if _, err := l.size(root, d.Digest); err != nil {
				continue // it was deleted since it was read
			}
			d.Annotations = maps.Clone(d.Annotations) // those kept must not be changed by who reads the list
			if !yield(d, nil) {
				return
			}
		}
	}
}

// about is what refers to what, as an index says it and what lies under it.
type about struct {
	of    *index
	lists map[digest.Digest][]store.Descriptor
}

// referrers reads all of them at once: to look through a thousand manifests for
// each of a thousand costs a million.
func (l *layout) referrers(ctx context.Context, root *os.Root, x *index) (map[digest.Digest][]store.Descriptor, error) {
	l.mu.Lock()
	kept := l.about
	l.mu.Unlock()
	if kept != nil && kept.of == x {
		return kept.lists, nil
	}
	lists, whole := map[digest.Digest][]store.Descriptor{}, true
	err := l.walk(ctx, root, x, func(d store.Descriptor, n node) bool {
		if n.subject != "" {
			lists[n.subject] = append(lists[n.subject], n.listed)
		}
		whole = whole && !n.absent
		return true
	})
	if err != nil {
		return nil, err
	}
	if whole { // what is absent may come without a change of the index
		l.mu.Lock()
		l.about = &about{x, lists}
		l.mu.Unlock()
	}
	return lists, nil
}

// resolveChild finds the media type of a manifest that index.json does not
// list, such as the child of an index: from the manifest itself, else from the
// index that names it. A blob that is neither is not found.
func (l *layout) resolveChild(
	ctx context.Context, root *os.Root, x *index, dgst digest.Digest,
) (store.Descriptor, error) {
	d := store.Descriptor{Digest: dgst}
	absent := notFound(fmt.Sprintf("manifest %s in %s", dgst, l.dir))
	size, err := l.size(root, dgst)
	if err != nil {
		return d, err
	}
	if d.Size = size; size > maxManifest { // surely a layer, not worth reading
		return d, absent
	}
	raw, err := readFile(root, blobPath(dgst), maxManifest)
	if err != nil {
		return d, l.fail(err)
	}
	var head struct {
		MediaType string `json:"mediaType"`
	}
	if json.Unmarshal(raw, &head) == nil && store.IsManifestType(head.MediaType) {
		d.MediaType = head.MediaType
		return d, nil
	}
	err = l.walk(ctx, root, x, func(_ store.Descriptor, n node) bool {
		for _, child := range n.children {
			if child.Digest == dgst && store.IsManifestType(child.MediaType) {
				d.MediaType = child.MediaType
			}
		}
		return d.MediaType == ""
	})
	if err == nil && d.MediaType == "" {
		err = absent
	}
	return d, err
}
