package remote

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stet-oci/stet/pkg/store"
)

func TestNextLink(t *testing.T) {
	for _, tc := range []struct {
		header []string
		want   string
	}{
		{[]string{`</v2/app/tags/list?n=1&last=a>; rel="next"`}, "/v2/app/tags/list?n=1&last=a"},
		{[]string{`<?last=a>;rel=next`}, "?last=a"},
		{[]string{`/v2/app/tags/list?last=a; rel="next"`}, "/v2/app/tags/list?last=a"},
		{[]string{`<x>; rel="prev next"`}, "x"},
		{[]string{`<x>; REL="NEXT"`}, "x"},
		{[]string{`<x>; title="a, b; rel=prev"; rel=next`}, "x"},
		{[]string{`<a,b;c>; rel="next"`}, "a,b;c"},
		{[]string{`<x>; rel="prev", <y>; rel="next"`}, "y"},
		{[]string{`<x>; rel="prev"`, `<y>; rel="next"`}, "y"},
		{[]string{`<x>`}, ""},
		{[]string{`<x>; rel="nextish"`}, ""},
		{[]string{`<x; rel="next"`}, ""},
		{[]string{`<>; rel="next"`}, ""},
		{nil, ""},
	} {
		if got, _ := nextLink(tc.header); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.header, got, tc.want)
		}
	}
}

// Whatever a registry writes, the parser ends, and a target that a URL can be
// is found again when it is written as RFC 8288 wants it.
func FuzzNextLink(f *testing.F) {
	for _, s := range []string{`<a>; rel="next"`, `a; rel=next`, `<a>;b="c;,";rel=x, <d>; rel=next`, `;,<>"=`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, ok := nextLink([]string{s})
		if !ok || strings.Contains(target, ">") {
			return
		}
		if again, ok := nextLink([]string{"<" + target + `>; rel="next"`}); !ok || again != target {
			t.Fatalf("%q: %q becomes %q", s, target, again)
		}
	})
}

// page is an answer with tags, and a Link unless that is "".
func page(link string, tags ...string) http.HandlerFunc {
	body := `{"name":"app","tags":null}`
	if len(tags) > 0 {
		body = fmt.Sprintf(`{"name":"app","tags":["%s"]}`, strings.Join(tags, `","`))
	}
	if link == "" {
		return answer(200, body)
	}
	return answer(200, body, "Link", link)
}

func TestTags(t *testing.T) {
	const list = "GET tags/list"
	next := func(last string) string { return "</v2/app/tags/list?last=" + last + `>; rel="next"` }
	for _, tc := range []struct {
		name  string
		after string
		get   http.HandlerFunc
		want  []string
		asked []string
		err   error
	}{
		{name: "one page", get: page("", "a", "b"), want: []string{"a", "b"}, asked: []string{list}},
		{name: "null", get: page(""), asked: []string{list}},
		{
			name: "pages of one", get: turns(page(next("a"), "a"), page(next("b"), "b"), page("", "c")), want: []string{"a", "b", "c"},
			asked: []string{list, list + "?last=a", list + "?last=b"},
		},
		{
			name: "an empty page in between", get: turns(page(next("a"), "a"), page(next("b")), page("", "c")), want: []string{"a", "c"},
			asked: []string{list, list + "?last=a", list + "?last=b"},
		},
		{
			name: "relative link", get: turns(page(`list?last=a; rel=next`, "a"), page("", "b")), want: []string{"a", "b"},
			asked: []string{list, list + "?last=a"},
		},
		{
			name: "in a circle", get: turns(page(next("a"), "a"), page(next("a"), "b")), want: []string{"a", "b"},
			asked: []string{list, list + "?last=a"}, err: store.ErrInvalid,
		},
		{name: "back to the beginning", get: page(`</v2/app/tags/list>; rel="next"`, "a"), want: []string{"a"}, asked: []string{list}, err: store.ErrInvalid},
		{
			name: "the last page leads to itself", get: turns(page(next("a"), "a"), page(next("a"))), want: []string{"a"},
			asked: []string{list, list + "?last=a"},
		},
		{name: "empty for ever", get: forever(), asked: []string{list, list + "?last=1", list + "?last=2"}, err: store.ErrInvalid},
		{
			name: "second page fails", get: turns(page(next("a"), "a"), answer(500, "")), want: []string{"a"},
			asked: []string{list, list + "?last=a"}, err: store.ErrUnavailable,
		},
		{
			name: "leads to another host", get: page(`<http://127.0.0.1:1/v2/app/tags/list?last=a>; rel="next"`, "a"), want: []string{"a"},
			asked: []string{list}, err: store.ErrInvalid,
		},
		{name: "a web page", get: answer(200, "<html>"), asked: []string{list}, err: store.ErrInvalid},
		{name: "endless", get: neverEnds, asked: []string{list}, err: store.ErrTooLarge},
		{name: "no repository", asked: []string{list}, err: store.ErrNotFound},
		{name: "after", after: "b", get: page("", "c", "d"), want: []string{"c", "d"}, asked: []string{list + "?last=b"}},
		{name: "after is ignored", after: "b", get: page("", "a", "b", "c"), want: []string{"c"}, asked: []string{list + "?last=b"}},
		{name: "order without case", after: "b", get: page("", "C", "d"), want: []string{"C", "d"}, asked: []string{list + "?last=b"}},
		{
			name: "after is no tag", after: "bb", get: turns(answer(404, ""), page("", "a", "b", "c")), want: []string{"c"},
			asked: []string{list + "?last=bb", list},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, st := newScript(t, Options{MaxManifest: 1000}, map[string]http.HandlerFunc{list: tc.get})
			got, err := store.Collect(st.Tags(t.Context(), tc.after))
			if !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			s.asked(tc.asked...)
		})
	}
}

