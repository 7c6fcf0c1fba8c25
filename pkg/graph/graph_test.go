package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// recorder is a store that writes down what is put into it, in order.
type recorder struct {
	store.Store
	mu   sync.Mutex
	log  []string
	hide map[digest.Digest]int // referrers of a subject that are left out of so many lists
}

func newRecorder() *recorder {
	return &recorder{Store: store.Verify(local.NewMemory()), hide: map[digest.Digest]int{}}
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) Resolve(ctx context.Context, ref string) (store.Descriptor, error) {
	r.note("resolve %s", ref)
	return r.Store.Resolve(ctx, ref)
}

func (r *recorder) PutBlob(ctx context.Context, b store.Blob) (store.Put, error) {
	put, err := r.Store.PutBlob(ctx, b)
	r.note("blob %s", put.Digest)
	return put, err
}

func (r *recorder) PutManifest(ctx context.Context, m store.Manifest, tags ...string) error {
	r.note("manifest %s %s", m.Digest, strings.Join(tags, ","))
	return r.Store.PutManifest(ctx, m, tags...)
}

func (r *recorder) Referrers(ctx context.Context, subject digest.Digest, artifactType string) iter.Seq2[store.Descriptor, error] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hide[subject] > 0 {
		r.hide[subject]--
		return func(func(store.Descriptor, error) bool) {}
	}
	return r.Store.Referrers(ctx, subject, artifactType)
}

// puts are the manifests put, in order, without what came before.
func (r *recorder) puts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.log), func(s string) bool { return !strings.HasPrefix(s, "manifest ") })
}

// builder fills a store with a graph.
type builder struct {
	t testing.TB
	s store.Store
}

func (b builder) blob(content string) store.Descriptor {
	b.t.Helper()
	put, err := b.s.PutBlob(b.t.Context(), store.NewBlob("text/plain", []byte(content)))
	if err != nil {
		b.t.Fatal(err)
	}
	put.MediaType = "text/plain"
	return put.Descriptor
}

func (b builder) manifest(doc map[string]any, tags ...string) store.Descriptor {
	b.t.Helper()
	doc["schemaVersion"] = 2
	raw, err := json.Marshal(doc)
	if err != nil {
		b.t.Fatal(err)
	}
	m := store.NewManifest(doc["mediaType"].(string), raw)
	if err := b.s.PutManifest(b.t.Context(), m, tags...); err != nil {
		b.t.Fatal(err)
	}
	return m.Descriptor
}

func (b builder) image(content string, subject *store.Descriptor, tags ...string) store.Descriptor {
	doc := map[string]any{
		"mediaType": store.MediaTypeImage, "artifactType": "application/vnd.test",
		"config": b.blob("{}"), "layers": []store.Descriptor{b.blob(content)},
	}
	if subject != nil {
		doc["subject"] = store.Plain(*subject)
	}
	return b.manifest(doc, tags...)
}

// tree is an index of two images; one has a referrer, and that has one too.
type tree struct{ index, a, b, sbom, signature store.Descriptor }

func buildTree(t *testing.T, s store.Store) tree {
	b := builder{t, s}
	var x tree
	x.a, x.b = b.image("a", nil), b.image("b", nil)
	x.index = b.manifest(map[string]any{"mediaType": store.MediaTypeIndex, "manifests": []store.Descriptor{x.a, x.b}}, "all")
	x.sbom = b.image("sbom", &x.a)
	x.signature = b.image("signature", &x.sbom)
	return x
}

