package graph

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/stet-oci/stet/pkg/store"
)

// Untagged is what came of one tag.
type Untagged struct {
	Tag     string
	Was     store.Descriptor // what the tag named
	Missing bool             // the tag was not there
}

// LostError says that a store deleted a manifest when only a tag of it was to
// go. It is ErrUnsupported: the store cannot remove a tag alone.
type LostError struct {
	Tag    string
	Digest digest.Digest
}

func (e *LostError) Error() string {
	return fmt.Sprintf("it deleted the manifest with its tag: %s, which the tag %s named, is not there any more, under any tag", e.Digest, e.Tag)
}

// Unwrap makes the error an ErrUnsupported.
func (e *LostError) Unwrap() error { return store.ErrUnsupported }

// Untag removes tags, and nothing else: after each it asks whether the manifest
// is still there, and stops with a LostError where it is not. Nothing is
// removed unless all of the tags are there; with missing allowed, those that
// are not are only reported. What was done before an error is given with it.
func Untag(ctx context.Context, s store.Store, tags []string, allowMissing bool) ([]Untagged, error) {
	all := make([]Untagged, len(tags))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(DefaultConcurrency)
	for i, tag := range tags {
		group.Go(func() (err error) {
			all[i].Tag = tag
			all[i].Was, err = s.Resolve(gctx, tag)
			if err = all[i].note(err, allowMissing); err != nil {
				return fmt.Errorf("tag %s: %w", tag, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i := range all {
		u := &all[i]
		if u.Missing {
			continue
		}
		if err := u.note(s.Untag(ctx, u.Tag), allowMissing); err != nil {
			return all[:i], fmt.Errorf("tag %s: %w", u.Tag, err)
		}
		_, err := s.Resolve(ctx, u.Was.Digest.String())
		if errors.Is(err, store.ErrNotFound) {
			return all[:i], &LostError{u.Tag, u.Was.Digest}
		}
		if err != nil {
			return all[:i+1], fmt.Errorf("the tag %s is removed; whether %s is still there: %w", u.Tag, u.Was.Digest, err)
		}
	}
	return all, nil
}

// note takes that a tag is not there for no error, where that is allowed.
func (u *Untagged) note(err error, allowMissing bool) error {
	if allowMissing && errors.Is(err, store.ErrNotFound) {
		u.Missing = true
		return nil
	}
	return err
}
