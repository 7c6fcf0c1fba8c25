package ui

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// found is a result with everything that a tree can have, and names from
// outside that are not fit for a terminal, for Mermaid and for Graphviz.
func found(t *testing.T) DiscoverResult {
	t.Helper()
	r := ref(t, "reg.example.com/app:v1")
	at := func(name, artifactType string) Discovered {
		return Discovered{Descriptor: Describe(r, store.Descriptor{
			MediaType: store.MediaTypeImage, Digest: digest.FromString(name), Size: 2, ArtifactType: artifactType,
		})}
	}
	evil := at("evil", "a\x1b[31m\"];<b>&amp;\\n|`%%\u202e")
	evil.Annotations = map[string]string{"z": "1", "a\nb": "c\"\x07\\"}
	note := at("note", "")
	again := at("evil", "note")
	again.Repeated = true
	note.Referrers = List[Discovered]{again}
	child, bare := at("child", ""), at("bare", "")
	child.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
	signed := at("signed", "sig")
	signed.Tag = "sha256-ab.s\"ig"
	top := at("top", "")
	top.Referrers, top.Manifests, top.DigestTags = List[Discovered]{note, evil}, List[Discovered]{child, bare}, List[Discovered]{signed}
	return NewDiscoverResult(r, top, Notes{})
}

// byName makes digests in a text readable: the first letters of what they are of.
func byName(s string) string {
	for _, name := range []string{"evil", "note", "child", "bare", "signed", "top"} {
		d := digest.FromString(name).String()
		s = strings.NewReplacer(d, "<"+name+">", d[:len("sha256:")+digestDigits], "<"+name+"…>").Replace(s)
	}
	return s
}

