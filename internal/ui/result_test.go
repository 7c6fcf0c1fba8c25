package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

const (
	d1 = digest.Digest("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
	d2 = digest.Digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
)

func ref(t *testing.T, s string) store.Ref {
	t.Helper()
	r, err := store.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseFormat(t *testing.T) {
	for _, c := range []struct {
		flag, template string
		kinds          []Kind
		want           Kind // "" is an error
		text           string
	}{
		{want: KindText},
		{flag: "text", want: KindText},
		{flag: "json", want: KindJSON},
		{flag: "go-template={{.digest}}", want: KindTemplate, text: "{{.digest}}"},
		{flag: "go-template={{if eq .a 1}}={{end}}", want: KindTemplate, text: "{{if eq .a 1}}={{end}}"},
		{flag: "go-template", template: "{{.size}}", want: KindTemplate, text: "{{.size}}"},
		{kinds: []Kind{KindTree, KindJSON}, want: KindTree},
		{flag: "table", kinds: []Kind{KindTree, KindTable}, want: KindTable},
		{flag: "table"},
		{flag: "yaml"},
		{flag: "json=x"},
		{flag: "json", template: "{{.x}}"},
		{template: "{{.x}}"},
		{flag: "go-template"},
		{flag: "go-template="},
		{flag: "go-template={{.a}}", template: "{{.b}}"},
		{flag: "go-template={{.a"},
		{flag: "go-template={{env `HOME`}}"},
	} {
		f, err := ParseFormat(c.flag, c.template, c.kinds...)
		if c.want == "" {
			if !errors.Is(err, store.ErrUsage) {
				t.Errorf("%+v: %v, want a usage error", c, err)
			}
			continue
		}
		if err != nil || f.Kind != c.want || f.Template != c.text {
			t.Errorf("%+v: %+v, %v", c, f, err)
		}
	}
}

func TestPrintTemplate(t *testing.T) {
	value := map[string]any{
		"digest": d1, "size": int64(1 << 40), "half": 0.5, "tags": []string{"v1", "v2"}, "evil": []string{"\x1b"},
		"none": nil, "title": "a\x1b[2J\u202eb\nc", "empty": "", "yes": true, "n": 28600000,
	}
	for text, want := range map[string]string{
		`{{.digest}}`:                          d1.String(),
		`{{.size}} {{.half}} {{.yes}}`:         "1099511627776 0.5 true",
		`{{.missing}} {{.none}}`:               "<no value> <no value>",
		`{{.title}}`:                           `a\u001b[2J\u202eb\nc`,
		`{{range .tags}}{{.}},{{end}}`:         "v1,v2,",
		`{{range .evil}}{{.}}{{end}}{{.evil}}`: `\u001b[\u001b]`,
		`{{range .none}}x{{else}}-{{end}}`:     "-",
		`{{with .title}}{{.}}{{end}}{{if .empty}}x{{else}}{{.title}}{{end}}`: `a\u001b[2J\u202eb\nc` + `a\u001b[2J\u202eb\nc`,
		`{{define "t"}}{{.title}}{{end}}{{template "t" .}}`:                  `a\u001b[2J\u202eb\nc`,
		`{{$x := .title}}{{$x | upper}}`:                                     "A\\u001b[2J\\u202eB\nC",
		`{{printf "%s\t%d\n" .digest .size}}`:                                d1.String() + "\t1099511627776\n",
		`{{join "," .tags}} {{join "," .none}}`:                              "v1,v2 ",
		`{{toJson .tags}}`:                                                   `["v1","v2"]`,
		`{{toJson .title}}`:                                                  `"a\u001b[2J\u202eb\nc"`,
		`{{toPrettyJson .tags}}`:                                             "[\n  \"v1\",\n  \"v2\"\n]",
		`{{upper "a"}}{{lower "B"}}`:                                         "Ab",
		`{{index (splitList "," "a,b") 1}}`:                                  "b",
		`{{replace "a" "o" "banana"}}`:                                       "bonono",
		`{{trimPrefix "sha256:" .digest | hasPrefix "4413"}}`:                "true",
		`{{default "x" .empty}}{{.missing | default "y"}}`:                   "xy",
		`{{short .digest}} {{size .n}}`:                                      "44136fa355b3 28.6MB",
		`{{if gt .size 5}}big{{end}}`:                                        "big",
	} {
		f, err := ParseFormat("go-template", text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var out bytes.Buffer
		if err := Print(&out, f, value, nil); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, out.String(), err, want)
		}
	}
}

// A template that fails has written nothing.
func TestPrintTemplateFails(t *testing.T) {
	f, err := ParseFormat("go-template={{.a}}{{index .a 7}}", "")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Print(&out, f, map[string]any{"a": []string{"x"}}, nil)
	if !errors.Is(err, store.ErrUsage) || out.Len() > 0 {
		t.Errorf("%v, written %q", err, out.String())
	}
}

func TestPrintJSON(t *testing.T) {
	var out bytes.Buffer
	value := struct {
		A string   `json:"a"`
		L []string `json:"l"`
	}{"<&>\u009b\u202e\x7f\n", []string{"写真"}}
	if err := Print(&out, Format{Kind: KindJSON}, value, nil); err != nil {
		t.Fatal(err)
	}
	want := "{\n  \"a\": \"<&>\\u009b\\u202e\\u007f\\n\",\n  \"l\": [\n    \"写真\"\n  ]\n}\n"
	if out.String() != want {
		t.Errorf("got %q\nwant %q", out.String(), want)
	}
	back := value
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || !cmp.Equal(back, value) {
		t.Errorf("reads as %+v, %v", back, err)
	}
}

// print gives the JSON of a value in one line, and its text.
func printedBoth(t *testing.T, value any, text func(io.Writer) error) (jsonLine, lines string) {
	t.Helper()
	var js, tx, compact bytes.Buffer
	if err := Print(&js, Format{Kind: KindJSON}, value, text); err != nil {
		t.Fatal(err)
	}
	if err := Print(&tx, Format{}, value, text); err != nil {
		t.Fatal(err)
	}
	if err := json.Compact(&compact, js.Bytes()); err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(string(d1), "D1", string(d2), "D2").Replace(compact.String()),
		strings.NewReplacer(string(d1), "D1", string(d2), "D2").Replace(tx.String())
}

func TestResults(t *testing.T) {
	desc := store.Descriptor{MediaType: "m/t", Digest: d1, Size: 7, ArtifactType: "a/t", Annotations: map[string]string{"k": "v"}}
	plain := store.Descriptor{MediaType: "m/t", Digest: d1, Size: 7}
	const block = `"mediaType":"m/t","digest":"D1","size":7`
	fell := Notes{Fallbacks: List[FallbackTaken]{{"referrers-tag", "404", "reg.io/app"}}, Warnings: List[string]{"old"}}

	push := NewPushResult(ref(t, "reg.io/app:v2,v1"), desc, fell)
	bare := NewPushResult(ref(t, "oci:dir"), plain, Notes{})
	attach := NewAttachResult(ref(t, "reg.io/app:v1"), d2, plain, Notes{})
	pull := NewPullResult("stet", ref(t, "reg.io/app:v1"), d1, Notes{})
	partly := NewPullResult("oras", ref(t, "reg.io/app:v1"), d1, Notes{})
	partly.Skipped = 2
	partly.Files = List[File]{{"/tmp/a", Describe(ref(t, "reg.io/app"), plain)}}
	fetched := NewManifestResult(ref(t, "tar:f"), store.Manifest{Descriptor: plain, Raw: []byte(`{"b":1, "a":[]}`)})
	broken := NewManifestResult(ref(t, "tar:f"), store.Manifest{Descriptor: plain, Raw: []byte(`{"b"`)})
	var seen Recorder
	all := Tee(seen.Event, nil)
	for _, e := range []store.Event{
		{Kind: store.Start, Desc: plain},
		{Kind: store.Done, Desc: plain, How: store.Sent},
		{Kind: store.Done, Desc: plain, How: store.Mounted},
		{Kind: store.Done, Desc: plain, How: store.Present},
		{Kind: store.Fallback, Choice: "upload", Text: "202"},
		{Kind: store.Fallback, Choice: "upload", Text: "202"},
		{Kind: store.Warning, Text: "old"},
		{Kind: store.Warning, Text: "old"},
	} {
		all(e)
	}
	cp := NewCopyResult(ref(t, "reg.io/app:v1"), ref(t, "oci:dir:x,y"), plain, &seen)
	quiet := NewCopyResult(ref(t, "reg.io/app:v1"), ref(t, "oci:dir"), plain, &Recorder{})

	for _, c := range []struct {
		name       string
		value      any
		text       func(io.Writer) error
		json, want string
	}{
		{
			"push", push, push.Text,
			`{"reference":"reg.io/app@D1",` + block + `,"annotations":{"k":"v"},"artifactType":"a/t",` +
				`"referenceAsTags":["reg.io/app:v1","reg.io/app:v2"],"fallbacks":[{"choice":"referrers-tag","reason":"404","name":"reg.io/app"}],"warnings":["old"]}`,
			"Pushed [registry] reg.io/app:v2\nTagged v1\nArtifactType: a/t\nDigest: D1\n",
		},
		{
			"push without a tag", bare, bare.Text,
			`{"reference":"dir@D1",` + block + `,"referenceAsTags":[]}`,
			"Pushed [oci-layout] dir@D1\nDigest: D1\n",
		},
		{
			"tag", bare, push.TagText,
			`{"reference":"dir@D1",` + block + `,"referenceAsTags":[]}`,
			"Tagging [registry] reg.io/app@D1\nTagged v2\nTagged v1\n",
		},
		{
			"attach", attach, attach.Text,
			`{"reference":"reg.io/app@D1",` + block + `}`,
			"Attached to [registry] reg.io/app@D2\nDigest: D1\n",
		},
		{
			"pull", pull, pull.Text,
			`{"reference":"reg.io/app@D1","digest":"D1","files":[]}`,
			"Pulled [registry] reg.io/app:v1\nDigest: D1\n",
		},
		{
			"pull in part", partly, partly.Text,
			`{"reference":"reg.io/app@D1","digest":"D1","files":[{"path":"/tmp/a","reference":"reg.io/app@D1",` + block + `}],"skipped":2}`,
			"Skipped pulling layers without file name in \"org.opencontainers.image.title\"\n" +
				"Use 'oras cp reg.io/app:v1 --to-oci-layout <layout-dir>' to pull all layers.\n" +
				"Pulled [registry] reg.io/app:v1\nDigest: D1\n",
		},
		{"manifest", fetched, pull.Text, `{"reference":"f@D1",` + block + `,"content":{"b":1,"a":[]}}`, "Pulled [registry] reg.io/app:v1\nDigest: D1\n"},
		{"manifest, no JSON", broken, pull.Text, `{"reference":"f@D1",` + block + `,"content":null}`, "Pulled [registry] reg.io/app:v1\nDigest: D1\n"},
		{
			"cp", cp, cp.Text,
			`{"source":"reg.io/app:v1","destination":"dir@D1",` + block + `,"tags":["x","y"],` +
				`"counts":{"sent":1,"mounted":1,"present":1,"bytes":7},"fallbacks":[{"choice":"upload","reason":"202"}],"warnings":["old"]}`,
			"Copied [registry] reg.io/app:v1 => [oci-layout] dir:x\nTagged y\nDigest: D1\n",
		},
		{
			"cp without a tag", quiet, quiet.Text,
			`{"source":"reg.io/app:v1","destination":"dir@D1",` + block + `,"tags":[],` +
				`"counts":{"sent":0,"mounted":0,"present":0,"bytes":0},"fallbacks":[]}`,
			"Copied [registry] reg.io/app:v1 => [oci-layout] dir@D1\nDigest: D1\n",
		},
		{"delete", 0, DeleteText(ref(t, "reg.io/app:v1"), false), "0", "Deleted [registry] reg.io/app:v1\n"},
		{"delete nothing", 0, DeleteText(ref(t, "reg.io/app@"+string(d1)), true), "0", "Missing [registry] reg.io/app@D1\n"},
	} {
		js, text := printedBoth(t, c.value, c.text)
		if d := cmp.Diff(c.json, js); d != "" {
			t.Errorf("%s as JSON (-want +got):\n%s", c.name, d)
		}
		if d := cmp.Diff(c.want, text); d != "" {
			t.Errorf("%s as text (-want +got):\n%s", c.name, d)
		}
	}
}

// Tags of a layout and types come from outside.
func TestSummariesAreEscaped(t *testing.T) {
	evil := store.Ref{Scheme: store.SchemeLayout, Path: "d\x1b", Tags: []string{"a\n", "b\u202e"}}
	r := NewPushResult(evil, store.Descriptor{Digest: d1, ArtifactType: "\x9b"}, Notes{})
	var out bytes.Buffer
	if err := r.Text(&out); err != nil {
		t.Fatal(err)
	}
	want := "Pushed [oci-layout] d\\u001b:a\\n\nTagged b\\u202e\nArtifactType: \\x9b\nDigest: " + string(d1) + "\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
