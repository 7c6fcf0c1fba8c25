package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

var linkNext = regexp.MustCompile(`^<([^>]+)>; rel="next"$`)

// pages follows Link from path and gives the names of each page.
func (g *rig) pages(path string) [][]string {
	g.Helper()
	var all [][]string
	for range 20 {
		r := g.want(g.do("GET", path, ""), "200")
		var body struct {
			Tags, Repositories []string
			Manifests          []struct{ ArtifactType string }
		}
		if err := json.Unmarshal([]byte(r.body), &body); err != nil {
			g.Fatal(err)
		}
		page := append(append([]string{}, body.Tags...), body.Repositories...)
		for _, m := range body.Manifests {
			page = append(page, m.ArtifactType)
		}
		all = append(all, page)
		if r.Get("Link") == "" {
			return all
		}
		m := linkNext.FindStringSubmatch(r.Get("Link"))
		if m == nil {
			g.Fatalf("Link %q", r.Get("Link"))
		}
		path = m[1]
	}
	g.Fatal("the pages do not end")
	return nil
}

// backwards is a registry that lists in an order of its own: the wrong way
// round. Where extra is set it has as many tags more, without their manifests.
type backwards struct {
	store.Registry
	extra int
}

type backwardsStore struct {
	store.Store
	extra int
}

func reverse[T any](seq iter.Seq2[T, error], extra ...T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		all, err := store.Collect(seq)
		all = append(all, extra...)
		slices.Reverse(all)
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}

func (b backwards) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return reverse(b.Registry.Repositories(ctx, after))
}

func (b backwards) Repository(ctx context.Context, name string) (store.Store, error) {
	st, err := b.Registry.Repository(ctx, name)
	return backwardsStore{st, b.extra}, err
}

func (s backwardsStore) Tags(ctx context.Context, after string) iter.Seq2[string, error] {
	var extra []string
	for i := range s.extra {
		extra = append(extra, fmt.Sprintf("t%06d", i))
	}
	return reverse(s.Store.Tags(ctx, after), extra...)
}

func (s backwardsStore) Referrers(ctx context.Context, d digest.Digest, kind string) iter.Seq2[store.Descriptor, error] {
	return reverse(s.Store.Referrers(ctx, d, kind))
}

// backward serves a backwards registry with one quirk or none.
func backward(t *testing.T, quirk string) *rig {
	t.Helper()
	var q serve.Quirks
	if quirk != "" {
		if err := q.Set(quirk); err != nil {
			t.Fatal(err)
		}
	}
	return startOver(t, backwards{Registry: local.NewMemoryRegistry()}, serve.Options{Quirks: q})
}

func TestPaging(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		quirk, path string
		want        [][]string
	}{
		{"", "/v2/a/tags/list", [][]string{{"B", "a", "b", "c"}}},
		{"", "/v2/a/tags/list?n=9", [][]string{{"B", "a", "b", "c"}}},
		{"", "/v2/a/tags/list?n=4", [][]string{{"B", "a", "b", "c"}}},
		{"", "/v2/a/tags/list?n=3", [][]string{{"B", "a", "b"}, {"c"}}},
		{"", "/v2/a/tags/list?n=0", [][]string{{}}},
		{"", "/v2/a/tags/list?last=a", [][]string{{"b", "c"}}},
		{"", "/v2/a/tags/list?last=aa&n=1", [][]string{{"b"}, {"c"}}},
		{"", "/v2/a/tags/list?last=z", [][]string{{}}},
		{"page-size=1", "/v2/a/tags/list?n=3", [][]string{{"B"}, {"a"}, {"b"}, {"c"}}},
		{"page-size=3", "/v2/a/tags/list", [][]string{{"B", "a", "b"}, {"c"}}},
		{"", "/v2/_catalog", [][]string{{"a", "b/c"}}},
		{"", "/v2/_catalog?n=1", [][]string{{"a"}, {"b/c"}}},
		{"page-size=1", "/v2/_catalog", [][]string{{"a"}, {"b/c"}}},
	} {
		g := backward(t, c.quirk)
		g.blob("a", empty)
		g.blob("b/c", empty)
		for _, tag := range []string{"b", "a", "c", "B"} {
			g.want(g.do("PUT", "/v2/a/manifests/"+tag, image("application/x", ""), imageType), "201")
		}
		if diff := cmp.Diff(c.want, g.pages(c.path)); diff != "" {
			t.Errorf("%s %s: %s", c.path, c.quirk, diff)
		}
	}
	g := start(t, serve.Options{})
	g.want(g.do("GET", "/v2/a/tags/list?n=many", ""), "400 UNSUPPORTED")
	g.want(g.do("GET", "/v2/_catalog?n=-1", ""), "400 UNSUPPORTED")
}

