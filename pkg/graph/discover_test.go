package graph_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// lister is a store whose lists of referrers are a test's, by short names of
// manifests. It writes down what it is asked.
type lister struct {
	store.Store
	lists map[string][]store.Descriptor
	names map[digest.Digest]string
	mu    sync.Mutex
	asked []string
}

func newLister() *lister {
	return &lister{Store: local.NewMemory(), lists: map[string][]store.Descriptor{}, names: map[digest.Digest]string{}}
}

// desc is a manifest of that name: what follows are annotations as pairs.
func (l *lister) desc(name, artifactType string, annotations ...string) store.Descriptor {
	d := store.Descriptor{MediaType: store.MediaTypeImage, Digest: digest.FromString(name), Size: 1, ArtifactType: artifactType}
	for i := 0; i+1 < len(annotations); i += 2 {
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations[annotations[i]] = annotations[i+1]
	}
	l.names[d.Digest] = name
	return d
}

func (l *lister) note(what, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, what+" "+name)
}

func (l *lister) Referrers(_ context.Context, subject digest.Digest, artifactType string) iter.Seq2[store.Descriptor, error] {
	l.note("list", l.names[subject])
	return func(yield func(store.Descriptor, error) bool) {
		for _, d := range l.lists[l.names[subject]] {
			if d.MediaType == "" {
				yield(d, store.ErrDenied)
				return
			}
			if (artifactType == "" || d.ArtifactType == artifactType) && !yield(d, nil) {
				return
			}
		}
	}
}

func (l *lister) Manifest(ctx context.Context, ref string) (store.Manifest, error) {
	l.note("manifest", ref)
	return l.Store.Manifest(ctx, ref)
}

// sketch writes a branch as NAME(what is on it); an index's manifests in [], those
// of digest tags in {}, and = behind what was met before.
func (l *lister) sketch(b *graph.Branch) string {
	name := l.names[b.Digest]
	if name == "" {
		name = b.Digest.String()
	}
	if b.Repeated {
		name += "="
	}
	for i, list := range [][]*graph.Branch{b.Referrers, b.Manifests, b.DigestTags} {
		var on []string
		for _, n := range list {
			on = append(on, l.sketch(n))
		}
		if on != nil {
			brackets := []string{"()", "[]", "{}"}[i]
			name += brackets[:1] + strings.Join(on, " ") + brackets[1:]
		}
	}
	return name
}