func TestCopyPutsContentBeforeWhatNamesIt(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	x := buildTree(t, src)
	res, err := graph.Copy(t.Context(), src, dst, "all", graph.CopyOptions{
		Options: graph.Options{Tags: []string{"v1", "v2"}}, Referrers: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Root.Digest != x.index.Digest || res.Manifests != 5 || res.Referrers != 2 || res.Sent != 5 {
		t.Errorf("result %+v", res)
	}
	puts := dst.puts()
	at := func(d store.Descriptor) int {
		return slices.IndexFunc(puts, func(s string) bool { return strings.Contains(s, d.Digest.String()) })
	}
	for _, pair := range [][2]store.Descriptor{{x.a, x.index}, {x.b, x.index}, {x.a, x.sbom}, {x.sbom, x.signature}} {
		if at(pair[0]) < 0 || at(pair[0]) > at(pair[1]) {
			t.Errorf("%s was not put before %s:\n%s", pair[0].Digest, pair[1].Digest, strings.Join(puts, "\n"))
		}
	}
	if last := puts[len(puts)-1]; last != "manifest "+x.index.Digest.String()+" v1,v2" {
		t.Errorf("the tags did not come last, but %s", last)
	}
	seen := map[string]bool{}
	for _, line := range dst.log {
		if strings.HasPrefix(line, "resolve") {
			continue
		}
		if seen[line] {
			t.Errorf("put twice: %s", line)
		}
		seen[line] = true
	}
	for _, tag := range []string{"v1", "v2"} {
		if d, err := dst.Store.Resolve(t.Context(), tag); err != nil || d.Digest != x.index.Digest {
			t.Errorf("tag %s names %s, %v", tag, d.Digest, err)
		}
	}
}

func TestCopyOfWhatIsThereOnlyAsks(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	buildTree(t, src)
	opts := graph.CopyOptions{Options: graph.Options{Tags: []string{"v1"}}}
	if _, err := graph.Copy(t.Context(), src, dst, "all", opts); err != nil {
		t.Fatal(err)
	}
	src.log, dst.log = nil, nil
	res, err := graph.Copy(t.Context(), src, dst, "all", opts)
	if err != nil || !res.Exists {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := fmt.Sprint(src.log, dst.log); got != "[resolve all] [resolve v1]" {
		t.Errorf("asked %s", got)
	}
}

func TestCopyTagsWhatIsThereUnderAnotherTag(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	buildTree(t, src)
	for _, tag := range []string{"v1", "v2"} {
		if _, err := graph.Copy(t.Context(), src, dst, "all", graph.CopyOptions{Options: graph.Options{Tags: []string{tag}}}); err != nil {
			t.Fatal(err)
		}
	}
	if puts := dst.puts(); len(puts) != 4 {
		t.Errorf("want two images and the index twice, got\n%s", strings.Join(puts, "\n"))
	}
}

// A registry may take a referrer and not list it (GHCR, Docker Hub in 2024).
func TestCopyReadsReferrersBack(t *testing.T) {
	for _, c := range []struct {
		hidden int // lists in which the referrer is missing
		ok     bool
	}{{0, true}, {1, true}, {100, false}} {
		src, dst := newRecorder(), newRecorder()
		x := buildTree(t, src)
		dst.hide[x.a.Digest] = c.hidden
		opts := graph.CopyOptions{Options: graph.Options{Tags: []string{"v1"}}, Referrers: true}
		_, err := graph.Copy(t.Context(), src, dst, "all", opts)
		if _, tagged := dst.Store.Resolve(t.Context(), "v1"); (tagged == nil) != c.ok {
			t.Errorf("missing in %d lists, the tag is there: %v", c.hidden, tagged == nil)
		}
		if (err == nil) != c.ok || err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("missing in %d lists: %v", c.hidden, err)
		}
	}
}

func TestCopyWithDamagedSourceSetsNoTag(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	image := b.image("content", nil, "v1")
	damaged := store.Verify(flipped{src})
	_, err := graph.Copy(t.Context(), damaged, dst, "v1", graph.CopyOptions{Options: graph.Options{Tags: []string{"v1"}}})
	var side *graph.Error
	if !errors.Is(err, store.ErrMismatch) || !errors.As(err, &side) || side.Side != graph.Source {
		t.Errorf("want a mismatch at the source, got %v", err)
	}
	if _, err := dst.Store.Resolve(t.Context(), "v1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the tag is there: %v", err)
	}
	if _, err := dst.Store.Resolve(t.Context(), image.Digest.String()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the manifest is there: %v", err)
	}
}

// flipped gives blobs with their first byte changed.
type flipped struct{ store.Store }

func (f flipped) Blob(ctx context.Context, d store.Descriptor) (store.Blob, error) {
	b, err := f.Store.Blob(ctx, d)
	open := b.Open
	b.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		rc, err := open(ctx, offset)
		return flipReader{rc}, err
	}
	return b, err
}

type flipReader struct{ io.ReadCloser }

func (r flipReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	for i := range p[:n] {
		p[i] ^= 1
	}
	return n, err
}

// What a list says is held against the manifests: GitLab answers the referrers
// tag with the subject itself, and a list may name a referrer that was deleted.
// Both are told, and the rest is copied.
func TestCopyLeavesOutReferrersThatAreNone(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	image, other := b.image("x", nil, "v1"), b.image("y", nil)
	sbom := b.image("sbom", &image)
	gone := store.NewManifest(store.MediaTypeImage, []byte("gone")).Descriptor
	var mu sync.Mutex
	var warnings []string
	opts := graph.CopyOptions{Referrers: true, Options: graph.Options{Tags: []string{"v1"}, Events: func(e store.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == store.Warning {
			warnings = append(warnings, e.Text)
		}
	}}}
	res, err := graph.Copy(t.Context(), lying{src, image.Digest, []store.Descriptor{gone, other, sbom}}, dst, "v1", opts)
	if err != nil || res.Referrers != 1 || len(warnings) != 2 {
		t.Errorf("copied %+v, warned %q, %v", res, warnings, err)
	}
	if _, err := dst.Store.Resolve(t.Context(), sbom.Digest.String()); err != nil {
		t.Errorf("the true referrer: %v", err)
	}
}

