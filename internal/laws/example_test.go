package laws

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// tryExample runs a law on an archive that breaks it. The lines `want PLACE
// WORDS` before the first file are all the findings that there must be, each
// with words of its text; everything else in the archive is in order.
func tryExample(t *testing.T, name string, law func(*tree) []finding) {
	ar, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for _, f := range ar.Files {
		fsys[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	tr, err := readTree(fsys)
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]string{}
	for line := range strings.Lines(string(ar.Comment)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "want "); ok {
			at, text, _ := strings.Cut(rest, " ")
			words[at] = text
		}
	}
	if len(words) == 0 {
		t.Fatalf("%s wants nothing", name)
	}
	var want, got []string
	for at, text := range words {
		want = append(want, at+" "+text)
	}
	for _, f := range tr.permit(law(tr)) {
		if text := words[f.at]; text != "" && strings.Contains(f.text, text) {
			got = append(got, f.at+" "+text)
		} else {
			got = append(got, fmt.Sprintf("%s %s", f.at, f.text))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("findings in %s (-want +got):\n%s", name, diff)
	}
}
