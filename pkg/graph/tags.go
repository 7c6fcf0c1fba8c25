package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// TagsOptions say which tags ListTags gives, and in what order.
type TagsOptions struct {
	After        string        // begin after this tag, in the store's order
	Of           digest.Digest // only those that name this manifest; "" is all
	NoDigestTags bool          // leave out tags that are made of a digest; see SplitDigestTag
	Sort         func(tags []string)
	Limit        int // the first so many of what is left; 0 is all
	Concurrency  int // requests at once; 0 is DefaultConcurrency
	Events       store.Sink
}

// ListTags lists tags: in the store's order, or as Sort has it. What a tag names is
// asked of each, in parallel, only where Of is given.
func ListTags(ctx context.Context, src store.Reader, opts TagsOptions) ([]string, error) {
	asIs := opts.Of == "" && opts.Sort == nil
	var tags []string
	for tag, err := range src.Tags(ctx, opts.After) {
		if err != nil {
			return nil, err
		}
		if _, _, made := SplitDigestTag(tag); made && opts.NoDigestTags {
			continue
		}
		tags = append(tags, tag)
		if asIs && len(tags) == opts.Limit {
			break // and no more pages are asked for
		}
	}
	if opts.Of != "" {
		var err error
		if tags, err = tagsOf(ctx, src, tags, opts); err != nil {
			return nil, err
		}
	}
	if opts.Sort != nil {
		opts.Sort(tags)
	}
	if opts.Limit > 0 && len(tags) > opts.Limit {
		tags = tags[:opts.Limit]
	}
	return tags, nil
}

// tagsOf leaves the tags that name opts.Of.
func tagsOf(ctx context.Context, src store.Reader, tags []string, opts TagsOptions) ([]string, error) {
	is := make([]bool, len(tags))
	err := eachTag(ctx, tags, opts.Concurrency, func(ctx context.Context, i int) error {
		d, err := src.Resolve(ctx, tags[i])
		if errors.Is(err, store.ErrNotFound) {
			warnGone(opts.Events, tags[i])
			return nil
		}
		is[i] = d.Digest == opts.Of
		return err
	})
	if err != nil {
		return nil, err
	}
	var kept []string
	for i, tag := range tags {
		if is[i] {
			kept = append(kept, tag)
		}
	}
	return kept, nil
}

func eachTag(ctx context.Context, tags []string, concurrency int, do func(ctx context.Context, i int) error) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(Options{Concurrency: concurrency}.limit())
	for i, tag := range tags {
		group.Go(func() error {
			if err := do(gctx, i); err != nil {
				return fmt.Errorf("tag %s: %w", tag, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func warnGone(events store.Sink, tag string) {
	events.Emit(store.Event{Kind: store.Warning, Text: fmt.Sprintf("the tag %s is listed, and is not there", tag)})
}

// TagDetail is what a tag names.
type TagDetail struct {
	store.Descriptor // with the artifact type and annotations of the manifest
	Tag              string
	Content          int64  // bytes of the manifest and the blobs that it names; UnknownSize of an index
	Created          string // org.opencontainers.image.created; for an image without it, what its config says
	Err              error  // why the manifest could not be read; the rest is then empty

	config *store.Descriptor // of an image that does not say itself when it was created
}

// DetailTags reads the manifests that tags name, in parallel, and the configs of
// images that do not say when they were created, each once. A tag that is gone
// meanwhile is left out; a manifest that cannot be understood has its Err.
// Both are told.
func DetailTags(ctx context.Context, src store.Reader, tags []string, opts Options) ([]TagDetail, error) {
	all := make([]TagDetail, len(tags))
	err := eachTag(ctx, tags, opts.Concurrency, func(ctx context.Context, i int) (err error) {
		all[i], err = detailTag(ctx, src, tags[i], opts.Events)
		return err
	})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(t TagDetail) bool { return t.Tag == "" })
	return all, dateByConfig(ctx, src, all, opts)
}

// detailTag gives the zero TagDetail for a tag that is gone.
func detailTag(ctx context.Context, src store.Reader, tag string, events store.Sink) (TagDetail, error) {
	t := TagDetail{Tag: tag, Content: store.UnknownSize}
	m, err := src.Manifest(ctx, tag)
	if errors.Is(err, store.ErrNotFound) {
		warnGone(events, tag)
		return TagDetail{}, nil
	}
	var o *store.Outline
	if err == nil {
		t.Descriptor = store.Plain(m.Descriptor)
		o, err = store.ParseOutline(m)
	}
	if unreadable(err) {
		t.Err = err
		events.Emit(store.Event{Kind: store.Warning, Desc: t.Descriptor, Text: fmt.Sprintf("what the tag %s names cannot be read: %v", tag, err)})
		return t, nil
	}
	if err != nil {
		return t, err
	}
	t.ArtifactType, t.Annotations, t.Created = o.ArtifactType, o.Annotations, o.Annotations[ocispec.AnnotationCreated]
	if !isIndexType(m.MediaType) {
		t.Content = m.Size
		for _, b := range o.Blobs() {
			t.Content += b.Size
		}
	}
	if c := o.Config; t.Created == "" && c != nil && isImageConfig(c.MediaType) {
		t.config = c
	}
	return t, nil
}

// unreadable says whether err is about the content alone, so that the other
// tags can be told of: Docker's first schema, a manifest over the limit.
func unreadable(err error) bool {
	for _, is := range []error{store.ErrInvalid, store.ErrMismatch, store.ErrTooLarge, store.ErrUnsupported} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

func isImageConfig(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageConfig || mediaType == "application/vnd.docker.container.image.v1+json"
}

// tagConfigLimit bounds the config of an image that is read for its date.
const tagConfigLimit = 4 << 20

// dateByConfig fills in when images were created, from their configs. Tags of one
// image share a config, which is read once.
func dateByConfig(ctx context.Context, src store.Reader, all []TagDetail, opts Options) error {
	dates := map[digest.Digest]*string{}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(opts.limit())
	for _, t := range all {
		if t.config == nil || dates[t.config.Digest] != nil {
			continue
		}
		date := new(string)
		dates[t.config.Digest] = date
		group.Go(func() (err error) {
			*date, err = configDate(gctx, src, *t.config)
			if unreadable(err) || errors.Is(err, store.ErrNotFound) {
				opts.Events.Emit(store.Event{
					Kind: store.Warning, Desc: *t.config,
					Text: fmt.Sprintf("when %s was created is not known: its config: %v", t.Digest, err),
				})
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, t := range all {
		if t.config != nil {
			all[i].Created = *dates[t.config.Digest]
		}
	}
	return nil
}

func configDate(ctx context.Context, src store.Reader, config store.Descriptor) (string, error) {
	b, err := src.Blob(ctx, config)
	if err != nil {
		return "", err
	}
	raw, err := store.ReadBlob(ctx, b, tagConfigLimit)
	if err != nil {
		return "", err
	}
	var doc struct {
		Created string `json:"created"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "", fmt.Errorf("%w: config %s: %s", store.ErrInvalid, config.Digest, err)
	}
	return doc.Created, nil
}
