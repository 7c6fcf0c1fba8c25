package cli

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// newDigestError refuses a copy that would be another index than the one that
// was asked for.
type newDigestError struct{ from, to digest.Digest }

func (e *newDigestError) Error() string {
	return fmt.Sprintf("%v: an index of these platforms alone is another index, and its digest another: %s → %s; nothing was uploaded",
		store.ErrRefused, e.from, e.to)
}

// Unwrap makes it an ErrRefused.
func (e *newDigestError) Unwrap() error { return store.ErrRefused }

// allowNewDigest is the remedy for it.
const allowNewDigest = "add --allow-new-digest if that is meant; without --platform the index is copied as it is, with all of it"

// selection is what cp copies of what it was asked for.
type selection struct {
	src store.Reader
	ref string
	// from is the digest of the whole index where the selection is another one.
	from, to digest.Digest
}

// selectPart takes the platforms that were asked for: one of them is its own
// manifest, several are a new index of just those. That is never done unasked,
// and never without telling the old digest and the new.
func (o *copyOptions) selectPart(ctx context.Context, s store.Store, ref string) (selection, error) {
	sel := selection{src: s, ref: ref}
	names, err := distinct(o.platforms)
	if err != nil {
		return sel, err
	}
	switch len(names) {
	case 0:
		return sel, nil
	case 1:
		d, err := selectPlatform(ctx, s, ref, names[0])
		sel.ref = d.Digest.String()
		return sel, err
	}
	whole, part, err := selectPlatforms(ctx, s, ref, names)
	if err != nil {
		return sel, err
	}
	sel.src, sel.ref = graph.Overlay(s, part), part.Digest.String()
	if part.Digest == whole.Digest {
		return sel, nil
	}
	if !o.allowNewDigest {
		return sel, &newDigestError{whole.Digest, part.Digest}
	}
	sel.from, sel.to = whole.Digest, part.Digest
	return sel, nil
}

// distinct are the platforms, each once. Several make another index, whose digest
// is no matter of the machine: so none of them may leave the architecture to it.
func distinct(names []string) (once []string, err error) {
	var wanted []ocispec.Platform
	for _, name := range names {
		want, err := parsePlatform(name)
		if err != nil {
			return nil, err
		}
		same := func(p ocispec.Platform) bool { return reflect.DeepEqual(p, want) }
		if !slices.ContainsFunc(wanted, same) {
			wanted, once = append(wanted, want), append(once, name)
		}
	}
	for _, name := range once {
		if len(names) > 1 && !strings.Contains(name, "/") {
			return nil, fmt.Errorf("%w: --platform %s leaves the architecture to this machine; where there are several, each is OS/ARCH", store.ErrUsage, name)
		}
	}
	return once, nil
}

// selectPlatforms gives the manifest that ref names, and of an index the one
// that has its entries for these platforms alone.
func selectPlatforms(ctx context.Context, s store.Reader, ref string, names []string) (whole, part store.Manifest, err error) {
	if whole, err = s.Manifest(ctx, ref); err != nil {
		return whole, part, err
	}
	o, err := store.ParseOutline(whole)
	if err != nil {
		return whole, part, err
	}
	var wanted []ocispec.Platform
	for _, name := range names {
		want, err := parsePlatform(name)
		if err != nil {
			return whole, part, err
		}
		if o.Config != nil {
			err = checkPlatform(ctx, s, *o.Config, want)
		} else {
			_, err = entryFor(o, want, name)
		}
		if err != nil {
			return whole, part, err
		}
		wanted = append(wanted, want)
	}
	if o.Config != nil {
		return whole, whole, nil
	}
	part, err = artifact.SelectManifests(whole, func(d store.Descriptor) bool {
		return d.Platform != nil && slices.ContainsFunc(wanted, func(want ocispec.Platform) bool { return fits(*d.Platform, want) })
	})
	return whole, part, err
}

// tellSelected says that the copy has another digest, and what cannot come along
// for that: what refers to the old index says nothing about the new one.
func (o *copyOptions) tellSelected(ctx context.Context, sel selection, sink store.Sink) error {
	if sel.from == "" {
		return nil
	}
	warn := func(format string, args ...any) {
		sink.Emit(store.Event{Kind: store.Warning, Text: fmt.Sprintf(format, args...)})
	}
	warn("the copy is another index: %s → %s", sel.from, sel.to)
	if o.recursive {
		left, err := store.Collect(sel.src.Referrers(ctx, sel.from, ""))
		if err != nil {
			return &graph.Error{Side: graph.Source, Op: "list referrers of", Desc: store.Descriptor{Digest: sel.from}, Err: err}
		}
		if len(left) > 0 {
			warn("referrers of the whole index %s stay behind, as they are not about the new one: %d", sel.from, len(left))
		}
	}
	if o.digestTags {
		tags, err := graph.DigestTags(ctx, sel.src)
		if err != nil {
			return err
		}
		if n := len(tags[sel.from]); n > 0 {
			warn("digest tags of the whole index %s stay behind, as they are not about the new one: %d", sel.from, n)
		}
	}
	return nil
}

// isIncomplete is the remedy where a manifest is there and what it names is not.
const isIncomplete = "the artifact is not complete there; `verify` of it says what is missing"

// remedyOf is what to do about an error of cp, where the table does not say it.
func remedyOf(err error) string {
	var changed *newDigestError
	if errors.As(err, &changed) {
		return allowNewDigest
	}
	var at *graph.Error
	if errors.As(err, &at) && at.Side == graph.Source && at.Desc.Digest != "" && errors.Is(err, store.ErrNotFound) {
		return isIncomplete
	}
	return ""
}