// A list stays small enough for clients that bound it, however much they ask for.
func TestManyTagsComeInPages(t *testing.T) {
	t.Parallel()
	g := startOver(t, backwards{local.NewMemoryRegistry(), 10001}, serve.Options{})
	g.blob("a", empty)
	for _, query := range []string{"", "?n=20000"} {
		if p := g.pages("/v2/a/tags/list" + query); len(p) != 2 || len(p[0]) != 10000 || p[1][0] != "t010000" {
			t.Errorf("%q: %d pages", query, len(p))
		}
	}
}

func TestReferrers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ quirk, query, applied, want string }{
		{"", "", "", "1: x x y"},
		{"", "?artifactType=application%2Fx", "artifactType", "1: x x"},
		{"", "?artifactType=application%2Fz", "artifactType", "1:"},
		{"no-filter", "?artifactType=application%2Fx", "", "1: x x y"},
		{"page-size=1", "", "", "3: x x y"},
		{"page-size=1", "?artifactType=application%2Fx", "artifactType", "2: x x"},
	} {
		g := backward(t, c.quirk)
		g.blob("a", empty)
		subject := image("application/subject", "")
		g.want(g.do("PUT", "/v2/a/manifests/v1", subject, imageType), "201")
		for i, kind := range []string{"application/x", "application/x", "application/y"} {
			m := strings.Replace(image(kind, sum(subject)), "{", fmt.Sprintf(`{"annotations":{"n":"%d"},`, i), 1)
			r := g.want(g.do("PUT", "/v2/a/manifests/"+sum(m), m, imageType), "201")
			g.header(r, "OCI-Subject: "+sum(subject))
		}
		path := "/v2/a/referrers/" + sum(subject) + c.query
		g.header(g.do("GET", path, ""), "OCI-Filters-Applied: "+c.applied, indexType)
		pages := g.pages(path)
		kinds := slices.Sorted(slices.Values(slices.Concat(pages...)))
		got := fmt.Sprint(len(pages), ": ", strings.ReplaceAll(strings.Join(kinds, " "), "application/", ""))
		if strings.TrimSpace(got) != c.want {
			t.Errorf("%s %s: got %s, want %s", c.quirk, c.query, got, c.want)
		}
	}
}

// A document of referrers stays small enough for clients that bound it.
func TestManyReferrersComeInPages(t *testing.T) {
	t.Parallel()
	g := start(t, serve.Options{})
	g.blob("a", empty)
	const n = 5
	for i := range n {
		note := fmt.Sprintf(`{"annotations":{"n":"%d%s"},`, i, strings.Repeat("x", 900<<10))
		m := strings.Replace(image("application/x", noSum), "{", note, 1)
		g.want(g.do("PUT", "/v2/a/manifests/"+sum(m), m, imageType), "201")
	}
	var sizes []int
	for _, p := range g.pages("/v2/a/referrers/" + noSum) {
		sizes = append(sizes, len(p))
	}
	if diff := cmp.Diff([]int{2, 2, 1}, sizes); diff != "" {
		t.Error(diff)
	}
}