func (l *lister) discover(t *testing.T, root store.Descriptor, opts graph.DiscoverOptions) string {
	t.Helper()
	l.asked = nil
	top, err := graph.Discover(t.Context(), l, root, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l.sketch(top)
}

const made = "org.opencontainers.image.created"

// The order does not depend on the list's: type, time, digest. What lists say
// twice is there once, circles end, and nothing is asked twice.
func TestDiscoverHasOneOrder(t *testing.T) {
	l := newLister()
	root := l.desc("root", "")
	list := []store.Descriptor{
		l.desc("new", "b", made, "2024-05-01T12:00:00+02:00"), l.desc("newer", "b", made, "2024-05-01T11:00:00Z"),
		l.desc("undated", "b"), l.desc("misdated", "b", made, "yesterday"), l.desc("first", "a"), l.desc("untyped", ""),
	}
	same := []string{"undated", "misdated"}
	slices.SortFunc(same, func(a, b string) int {
		return strings.Compare(digest.FromString(a).String(), digest.FromString(b).String())
	})
	l.lists["root"] = list
	l.lists["new"] = []store.Descriptor{l.desc("deep", "c"), root}
	l.lists["deep"] = []store.Descriptor{l.desc("new", "b"), l.desc("deep", "c")}
	want := fmt.Sprintf("root(untyped first %s %s new(root= deep(new= deep=)) newer)", same[0], same[1])
	for range len(list) {
		list = append(list[1:], list[0])
		l.lists["root"] = append(slices.Clone(list), list[1])
		if got := l.discover(t, root, graph.DiscoverOptions{Concurrency: 3}); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		slices.Sort(l.asked)
		if len(l.asked) != 8 || len(slices.Compact(l.asked)) != 8 {
			t.Errorf("asked %q", l.asked)
		}
	}
	if got := l.discover(t, root, graph.DiscoverOptions{Depth: 1}); strings.Contains(got, "deep") || len(l.asked) != 1 {
		t.Errorf("depth 1: %s, asked %q", got, l.asked)
	}
}

func TestDiscoverFilters(t *testing.T) {
	l := newLister()
	root := l.desc("root", "")
	day := func(n int) string { return fmt.Sprintf("2024-05-%02dT00:00:00Z", n) }
	l.lists["root"] = []store.Descriptor{
		l.desc("a", "x", "k", "1", made, day(1)), l.desc("b", "x", "k", "2", made, day(2)), l.desc("c", "y", "k", "1"),
	}
	l.lists["a"] = []store.Descriptor{l.desc("aa", "x", made, day(1)), l.desc("ab", "x", "k", "1", made, day(2))}
	l.lists["c"] = []store.Descriptor{l.desc("ca", "x", "k", "1")}
	keep := func(d store.Descriptor) bool { return d.Annotations["k"] == "1" }
	for want, opts := range map[string]graph.DiscoverOptions{
		"root(a(aa ab) b)":  {ArtifactType: "x"},
		"root(a(ab) c(ca))": {Keep: keep},
		"root(a(ab))":       {ArtifactType: "x", Keep: keep},
		"root":              {ArtifactType: "z"},
	} {
		if got := l.discover(t, root, opts); got != want {
			t.Errorf("%+v: %s, want %s", opts, got, want)
		}
	}
}

// The newest of each type is kept; where time does not tell, the digest decides
// and a warning says so.
func TestDiscoverLatest(t *testing.T) {
	l := newLister()
	root := l.desc("root", "")
	l.lists["root"] = []store.Descriptor{
		l.desc("s2", "sbom", made, "2024-05-02T00:00:00Z"), l.desc("s1", "sbom", made, "2024-05-01T00:00:00Z"),
		l.desc("s0", "sbom"), l.desc("n1", "note"), l.desc("n2", "note"), l.desc("one", "single"),
	}
	note := "n1"
	if l.desc("n2", "").Digest > l.desc("n1", "").Digest {
		note = "n2"
	}
	var warnings []string
	opts := graph.DiscoverOptions{Latest: true, Events: func(e store.Event) { warnings = append(warnings, e.Text) }}
	if got, want := l.discover(t, root, opts), "root("+note+" s2 one)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `"note"`) || len(l.asked) != 4 {
		t.Errorf("warnings %q, asked %q", warnings, l.asked)
	}
}

// The manifests of an index, of one in it, and of a referrer that is one are
// there, with their referrers; an entry that is no manifest is not asked about.
func TestDiscoverGoesIntoIndexes(t *testing.T) {
	l := newLister()
	b := builder{t, l.Store}
	index := func(name string, on ...store.Descriptor) store.Descriptor {
		d := b.manifest(map[string]any{"mediaType": store.MediaTypeIndex, "manifests": on, "annotations": map[string]string{"name": name}})
		l.names[d.Digest] = name
		return d
	}
	child, cache, lost := l.desc("child", ""), l.desc("cache", ""), l.desc("lost", "")
	cache.MediaType, lost.MediaType = "application/vnd.example.cache", store.MediaTypeIndex
	inner := index("inner", child, cache)
	root := index("root", inner, child, lost)
	l.lists["root"] = []store.Descriptor{index("referrer", l.desc("held", ""))}
	l.lists["child"] = []store.Descriptor{l.desc("signature", "s")}
	var warnings []string
	opts := graph.DiscoverOptions{Manifests: true, Events: func(e store.Event) { warnings = append(warnings, e.Text) }}
	if got, want := l.discover(t, root, opts), "root(referrer[held])[inner[child= cache] child(signature) lost]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], lost.Digest.String()) {
		t.Errorf("warnings %q", warnings)
	}
	if slices.Contains(l.asked, "list cache") {
		t.Errorf("asked %q", l.asked)
	}
	if got, want := l.discover(t, root, graph.DiscoverOptions{}), "root(referrer)"; got != want {
		t.Errorf("without manifests: %s, want %s", got, want)
	}
}