func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDiscoverForms(t *testing.T) {
	r := found(t)
	for _, c := range []struct {
		name  string
		write func(io.Writer) error
		want  string
	}{
		{"tree", r.Tree(false, true), `
reg.example.com/app@<top>
├── <unknown>
│   └── <note>
│       └── note
│           └── <evil> (shown elsewhere)
├── a\u001b[31m"];<b>&amp;\n|` + "`" + `%%\u202e
│   └── <evil>
│       └── [annotations]
│           ├── a\nb: "c\"\u0007\"
│           └── z: "1"
├── [manifest linux/arm/v7]
│   └── <child>
├── [manifest]
│   └── <bare>
└── [tag sha256-ab.s"ig]
    └── <signed>
`},
		{"table", r.Table, `
Discovered 4 artifacts referencing reg.example.com/app:v1
Digest: <top>

Artifact Type                       Digest    Subject  Tag
<unknown>                           <note>    <top>
note                                <evil>    <note>
a\u001b[31m"];<b>&amp;\n|` + "`" + `%%\u202e  <evil>    <top>
sig                                 <signed>  <top>    sha256-ab.s"ig
`},
		{"mermaid", r.Mermaid, `
graph TD
  %% n0 is <top>
  n0["reg.example.com/app<br/><top…>"]
  %% n1 is <note>
  n1["#60;unknown#62;<br/><note…>"]
  %% n2 is <evil>
  n2["note<br/><evil…>"]
  %% n3 is <child>
  n3["application/vnd.oci.image.manifest.v1+json<br/><child…>"]
  %% n4 is <bare>
  n4["application/vnd.oci.image.manifest.v1+json<br/><bare…>"]
  %% n5 is <signed>
  n5["sig<br/><signed…>"]
  n0 --> n1
  n1 --> n2
  n0 --> n2
  n0 -->|"manifest linux/arm/v7"| n3
  n0 -->|"manifest"| n4
  n0 -->|"tag .s#34;ig"| n5
`},
		{"dot", r.Dot, `
digraph referrers {
  node [shape=box];
  n0 [label="reg.example.com/app\n<top…>", tooltip="<top>"];
  n1 [label="<unknown>\n<note…>", tooltip="<note>"];
  n2 [label="note\n<evil…>", tooltip="<evil>"];
  n3 [label="application/vnd.oci.image.manifest.v1+json\n<child…>", tooltip="<child>"];
  n4 [label="application/vnd.oci.image.manifest.v1+json\n<bare…>", tooltip="<bare>"];
  n5 [label="sig\n<signed…>", tooltip="<signed>"];
  n0 -> n1;
  n1 -> n2;
  n0 -> n2;
  n0 -> n3 [label="manifest linux/arm/v7"];
  n0 -> n4 [label="manifest"];
  n0 -> n5 [label="tag .s\"ig"];
}
`},
	} {
		got := written(t, c.write)
		if c.name == "table" { // columns are as wide as whole digests
			got = regexp.MustCompile(`(?m) +$`).ReplaceAllString(got, "")
			got = regexp.MustCompile(`  +`).ReplaceAllString(got, "  ")
			c.want = regexp.MustCompile(`  +`).ReplaceAllString(c.want, "  ")
		}
		if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), byName(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Labels from outside stay labels: each line of a graph has one of the few forms
// that the languages have, whatever the artifact type is.
func TestGraphsCannotBeBrokenOutOf(t *testing.T) {
	const text = `"(?:[^"\\\n]|\\.)*"` // a string of DOT
	dot := regexp.MustCompile(`^(digraph referrers \{|  node \[shape=box\];|  n\d+ \[label=` + text + `, tooltip=` + text + `\];|  n\d+ -> n\d+( \[label=` + text + `\])?;|\})$`)
	mermaid := regexp.MustCompile(`^(graph TD|  %% n\d+ is [a-z0-9]+:[0-9a-f]+|  n\d+\["[^"\n;#<>` + "`" + `|]*(#\d+;[^"\n;#<>` + "`" + `|]*)*<br/>[a-z0-9]+:[0-9a-f]+"\]|  n\d+ -->(\|"([^"\n;#|]|#\d+;)*"\|)? n\d+)$`)
	for _, evil := range []string{
		`"`, `\`, `\"`, `"];x[`, "a\nb", `a\Nb`, "&quot;", `|"| n0`, "#34;", "<br/>", "`md`", "end", "%%{init: {}}%%", "\x1b]0;x\x07", "é世", "\xff", "--> n0;",
	} {
		r := found(t)
		r.Referrers[0].ArtifactType, r.DigestTags[0].Tag = evil, "x."+evil
		for form, c := range map[string]struct {
			write func(io.Writer) error
			line  *regexp.Regexp
		}{"dot": {r.Dot, dot}, "mermaid": {r.Mermaid, mermaid}} {
			for line := range strings.SplitSeq(strings.TrimSuffix(written(t, c.write), "\n"), "\n") {
				if !c.line.MatchString(line) {
					t.Errorf("%q in %s: %q", evil, form, line)
				}
			}
		}
	}
}

func TestDiscoverTreeHasColoursOnlyOnRequest(t *testing.T) {
	r := found(t)
	plain := written(t, r.Tree(false, true))
	colored := written(t, r.Tree(true, true))
	if strings.Contains(plain, "\x1b") || !strings.Contains(colored, yellow+"note"+noColor) || !strings.Contains(colored, green+"[annotations]"+noColor) {
		t.Errorf("plain\n%s\ncoloured\n%s", plain, colored)
	}
	bare := written(t, r.Tree(false, false))
	if strings.Contains(bare, "[annotations]") {
		t.Errorf("annotations in\n%s", bare)
	}
}

// Lists are never null, and what nobody asked for is not in the JSON.
func TestRepoResults(t *testing.T) {
	var none List[TagDetail]
	r := ref(t, "reg.example.com/app")
	one := NewTagDetail(r, "v\x1b1", store.Descriptor{MediaType: "x", Digest: d1, Size: 2}, store.UnknownSize)
	var untagged UntagResult
	untagged.Add(r, "v1", store.Descriptor{Digest: d1}, false)
	untagged.Add(r, "v2", store.Descriptor{}, true)
	for _, c := range []struct {
		value any
		text  func(io.Writer) error
		json  string
		want  string
	}{
		{value: TagsResult{}, text: TagsResult{}.Text, json: `{"tags":[]}`},
		{value: TagsResult{Details: &none}, text: TagsResult{Details: &none}.Table, json: `{"tags":[],"details":[]}`, want: "Tag  Digest  Size  Kind  Artifact Type  Created\n"},
		{
			value: TagsResult{Tags: List[string]{"v1"}, Details: &List[TagDetail]{one}},
			text:  TagsResult{Details: &List[TagDetail]{one}}.Table,
			json:  fmt.Sprintf(`{"tags":["v1"],"details":[{"tag":"v\u001b1","reference":"reg.example.com/app@%s","mediaType":"x","digest":"%s","size":2,"kind":"unknown"}]}`, d1, d1),
			want:  fmt.Sprintf("Tag       Digest%sSize  Kind     Artifact Type  Created\nv\\u001b1  %s  -     unknown  -              -\n", strings.Repeat(" ", 67), d1),
		},
		{
			value: NewRepositoriesResult("h", nil, nil, Notes{}), text: NewRepositoriesResult("h", nil, []string{"a\x1b"}, Notes{}).Text,
			json: `{"registry":"h","repositories":[]}`, want: "a\\u001b\n",
		},
		{value: UntagResult{}, text: UntagResult{}.Text, json: `{"untagged":[]}`},
		{
			value: untagged, text: untagged.Text,
			json: fmt.Sprintf(`{"untagged":[{"tag":"v1","reference":"reg.example.com/app@%s","digest":"%s"}],"missing":[{"tag":"v2","reference":"reg.example.com/app:v2"}]}`, d1, d1),
			want: fmt.Sprintf("Untagged [registry] reg.example.com/app:v1\nDigest: %s\nMissing [registry] reg.example.com/app:v2\n", d1),
		},
	} {
		doc, err := encodeJSON(c.value, "")
		if err != nil || strings.TrimSpace(string(doc)) != c.json {
			t.Errorf("%v\ngot  %swant %s", err, doc, c.json)
		}
		if diff := cmp.Diff(c.want, written(t, c.text)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
