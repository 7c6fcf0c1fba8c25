package graph_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// reads is a source that counts what is read from it, and in which some content
// cannot be read.
type reads struct {
	store.Store
	mu     sync.Mutex
	counts map[string]int
	broken map[digest.Digest]error
}

func newReads() *reads {
	return &reads{Store: local.NewMemory(), counts: map[string]int{}, broken: map[digest.Digest]error{}}
}

func (r *reads) count(what string, d digest.Digest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[fmt.Sprint(what, " ", d)]++
	return r.broken[d]
}

func (r *reads) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	if err := r.count("manifest", digest.Digest(ref)); err != nil {
		return store.Manifest{}, err
	}
	return r.Store.Manifest(ctx, ref)
}

func (r *reads) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	if err := r.count("blob", d.Digest); err != nil {
		return store.Blob{}, err
	}
	return r.Store.Blob(ctx, d)
}

func (r *reads) Referrers(ctx context.Context, subject digest.Digest, artifactType string) iter.Seq2[store.Descriptor, error] {
	_ = r.count("referrers", subject)
	return r.Store.Referrers(ctx, subject, artifactType)
}

// more are the reads that happened more than once.
func (r *reads) more() (lines []string) {
	for what, n := range r.counts {
		if n > 1 {
			lines = append(lines, fmt.Sprintf("%d × %s", n, what))
		}
	}
	return lines
}

func index(b builder, children []store.Descriptor, note string, tags ...string) store.Descriptor {
	b.t.Helper()
	return b.manifest(map[string]any{
		"mediaType": store.MediaTypeIndex, "manifests": children, "annotations": map[string]string{"note": note},
	}, tags...)
}

func tagRoots(tags ...string) (roots []graph.Root) {
	for _, t := range tags {
		roots = append(roots, graph.Root{Ref: t, Tags: []string{t}})
	}
	return roots
}

// names says what tags name; "" where there is none.
func names(t *testing.T, s store.Store, tags ...string) []string {
	t.Helper()
	var all []string
	for _, tag := range tags {
		d, err := s.Resolve(t.Context(), tag)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		all = append(all, d.Digest.String())
	}
	return all
}