// As ORAS does: a referrer is copied with what it refers to, but not with the
// other referrers of that.
func TestCopyTakesTheSubjectAlong(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	image := b.image("x", nil, "v1")
	sbom, review := b.image("sbom", &image, "sbom"), b.image("review", &image)
	if _, err := graph.Copy(t.Context(), src, dst, "sbom", graph.CopyOptions{Referrers: true, Options: graph.Options{Tags: []string{"sbom"}}}); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[digest.Digest]bool{image.Digest: true, sbom.Digest: true, review.Digest: false} {
		if _, err := dst.Store.Resolve(t.Context(), d.String()); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", d, err == nil, want)
		}
	}
	orphan := b.image("orphan", &store.Descriptor{MediaType: store.MediaTypeImage, Digest: digest.FromString("none"), Size: 4}, "orphan")
	if _, err := graph.Copy(t.Context(), src, dst, "orphan", graph.CopyOptions{}); err != nil {
		t.Errorf("%s, whose subject is nowhere: %v", orphan.Digest, err)
	}
}

// Nothing is sent for what is there, with referrers and under another tag too.
func TestCopyAgainPutsNothingButTags(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	image := b.image("x", nil, "v1")
	opts := graph.CopyOptions{Referrers: true, Options: graph.Options{Tags: []string{"v1"}}}
	for i, want := range []int{3, 0, 1} { // two blobs and the manifest under its tag; nothing; a tag
		if i == 2 {
			opts.Tags = []string{"v2"}
		}
		dst.log = nil
		if _, err := graph.Copy(t.Context(), src, dst, "v1", opts); err != nil {
			t.Fatal(err)
		}
		puts := slices.DeleteFunc(dst.log, func(s string) bool { return strings.HasPrefix(s, "resolve") })
		if len(puts) != want {
			t.Errorf("copy %d of %s put\n%s", i+1, image.Digest, strings.Join(puts, "\n"))
		}
	}
}

type lying struct {
	store.Store
	subject   digest.Digest
	referrers []store.Descriptor
}

func (l lying) Referrers(_ context.Context, subject digest.Digest, _ string) iter.Seq2[store.Descriptor, error] {
	return func(yield func(store.Descriptor, error) bool) {
		for _, d := range l.referrers {
			if subject == l.subject && !yield(d, nil) {
				return
			}
		}
	}
}

func TestWalkEndsAtDepth(t *testing.T) {
	src := newRecorder()
	b := builder{t, src}
	d := b.image("leaf", nil)
	for range 1100 {
		d = b.manifest(map[string]any{"mediaType": store.MediaTypeIndex, "manifests": []store.Descriptor{d}})
	}
	if _, err := graph.Walk(t.Context(), src, d, graph.WalkOptions{}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// image-spec lets foreign layers lie elsewhere; build caches keep blobs in an index.
func TestCopyOfForeignLayersAndCaches(t *testing.T) {
	src, dst := newRecorder(), newRecorder()
	b := builder{t, src}
	foreign := store.Descriptor{
		MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar", Digest: digest.FromString("elsewhere"),
		Size: 9, URLs: []string{"https://example.com/layer"},
	}
	image := b.manifest(map[string]any{
		"mediaType": store.MediaTypeImage, "config": b.blob("{}"), "layers": []store.Descriptor{foreign},
	})
	b.manifest(map[string]any{"mediaType": store.MediaTypeIndex, "manifests": []store.Descriptor{image, b.blob("cache")}}, "v1")
	var warnings []string
	opts := graph.CopyOptions{Options: graph.Options{Tags: []string{"v1"}, Events: func(e store.Event) {
		if e.Kind == store.Warning {
			warnings = append(warnings, e.Text)
		}
	}}}
	if _, err := graph.Copy(t.Context(), src, dst, "v1", opts); err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "https://example.com/layer") {
		t.Errorf("warnings %q", warnings)
	}
	if _, err := dst.Blob(t.Context(), store.Descriptor{Digest: digest.FromString("cache"), Size: store.UnknownSize}); err != nil {
		t.Errorf("the cache entry was not copied: %v", err)
	}
}
