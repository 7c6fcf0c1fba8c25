package graph

import (
	"context"
	"errors"
	"fmt"

	"github.com/stet-oci/stet/pkg/store"
)

// amendTries is how often a change is begun anew: as many others may be at work
// on one tag, and at each try one of them is done.
const amendTries = 40

// Amend puts in place of the manifest that tag names what edit makes of it. Where
// somebody else has moved the tag meanwhile, the change is made anew to what it
// names now, so that nothing of either is lost; where that never ends it is
// store.ErrMoved. edit is told whether its manifest was put before: it may then
// be in what it gets. What edit leaves as it is is not put.
func Amend(ctx context.Context, dst store.Store, tag string, edit func(old store.Manifest, again bool) (store.Manifest, error), opts Options) error {
	mv := &mover{dst: dst, sink: opts.Events}
	put := false
	var moved error
	for range amendTries {
		old, err := dst.Manifest(ctx, tag)
		if err != nil {
			return err
		}
		now, err := edit(old, put)
		if err != nil || now.Digest == old.Digest && !put {
			return err
		}
		if now.Digest != old.Digest && !put {
			if err := checkManifest(ctx, now, dst, opts.Events); err != nil {
				return err
			}
		}
		// What is as it should be because others took our change over is proven
		// to last.
		moved = mv.swap(ctx, now, tag, old)
		if !errors.Is(moved, store.ErrMoved) {
			return mv.withPut(moved)
		}
		put = true
	}
	return fmt.Errorf("%d others have changed it at the same time: %w", amendTries, moved)
}

// swap puts a manifest in place of old and tells of it. One that is the same is
// only proven to stand.
func (m *mover) swap(ctx context.Context, man store.Manifest, tag string, old store.Manifest) error {
	err := m.dst.Swap(ctx, man, tag, old.Digest)
	switch {
	case man.Digest == old.Digest:
		return err
	case errors.Is(err, store.ErrMoved):
		m.sink.Emit(store.Event{Kind: store.Retrying, Desc: man.Descriptor, Name: tag, Text: err.Error()})
		return err
	case err != nil:
		m.failed(ctx, man.Descriptor, err)
		return fail(Destination, "put manifest", man.Descriptor, err)
	}
	m.sink.Emit(store.Event{Kind: store.Start, Desc: man.Descriptor, Name: store.NameOf(man.Descriptor)})
	m.arrived(man, []string{tag})
	return nil
}