// More artifacts than one batch, which have a child, its referrers and blobs in
// common; and one artifact under two tags.
func TestCopyAllSendsWhatIsSharedOnce(t *testing.T) {
	src, dst := newReads(), newRecorder()
	b := builder{t, src.Store}
	shared := b.image("shared", nil)
	b.image("signature", &shared)
	var tags []string
	for i := range 150 {
		tag := fmt.Sprint("v", i)
		tags = append(tags, tag)
		index(b, []store.Descriptor{shared, b.image("own "+tag, nil)}, tag, tag)
	}
	twice := b.image("two tags", nil, "one", "two")
	tags = append([]string{"one"}, append(tags, "two")...)
	res, err := graph.CopyAll(t.Context(), src, dst, tagRoots(tags...), graph.CopyOptions{Referrers: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(names(t, dst.Store, tags...), names(t, src.Store, tags...)) {
		t.Error("the tags differ")
	}
	// 150 indexes and images, the shared image, its signature, that with two tags.
	if res.Manifests != 303 || res.Sent != 154 || res.Referrers != 1 || len(res.Roots) != 152 || res.Exists {
		t.Errorf("result %+v, %d roots", res.Result, len(res.Roots))
	}
	if again := src.more(); len(again) > 0 {
		t.Errorf("read more than once:\n%s", strings.Join(again, "\n"))
	}
	seen := map[string]bool{}
	for _, line := range dst.log {
		if seen[line] {
			t.Errorf("twice: %s", line)
		}
		seen[line] = true
	}
	if d, err := dst.Store.Resolve(t.Context(), "two"); err != nil || d.Digest != twice.Digest {
		t.Errorf("the second tag names %s, %v", d.Digest, err)
	}

	// Again it is nothing but questions, and those about tags where nobody wants referrers.
	dst.log = nil
	res, err = graph.CopyAll(t.Context(), src, dst, tagRoots(tags...), graph.CopyOptions{})
	if err != nil || !res.Exists || len(dst.log) != len(tags) {
		t.Errorf("a second copy: %+v, %v\n%s", res.Result, err, strings.Join(dst.log, "\n"))
	}
}

// What fails concerns the artifacts that need it. They get no tag, and the
// others go on.
func TestCopyAllGoesOn(t *testing.T) {
	src, dst := newReads(), newRecorder()
	b := builder{t, src.Store}
	fault := errors.New("out of order")
	good, child, signed := b.image("good", nil, "good"), b.image("child", nil), b.image("signed", nil, "signed")
	index(b, []store.Descriptor{good, child}, "", "family")
	signature := b.image("signature", &signed)
	b.image("lost", nil, "lost")
	src.broken[digest.FromString("lost")] = fault // a blob
	src.broken[child.Digest] = fault
	src.broken[signature.Digest] = fault
	dst.hide[good.Digest] = 100

	tags := []string{"family", "good", "lost", "absent", "signed"}
	res, err := graph.CopyAll(t.Context(), src, dst, tagRoots(tags...), graph.CopyOptions{Referrers: true})
	var failed *graph.FailedError
	if !errors.As(err, &failed) || failed.Failed != 4 || failed.Of != 5 || failed.First.Ref != "family" || !errors.Is(err, fault) {
		t.Fatalf("got %v", err)
	}
	for i, want := range []error{fault, nil, fault, store.ErrNotFound, fault} {
		if r := res.Roots[i]; r.Ref != tags[i] || !errors.Is(r.Err, want) {
			t.Errorf("%s: %v, want %v", r.Ref, r.Err, want)
		}
	}
	got := strings.Join(names(t, dst.Store, tags...), ",")
	if got != ","+good.Digest.String()+",,," {
		t.Errorf("the tags are %s", got)
	}
	if puts := dst.puts(); len(puts) != 1 {
		t.Errorf("of what cannot be whole nothing is put, but there is\n%s", strings.Join(puts, "\n"))
	}
}

// A destination that refuses a manifest, or a tag, refuses that one alone.
func TestCopyAllTellsWhatIsRefused(t *testing.T) {
	src, dst := newRecorder(), &refusing{Store: local.NewMemory(), refuse: map[string]bool{"fixed": true}}
	b := builder{t, src}
	child := b.image("child", nil, "child")
	index(b, []store.Descriptor{child}, "", "family")
	b.image("other", nil, "moving", "fixed")
	dst.refuse[child.Digest.String()] = true
	tags := []string{"family", "moving", "fixed", "child"}
	res, err := graph.CopyAll(t.Context(), src, dst, tagRoots(tags...), graph.CopyOptions{})
	if !errors.Is(err, store.ErrRefused) {
		t.Fatalf("got %v", err)
	}
	for i, ok := range []bool{false, true, false, false} {
		if (res.Roots[i].Err == nil) != ok {
			t.Errorf("%s: %v", tags[i], res.Roots[i].Err)
		}
	}
	if got := names(t, dst.Store, tags...); got[0] != "" || got[1] == "" || got[2] != "" || got[3] != "" {
		t.Errorf("the tags are %q", got)
	}
}

// refusing refuses manifests by digest, and tags.
type refusing struct {
	store.Store
	refuse map[string]bool
	class  error
}

func (p *refusing) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	for _, name := range append([]string{m.Digest.String()}, tags...) {
		if p.refuse[name] && p.class != nil {
			return p.class
		}
		if p.refuse[name] {
			return store.ErrRefused
		}
	}
	return p.Store.PutManifest(ctx, m, tags...)
}

// What every artifact would fail by ends the copy, and none is forgotten.
func TestCopyAllEndsWhereNothingCanGoOn(t *testing.T) {
	src := newRecorder()
	b := builder{t, src}
	var tags []string
	for i := range 200 {
		tags = append(tags, fmt.Sprint("v", i))
		b.image(tags[i], nil, tags[i])
	}
	for _, class := range []error{store.ErrUnauthorized, store.ErrUnavailable} {
		dst := newRecorder()
		refuse := &refusing{Store: dst, refuse: map[string]bool{}, class: class}
		for _, tag := range tags {
			refuse.refuse[tag] = true
		}
		res, err := graph.CopyAll(t.Context(), src, refuse, tagRoots(tags...), graph.CopyOptions{})
		var failed *graph.FailedError
		if !errors.Is(err, class) || errors.As(err, &failed) {
			t.Errorf("got %v", err)
		}
		for _, r := range res.Roots {
			if !errors.Is(r.Err, class) {
				t.Errorf("%s: %v", r.Ref, r.Err)
			}
		}
		blobs := slices.DeleteFunc(slices.Clone(dst.log), func(s string) bool { return !strings.HasPrefix(s, "blob") })
		if len(blobs) > 70 {
			t.Errorf("%v: %d blobs were put before the end", class, len(blobs))
		}
	}
}

// A manifest that is met as a subject first, and as a child later, is not copied
// without its referrers.
func TestCopyAllFollowsReferrersOfWhatWasASubjectFirst(t *testing.T) {
	far := []string{"sbom"} // so that the index is in another batch
	for i := range 80 {
		far = append(far, fmt.Sprint("v", i))
	}
	for _, tags := range [][]string{{"sbom", "all"}, {"deep", "all"}, {"all", "sbom"}, append(far, "all")} {
		src, dst := newRecorder(), newRecorder()
		b := builder{t, src}
		image := b.image("x", nil)
		review := b.image("review", &image)
		sbom := b.image("sbom", &image, "sbom")
		b.image("deep", &sbom, "deep")
		index(b, []store.Descriptor{index(b, []store.Descriptor{image}, "inner")}, "outer", "all")
		for _, tag := range far[1:] {
			b.image(tag, nil, tag)
		}
		if _, err := graph.CopyAll(t.Context(), src, dst, tagRoots(tags...), graph.CopyOptions{Referrers: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := dst.Store.Resolve(t.Context(), review.Digest.String()); err != nil {
			t.Errorf("%s to %s: the other referrer: %v", tags[0], tags[len(tags)-1], err)
		}
	}
}

// Each artifact with a subject is refused for itself, before anything of it is put.
func TestCopyAllWhereReferrersCannotBeKept(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	plain := b.image("plain", nil, "plain")
	b.image("one", &plain, "one")
	b.image("two", &plain, "two")
	res, err := graph.CopyAll(t.Context(), src, unlisted{dst}, tagRoots("one", "plain", "two"), graph.CopyOptions{})
	if !errors.Is(err, store.ErrUnsupported) {
		t.Fatalf("got %v", err)
	}
	for i, ok := range []bool{false, true, false} {
		var misfit *graph.MisfitError
		if r := res.Roots[i]; (r.Err == nil) != ok || !ok && !errors.As(r.Err, &misfit) {
			t.Errorf("%s: %v", r.Ref, r.Err)
		}
	}
	if puts := dst.puts(); len(puts) != 1 {
		t.Errorf("put:\n%s", strings.Join(puts, "\n"))
	}
}

// unlisted is a store that must not keep referrers.
type unlisted struct{ store.Store }

func (unlisted) Referrers(context.Context, digest.Digest, string) iter.Seq2[store.Descriptor, error] {
	return func(yield func(store.Descriptor, error) bool) { yield(store.Descriptor{}, store.ErrUnsupported) }
}

// That a list names the missing child of an index as a referrer, which may be
// missing, is no leave to copy the index without it.
func TestCopyOfAnIndexWhoseChildIsGone(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	gone := store.NewManifest(store.MediaTypeImage, []byte("gone")).Descriptor
	root := index(b, []store.Descriptor{index(b, []store.Descriptor{gone}, "inner")}, "outer", "v1")
	listed := lying{src, root.Digest, []store.Descriptor{gone}}
	opts := graph.CopyOptions{Referrers: true, Options: graph.Options{Tags: []string{"v1"}}}
	if _, err := graph.Copy(t.Context(), listed, dst, "v1", opts); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if puts := dst.puts(); len(puts) > 0 {
		t.Errorf("put:\n%s", strings.Join(puts, "\n"))
	}
}

// A graph without end is one artifact that fails.
func TestCopyAllPassesOverWhatIsTooDeep(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	deep := b.image("leaf", nil)
	b.image("good", nil, "good")
	for range 1100 {
		deep = index(b, []store.Descriptor{deep}, "", "deep")
	}
	res, err := graph.CopyAll(t.Context(), src, dst, tagRoots("deep", "good"), graph.CopyOptions{})
	if !errors.Is(err, store.ErrInvalid) || res.Roots[0].Err == nil || res.Roots[1].Err != nil {
		t.Errorf("%v", err)
	}
	if got := names(t, dst.Store, "deep", "good"); got[0] != "" || got[1] == "" || len(dst.puts()) != 1 {
		t.Errorf("the tags name %q", got)
	}
}

// gathering lets manifests through only when enough of them are there.
type gathering struct {
	store.Store
	missing atomic.Int64
	all     chan struct{}
}

func (g *gathering) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	if g.missing.Add(-1) == 0 {
		close(g.all)
	}
	select {
	case <-g.all:
		return g.Store.PutManifest(ctx, m, tags...)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Manifests are put together where that is asked for, also by a backup, however
// few blobs are moved at once.
func TestCopyAllTogether(t *testing.T) {
	const many = 40
	src := builder{t, local.NewMemory()}
	var tags []string
	for i := range many {
		tags = append(tags, fmt.Sprintf("v%d", i))
		src.image(tags[i], nil, tags[i])
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	gather := func() *gathering {
		g := &gathering{Store: local.NewMemory(), all: make(chan struct{})}
		g.missing.Store(many)
		return g
	}
	opts := graph.CopyOptions{Options: graph.Options{Concurrency: 2}, Together: true}
	if _, err := graph.CopyAll(ctx, src.s, gather(), tagRoots(tags...), opts); err != nil {
		t.Error(err)
	}
	if _, err := graph.NewBackup(nil, graph.BackupOptions{Concurrency: 2}).Repository(ctx, src.s, graph.Kept{Store: gather()}, tags); err != nil {
		t.Error(err)
	}
}
