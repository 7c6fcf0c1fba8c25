package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// tagPages answers the list of tags with the pages that script gives by ?last=:
// a body, and what follows, "" for nothing.
func tagPages(script func(last string) (body, next string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			newShelf().ServeHTTP(w, r)
			return
		}
		body, next := script(r.URL.Query().Get("last"))
		if next != "" {
			w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, next))
		}
		w.Header().Set("Content-Type", "application/json")
		if body == "" {
			refuse(w, http.StatusInternalServerError, "UNKNOWN")
			return
		}
		fmt.Fprint(w, body)
	}
}

// Case 68: list pages in a circle; empty for ever; null; second page fails: ends;
// ends; empty; exit ≠ 0.
func TestCase68Pages(t *testing.T) {
	t.Parallel()
	const next = "/v2/app/tags/list?last="
	count := 0
	for name, c := range map[string]struct {
		script func(last string) (string, string)
		codes  []int // 0 is success
		tags   string
	}{
		"circle": {func(last string) (string, string) {
			if last == "b" {
				return `{"name":"app","tags":["b"]}`, next + "a"
			}
			return `{"name":"app","tags":["a"]}`, next + "b"
		}, []int{0, 7}, "a\nb\n"},
		"itself": {func(string) (string, string) { return `{"name":"app","tags":["a"]}`, next + "" }, []int{0, 7}, "a\n"},
		"empty for ever": {func(last string) (string, string) {
			count++
			return `{"name":"app","tags":[]}`, next + fmt.Sprint(count)
		}, []int{0, 7}, ""},
		"null":           {func(string) (string, string) { return `{"name":"app","tags":null}`, "" }, []int{0}, ""},
		"no tags at all": {func(string) (string, string) { return `{"name":"app"}`, "" }, []int{0}, ""},
		"second page 500": {func(last string) (string, string) {
			if last != "" {
				return "", ""
			}
			return `{"name":"app","tags":["a"]}`, next + "a"
		}, []int{8}, ""},
		"second page HTML": {func(last string) (string, string) {
			if last != "" {
				return "<html>", ""
			}
			return `{"name":"app","tags":["a"]}`, next + "a"
		}, []int{7}, ""},
		"same tag for ever": {func(last string) (string, string) { return `{"name":"app","tags":["a"]}`, next + last + "a" }, []int{0, 6, 7}, "a\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, tagPages(c.script))
			d := newDesk(t)
			o := d.stet(quick("repo", "tags", h.Name()+"/app")...)
			found := false
			for _, code := range c.codes {
				found = found || o.Code == code
			}
			if !found {
				t.Fatalf("%s\nwant %v", o, c.codes)
			}
			if o.Code == 0 && o.Stdout != c.tags {
				t.Errorf("%s\nwant the tags %q", o, c.tags)
			}
			if o.Code == 0 && strings.Contains(name, "page") {
				t.Errorf("%s\nhalf a list looks whole", o)
			}
			h.atMost(10_001)
			if name != "same tag for ever" {
				h.atMost(6)
			}
			// What copies all tags does not take half a list for all of it.
			if o.Code != 0 {
				d.stet(quick("cp", "--all-tags", h.Name()+"/app", "oci:lay")...).fails(o.Code)
			}
		})
	}
}