func TestDiscoverReadsDigestTags(t *testing.T) {
	l := newLister()
	b := builder{t, l.Store}
	root := b.image("root", nil)
	base := "sha256-" + root.Digest.Encoded()
	sig := b.image("sig", nil, base+".sig", base, "v1")
	att := b.image("att", nil, base+".att")
	l.names = map[digest.Digest]string{root.Digest: "root", sig.Digest: "sig", att.Digest: "att"}
	if got, want := l.discover(t, root, graph.DiscoverOptions{DigestTags: true}), "root{att sig}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	top, err := graph.Discover(t.Context(), l, root, graph.DiscoverOptions{DigestTags: true})
	if err != nil || top.DigestTags[1].Tag != base+".sig" || top.DigestTags[1].ArtifactType != "application/vnd.test" {
		t.Errorf("%v %+v", err, top.DigestTags[1])
	}
	if got := l.discover(t, root, graph.DiscoverOptions{DigestTags: true, ArtifactType: "other"}); got != "root" {
		t.Errorf("filtered: %s", got)
	}
}

// A store without an end is left, and a list that breaks off is an error: what is
// missing from it cannot be known.
func TestDiscoverEnds(t *testing.T) {
	l := newLister()
	root := l.desc("0", "")
	for i := range 1100 {
		l.lists[fmt.Sprint(i)] = []store.Descriptor{l.desc(fmt.Sprint(i+1), "x")}
	}
	if _, err := graph.Discover(t.Context(), l, root, graph.DiscoverOptions{}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	l.lists["0"] = append(l.lists["0"], store.Descriptor{})
	if _, err := graph.Discover(t.Context(), l, root, graph.DiscoverOptions{}); !errors.Is(err, store.ErrDenied) {
		t.Errorf("got %v", err)
	}
}

// removing is a store that counts what is removed, and may delete more than a tag.
type removing struct {
	store.Store
	greedy  bool
	removed []string
}

func (r *removing) Untag(ctx context.Context, tag string) error {
	r.removed = append(r.removed, tag)
	if !r.greedy {
		return r.Store.Untag(ctx, tag)
	}
	d, err := r.Resolve(ctx, tag)
	if err != nil {
		return err
	}
	return r.DeleteManifest(ctx, d)
}

func TestUntag(t *testing.T) {
	for _, c := range []struct {
		name    string
		greedy  bool
		missing bool
		tags    []string
		err     error
		removed string
	}{
		{name: "tags go, the manifest stays", tags: []string{"v1", "v2"}, removed: "v1 v2"},
		{name: "nothing goes unless all are there", tags: []string{"v1", "gone"}, err: store.ErrNotFound},
		{name: "what is missing may be", missing: true, tags: []string{"gone", "v1"}, removed: "v1"},
		{name: "the first loss is the last", greedy: true, tags: []string{"v1", "w1"}, err: store.ErrUnsupported, removed: "v1"},
	} {
		s := &removing{Store: local.NewMemory(), greedy: c.greedy}
		b := builder{t, s}
		d := b.image("a", nil, "v1", "v2")
		b.image("b", nil, "w1")
		done, err := graph.Untag(t.Context(), s, c.tags, c.missing)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := strings.Join(s.removed, " "); got != c.removed {
			t.Errorf("%s: removed %q, want %q", c.name, got, c.removed)
		}
		var lost *graph.LostError
		if errors.As(err, &lost) != c.greedy || c.greedy && (lost.Digest != d.Digest || len(done) != 0) {
			t.Errorf("%s: %v, done %v", c.name, err, done)
		}
		if _, err := s.Resolve(t.Context(), d.Digest.String()); !c.greedy && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// vanishing is a store in which some tags are listed and not there.
type vanishing struct {
	store.Store
	more []string
}

func (v vanishing) Tags(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, tag := range v.more {
			if !yield(tag, nil) {
				return
			}
		}
		v.Store.Tags(ctx, after)(yield)
	}
}

// A tag that is listed and gone when it is asked for is left out and told of.
func TestTagsThatVanish(t *testing.T) {
	s := vanishing{local.NewMemory(), []string{"ghost"}}
	b := builder{t, s}
	d := b.image("a", nil, "v1", "v2")
	b.image("b", nil, "w1")
	var warnings []string
	sink := func(e store.Event) { warnings = append(warnings, e.Text) }
	tags, err := graph.ListTags(t.Context(), s, graph.TagsOptions{Of: d.Digest, Limit: 5, Events: sink})
	if diff := cmp.Diff([]string{"v1", "v2"}, tags); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	details, err := graph.DetailTags(t.Context(), s, []string{"ghost", "w1"}, graph.Options{Events: sink})
	if err != nil || len(details) != 1 || details[0].Tag != "w1" || details[0].Content < details[0].Size+3 {
		t.Errorf("%v %+v", err, details)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "ghost") {
		t.Errorf("warnings %q", warnings)
	}
}
