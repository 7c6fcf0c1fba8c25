package artifact

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stet-oci/stet/pkg/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The table in docs/manifest-kinds.md is read and agreed to by people; a change
// of any decision shows as a change of it.
func TestDecideTable(t *testing.T) {
	const page, mark = "../../docs/manifest-kinds.md", "<!-- the table of Decide; go test ./pkg/artifact -update writes it -->\n\n"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text, table, found := strings.Cut(string(raw), mark)
	if !found {
		t.Fatalf("%s has no line %s", page, mark)
	}
	if *update {
		if err := os.WriteFile(page, []byte(text+mark+kindTable()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(table, "\n"), strings.Split(kindTable(), "\n")); diff != "" {
		t.Errorf("decisions changed (-agreed +now):\n%s", diff)
	}
}

// What must hold in every row, whatever the table says.
func TestDecideHolds(t *testing.T) {
	for _, r := range requests() {
		for _, r.Files = range []bool{false, true} {
			d, err := Decide(r)
			if err != nil {
				if !errors.Is(err, store.ErrUsage) {
					t.Errorf("%+v: %v is not a usage error", r, err)
				}
				continue
			}
			want := r.Kind
			if want == "" {
				want = KindImage
			}
			if d.Kind != want {
				t.Errorf("%+v: kind %s was packed, which nobody asked for", r, d.Kind)
			}
			if r.ArtifactType != "" && d.Type() != r.ArtifactType {
				t.Errorf("%+v: the artifact type was lost: %+v", r, d)
			}
			if d.Kind == KindImageV10 && (r.Subject || d.ArtifactType != "") || d.Kind == KindArtifact && d.ConfigMediaType != "" {
				t.Errorf("%+v: %+v has what its kind does not know", r, d)
			}
			if d.ArtifactType == "" && d.ConfigMediaType == "application/vnd.oci.empty.v1+json" {
				t.Errorf("%+v: empty config without artifactType (image-spec manifest.md)", r)
			}
			if d.EmptyLayer != (!r.Files && d.Kind != KindArtifact) || d.Reason == "" || d.Type() == "" {
				t.Errorf("%+v: %+v", r, d)
			}
		}
	}
}

func TestDecideTypes(t *testing.T) {
	for _, r := range []Request{
		{ArtifactType: "thing"},
		{ArtifactType: "a/b/c"},
		{ArtifactType: "a/b; charset=utf-8"},
		{ArtifactType: "a/" + strings.Repeat("b", 128)},
		{ArtifactType: "a /b"},
		{ArtifactType: "a/b\n"},
		{Config: true, ConfigType: "x"},
		{ConfigType: "a/b"},
		{Kind: "docker"},
		{Config: true, ConfigType: "application/vnd.oci.empty.v1+json"},
		{Kind: KindImageV10, Config: true, ConfigType: "application/vnd.oci.empty.v1+json"},
	} {
		if d, err := Decide(r); !errors.Is(err, store.ErrUsage) {
			t.Errorf("Decide(%+v) = %+v, %v; want ErrUsage", r, d, err)
		}
	}
}

func TestParseKindFlags(t *testing.T) {
	for _, c := range []struct {
		kind, spec string
		want       Kind
		bad        bool
	}{
		{"", "", "", false},
		{"image", "", KindImage, false},
		{"image-v1.0", "v1.0", KindImageV10, false},
		{"", "v1.1", KindImage, false},
		{"", "v1.1-image", KindImage, false},
		{"", "v1.1-artifact", KindArtifact, false},
		{"artifact", "v1.1", "", true},
		{"oci", "", "", true},
		{"", "v1", "", true},
	} {
		got, err := ParseKindFlags(c.kind, c.spec)
		if got != c.want || errors.Is(err, store.ErrUsage) != c.bad {
			t.Errorf("ParseKindFlags(%q, %q) = %q, %v", c.kind, c.spec, got, err)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	p, err := ParsePlatform("windows/arm/v7:10.0")
	if err != nil || p.OS != "windows" || p.Architecture != "arm" || p.Variant != "v7" || p.OSVersion != "10.0" {
		t.Errorf("ParsePlatform = %+v, %v", p, err)
	}
	for _, s := range []string{"", "linux", "linux/", "/arm", "a/b/c/d"} {
		if _, err := ParsePlatform(s); !errors.Is(err, store.ErrUsage) {
			t.Errorf("ParsePlatform(%q): %v, want ErrUsage", s, err)
		}
	}
}
