package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

func TestHomes(t *testing.T) {
	dir := t.TempDir()
	a, b := digest.FromString("a"), digest.FromString("b")
	h := newHomes(dir, "reg.example")
	h.add(a, 1, "one")
	h.add(a, 1, "two")
	h.add(a, 1, "two") // once is enough
	h.add(b, 2, "one")
	h.drop(b, "one", false)
	h.drop(a, "two", true) // not allowed here, and perhaps to others
	h.learnPost(store.Yes)
	for name, tc := range map[string]struct {
		h       *homes
		a, b, s string
		post    store.Answer
		size    bool
	}{
		"itself":                    {h: h, a: "one", post: store.Yes, size: true},
		"the next one":              {h: newHomes(dir, "reg.example"), a: "two", post: store.Yes, size: true},
		"another host":              {h: newHomes(dir, "other.example")},
		"the host of a longer name": {h: newHomes(dir, "reg.example/one")},
		"none":                      {},
	} {
		if got := tc.h.find(a, "new"); got != tc.a {
			t.Errorf("%s: a is in %q, want %q", name, got, tc.a)
		}
		if got := tc.h.find(b, "new"); got != "" {
			t.Errorf("%s: b is in %q", name, got)
		}
		if tc.a != "" && tc.h.find(a, "one") != "one" {
			t.Errorf("%s: a is not known where it is put", name)
		}
		if tc.h.singlePost() != tc.post || tc.h.hasSize(1) != tc.size || tc.h.hasSize(7) {
			t.Errorf("%s: single POST %v, size %v", name, tc.h.singlePost(), tc.h.hasSize(1))
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, homesFile))
	if n := strings.Count(string(raw), "\n"); err != nil || n != 5 {
		t.Errorf("%d lines, %v:\n%s", n, err, raw)
	}
}

// The file does not grow for ever, and what was learnt last stays.
func TestHomesAreBounded(t *testing.T) {
	dir := t.TempDir()
	var lines strings.Builder
	name := func(i int) digest.Digest { return digest.FromString(fmt.Sprint(i)) }
	last := 0
	for ; lines.Len() <= homesBytes; last++ {
		fmt.Fprintf(&lines, "+%s reg.example/a/repository/of/some/length %d\n", name(last), last)
	}
	path := filepath.Join(dir, homesFile)
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHomes(dir, "reg.example")
	if h.find(name(0), "") != "" || h.find(name(last-1), "") == "" {
		t.Error("the first is known, or the last is not")
	}
	h.add(name(last), 1, "one")
	raw, err := os.ReadFile(path)
	if n := strings.Count(string(raw), "\n"); err != nil || n < mostHomes-1 || n > mostHomes+1 {
		t.Errorf("%d lines are left, %v", n, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