// forever answers with empty pages, each of which promises another.
func forever() http.HandlerFunc {
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		n++
		page(fmt.Sprintf("<?last=%d>; rel=next", n))(w, r)
	}
}

// Behind a proxy that ends TLS a registry writes http where the client speaks
// https: the client stays with its own scheme.
func TestNextPageKeepsScheme(t *testing.T) {
	c := &client{base: &url.URL{Scheme: "https", Host: "reg.example.com"}}
	req := &http.Request{URL: &url.URL{Scheme: "https", Host: "reg.example.com", Path: "/v2/app/tags/list"}}
	resp := &http.Response{Request: req, Header: http.Header{"Link": {`<http://user@reg.example.com/v2/app/tags/list?last=a>; rel="next"`}}}
	u, err := c.nextPage(resp)
	if err != nil || u.String() != "https://reg.example.com/v2/app/tags/list?last=a" {
		t.Errorf("got %v, %v", u, err)
	}
}

func TestRepositories(t *testing.T) {
	for _, tc := range []struct {
		name string
		get  http.HandlerFunc
		want []string
		err  error
	}{
		{name: "two pages", want: []string{"a", "b/c"}, get: turns(
			answer(200, `{"repositories":["a"]}`, "Link", `</v2/_catalog?last=a>; rel="next"`), answer(200, `{"repositories":["b/c"]}`))},
		{name: "none", get: answer(404, ""), err: store.ErrUnsupported},
		{name: "not shown to everybody", get: answer(401, ""), err: store.ErrUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := newScript(t, Options{}, map[string]http.HandlerFunc{"GET /v2/_catalog": tc.get})
			plain := true
			reg, err := OpenRegistry(s.host(), Options{PlainHTTP: &plain, Retries: -1})
			if err != nil {
				t.Fatal(err)
			}
			got, err := store.Collect(reg.Repositories(t.Context(), ""))
			if !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("repositories (-want +got):\n%s", diff)
			}
			for _, name := range []string{"", "App", "a:b", "a@b", "a/../b", "a//b"} {
				if _, err := reg.Repository(t.Context(), name); !errors.Is(err, store.ErrBadReference) {
					t.Errorf("Repository(%q): %v", name, err)
				}
			}
		})
	}
}

// TestTagsInOnePage: some registries know no pages. A list that is large is read
// all the same, within the bounds of the whole list.
func TestTagsInOnePage(t *testing.T) {
	signed := func(n int) string { // as cosign names what it signs
		var b strings.Builder
		b.WriteString(`{"name":"app","tags":[`)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"sha256-%064x.sig"`, i)
		}
		return b.String() + "]}"
	}
	for _, tc := range []struct {
		name, body string
		want       int
		err        error
	}{
		{"many", signed(60_000), 60_000, nil},
		{"too many bytes", signed(250_000), 0, store.ErrTooLarge},
		{"too many names", `{"tags":["a"` + strings.Repeat(`,"b"`, maxListNames) + `]}`, 0, store.ErrTooLarge},
		{"not names", `{"tags":[1]}`, 0, store.ErrInvalid},
		{"no list", `{"tags":"a"}`, 0, store.ErrInvalid},
		{"an object", `{"tags":{"a":1}}`, 0, store.ErrInvalid},
		{"something behind it", `{"tags":["a"]}{}`, 0, store.ErrInvalid},
	} {
		for _, chunked := range []bool{false, true} {
			_, st := newScript(t, Options{}, map[string]http.HandlerFunc{"GET tags/list": func(w http.ResponseWriter, _ *http.Request) {
				if !chunked {
					w.Header().Set("Content-Length", strconv.Itoa(len(tc.body)))
				}
				_, _ = io.WriteString(w, tc.body)
			}})
			got, err := store.Collect(st.Tags(t.Context(), ""))
			if len(got) != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("%s, chunked %v: %d tags, %v, want %d, %v", tc.name, chunked, len(got), err, tc.want, tc.err)
			}
		}
	}
}
