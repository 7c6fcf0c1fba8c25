package graph

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// Holder is an index that lists a manifest.
type Holder struct {
	Index digest.Digest
	Tags  []string // that name the index, or another that leads to it
}

// Standing is what else would be touched if a manifest were deleted.
type Standing struct {
	Tags    []string // the tags that name it
	Holders []Holder // the indexes that list it
}

// FindStanding looks through the tags of a store, and the indexes that they
// lead to, for the manifest d. An index that no tag leads to is not found. With
// more than limit tags, where that is not 0, nothing is looked at:
// store.ErrTooLarge. On a registry each tag costs a request.
func FindStanding(ctx context.Context, src store.Reader, d digest.Digest, limit int) (Standing, error) {
	var tags []string
	for tag, err := range src.Tags(ctx, "") {
		if err != nil {
			return Standing{}, fail(Source, "list tags", store.Descriptor{}, err)
		}
		if _, suffix, ok := SplitDigestTag(tag); ok && suffix == "" {
			continue // a list of referrers, which follows what is deleted and holds nothing
		}
		if tags = append(tags, tag); limit > 0 && len(tags) > limit {
			return Standing{}, fmt.Errorf("%w: there are more than %d tags", store.ErrTooLarge, limit)
		}
	}
	named, err := resolveAll(ctx, src, tags)
	if err != nil {
		return Standing{}, err
	}
	f := &finder{src: src, wanted: d, lists: map[digest.Digest][]store.Descriptor{}}
	var standing Standing
	above := map[digest.Digest][]string{} // tags of the indexes that are to be read
	var indexes []store.Descriptor
	for i, tag := range tags {
		switch {
		case named[i].Digest == d:
			standing.Tags = append(standing.Tags, tag)
		case isIndex(named[i]):
			if above[named[i].Digest] == nil {
				indexes = append(indexes, named[i])
			}
			above[named[i].Digest] = append(above[named[i].Digest], tag)
		}
	}
	slices.Sort(standing.Tags)
	for _, x := range indexes {
		found, err := f.under(ctx, x)
		if err != nil {
			return standing, err
		}
		for _, index := range found {
			standing.hold(index, above[x.Digest])
		}
	}
	return standing, nil
}

// hold adds an index, or to one that is there the tags that lead to it as well.
func (s *Standing) hold(index digest.Digest, tags []string) {
	i := slices.IndexFunc(s.Holders, func(h Holder) bool { return h.Index == index })
	if i < 0 {
		i, s.Holders = len(s.Holders), append(s.Holders, Holder{Index: index})
	}
	s.Holders[i].Tags = append(s.Holders[i].Tags, tags...)
}

func isIndex(d store.Descriptor) bool {
	return d.MediaType == store.MediaTypeIndex || d.MediaType == store.MediaTypeDockerIndex
}

// resolveAll asks what tags name. A tag that has gone meanwhile names nothing.
func resolveAll(ctx context.Context, src store.Reader, tags []string) ([]store.Descriptor, error) {
	named := make([]store.Descriptor, len(tags))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(DefaultConcurrency)
	for i, tag := range tags {
		group.Go(func() error {
			d, err := src.Resolve(gctx, tag)
			if gone, err := absent(err); gone || err != nil {
				return fail(Source, fmt.Sprintf("resolve %q", tag), store.Descriptor{}, err)
			}
			named[i] = d
			return nil
		})
	}
	return named, group.Wait()
}

// finder reads indexes, each once.
type finder struct {
	src    store.Reader
	wanted digest.Digest

	mu    sync.Mutex
	lists map[digest.Digest][]store.Descriptor
}

// under gives the indexes from root on that list the wanted manifest.
func (f *finder) under(ctx context.Context, root store.Descriptor) (found []digest.Digest, err error) {
	seen := map[digest.Digest]bool{root.Digest: true}
	for level := []store.Descriptor{root}; len(level) > 0; {
		lists := make([][]store.Descriptor, len(level))
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(DefaultConcurrency)
		for i, x := range level {
			group.Go(func() (err error) {
				lists[i], err = f.entries(gctx, x)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		var next []store.Descriptor
		for i, list := range lists {
			if slices.ContainsFunc(list, func(d store.Descriptor) bool { return d.Digest == f.wanted }) {
				found = append(found, level[i].Digest)
			}
			for _, d := range list {
				if isIndex(d) && d.Digest != f.wanted && !seen[d.Digest] {
					seen[d.Digest] = true
					next = append(next, d)
				}
			}
		}
		level = next
	}
	return found, nil
}

// entries reads one index. One that is not there lists nothing.
func (f *finder) entries(ctx context.Context, d store.Descriptor) ([]store.Descriptor, error) {
	f.mu.Lock()
	list, known := f.lists[d.Digest]
	f.mu.Unlock()
	if known {
		return list, nil
	}
	m, err := f.src.Manifest(ctx, d.Digest.String())
	if gone, err := absent(err); gone || err != nil {
		return nil, fail(Source, "read manifest", d, err)
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, fail(Source, "read manifest", d, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists[d.Digest] = o.Manifests
	return o.Manifests, nil
}
