package cli

import (
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/artifact"
)

func TestArgNames(t *testing.T) {
	for use, want := range map[string]string{
		"version": "",
		"fetch [flags] {--output FILE|--descriptor} NAME@DIGEST":                    "NAME@DIGEST",
		"pull [flags] NAME{:TAG|@DIGEST}":                                           "NAME{:TAG|@DIGEST}",
		"push [flags] NAME [FILE[:TYPE]...]":                                        "NAME;[FILE[:TYPE]...]",
		"attach [flags] --artifact-type TYPE NAME {FILE|--annotation KEY=VALUE}...": "NAME;{FILE|--annotation KEY=VALUE}...",
		"cp [flags] {A{:TAG|@DIGEST} B[:TAG[,TAG...]]|--all-tags A B}":              "A{:TAG|@DIGEST};B[:TAG[,TAG...]]",
	} {
		if got := strings.Join(argNames(use), ";"); got != want {
			t.Errorf("%q: %q, want %q", use, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"", "abc", 3}, {"abc", "", 3}, {"anotation", "annotation", 1}, {"plain-htpp", "plain-http", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// The longest name that fits is meant: names, keys and drives have colons.
func TestTimeMeant(t *testing.T) {
	const some = " such as 30s, 5m or 1h30m"
	for in, want := range map[string]string{
		"5":   ": a unit is missing; 5s is in seconds, 5m in minutes",
		"1.5": ": a unit is missing; 1.5s is in seconds, 1.5m in minutes",
		"-5":  some,
		"5x":  some,
		"":    some,
	} {
		if got := timeMeant(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestSplitFileAnnotation(t *testing.T) {
	var files []artifact.File
	for _, name := range []string{"a", "a:b", `C:\x`, "-", "d/a", "ö"} {
		files = append(files, artifact.File{Path: name})
	}
	for s, want := range map[string]string{
		"a:k=v": "a|k=v", "a:b:k=v": "a:b|k=v", "a:b=v": "a|b=v", "a:c:k=v": "a|c:k=v", "a::k=v": "a|:k=v",
		`C:\x:k=v`: `C:\x|k=v`, "-:k=v": "-|k=v", "d/a:k=a:b:c": "d/a|k=a:b:c", "ö:k=": "ö|k=",
		"b:k=v": "", "k=v": "", "": "", ":k=v": "", "A:k=v": "", "a": "",
	} {
		name, pair, err := splitFileAnnotation(s, files)
		got := name + "|" + pair
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
