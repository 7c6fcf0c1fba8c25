package remote

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// clean deletes what was made: tags, then what was put last first, so that no
// index loses a member and no manifest a blob. What is still there afterwards
// is named in the report.
func (w *writing) clean(ctx context.Context) {
	order := slices.Clone(w.made)
	slices.Reverse(order)
	slices.SortStableFunc(order, func(a, b made) int { return cmp.Or(a.rank()-b.rank(), a.alias()-b.alias()) })
	seen := map[made]bool{}
	for _, m := range order {
		m.size = 0
		if seen[m] {
			continue
		}
		seen[m] = true
		w.remove(ctx, m)
	}
	// Tags can go with their manifest where they cannot go alone. Manifests can
	// stay as blobs: olareg keeps them until it collects garbage.
	for m := range seen {
		there := w.exists(ctx, m.head(), m.name)
		if !there && m.rank() == 1 {
			m.kind = wire.BlobDelete
			w.remove(ctx, m)
			there = w.exists(ctx, m.head(), m.name)
		}
		if there {
			w.report.Left = append(w.report.Left, m.String())
		}
	}
	slices.Sort(w.report.Left)
	w.report.Left = slices.Compact(w.report.Left)
}

// remove deletes one thing and learns from it.
func (w *writing) remove(ctx context.Context, m made) {
	if m.rank() == 0 && w.report.Support.Of(store.AbilityTagDelete) == store.No {
		return
	}
	if !w.exists(ctx, m.head(), m.name) {
		return
	}
	req := w.repo.request(m.kind)
	req.Ref, req.Digest = m.name, digest.Digest(m.name)
	got := w.ask(ctx, call{Request: req}, 0)
	ability := []store.Ability{store.AbilityTagDelete, store.AbilityManifestDelete, store.AbilityBlobDelete}[m.rank()]
	if w.report.Support.Of(ability) == store.Unknown {
		w.set(ability, w.deleted(ctx, got, m))
	}
}

// deleted judges the answer to the DELETE of something that was there.
func (w *writing) deleted(ctx context.Context, got reply, m made) store.Finding {
	f := got.finding(store.Unknown, "", "")
	switch {
	case got.mute() != "":
	case got.status/100 == 2 && w.exists(ctx, m.head(), m.name):
		f.Evidence.Note = "it says that it was deleted, and it is still there"
	case got.status/100 == 2:
		f = got.finding(store.Yes, "", "")
	case got.is(http.StatusNotFound):
		f = got.finding(store.No, "", "although it is there")
	case got.status/100 == 4, got.is(http.StatusNotImplemented):
		f = got.finding(store.No, "", "")
	}
	return f
}

// rank is 0 for a tag, 1 for a manifest, 2 for a blob.
func (m made) rank() int {
	switch {
	case m.kind == wire.BlobDelete:
		return 2
	case store.IsDigest(m.name):
		return 1
	}
	return 0
}

// alias is 0 for a blob's name by sha512, which Distribution 2.8 keeps as a link
// to the one by sha256 and cannot find any more once that is gone.
func (m made) alias() int {
	if strings.HasPrefix(m.name, "sha512:") {
		return 0
	}
	return 1
}

func (m made) head() wire.Kind {
	if m.kind == wire.BlobDelete {
		return wire.BlobHead
	}
	return wire.ManifestHead
}

func (m made) String() string {
	return fmt.Sprintf("%s %s", []string{"tag", "manifest", "blob"}[m.rank()], m.name)
}
