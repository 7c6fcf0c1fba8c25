package ui

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sampleJSON has every type of JSON, in the places where a template meets it.
const sampleJSON = `{
	"s": "text", "empty": "", "html": "<a href=\"x\">'&\u0000=\\</a>", "wide": "Grüße, 写真 \ud83d\udc69\u200d\ud83d\udcbb\u00ad",
	"evil": "a\u001b[2J\u202ebc", "n": 3, "zero": 0, "neg": -2, "big": 28600000, "huge": 1e300, "half": 0.5, "zerof": 0.0,
	"yes": true, "no": false, "null": null, "list": ["a", "b", "c"], "mixed": [1, null, "x", {"k": 1}, [2], 0.5, true], "none": [], "obj": {},
	"map": {"b": 2, "a": 1, "c": null, "Z": {"y": ["q"]}}, "objs": [{"k": "v", "n": 1}, {"k": null}, {"n": 3}],
	"digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
	"tree": {"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3, "kids": [{"v": 4}]}]}
}`

var samples = []string{sampleJSON, `null`, `[]`, `[1, null, "x", [2, 3], {"k": "v"}]`, `"text"`, `7`, `-1`, `1.5`, `true`, `{"list": null, "s": 1, "n": "x", "map": [1]}`, `{"s": "a\tb\n", "map": {"x\ty": "\n"}}`}

func form(t *testing.T, doc string) any {
	t.Helper()
	v, err := jsonForm(json.RawMessage(doc))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sliceBug: as the index of a slice text/template takes no value of a map or
// list, unless it is in parentheses. Here both are the same.
var sliceBug = regexp.MustCompile(`error calling slice: cannot index slice/array with type interface \{\}`)

// compare runs a template through both executions.
func compare(t *testing.T, text string, data any) {
	t.Helper()
	own, ownErr := parseOwn(text)
	ref, refErr := parseReference(text)
	if (ownErr == nil) != (refErr == nil) {
		t.Errorf("%q is read with %v, by text/template with %v", text, ownErr, refErr)
	}
	if ownErr != nil || refErr != nil {
		return
	}
	var got, want bounded
	ownErr, refErr = own(&got, data), ref(&want, data)
	switch {
	case errors.Is(ownErr, errLong) || errors.Is(refErr, errLong):
	case refErr != nil && sliceBug.MatchString(refErr.Error()):
	case (ownErr == nil) != (refErr == nil):
		t.Errorf("%q with %v: error %v; of text/template %v", text, data, ownErr, refErr)
	case got.String() != want.String(): // after an error, what was written before it
		t.Errorf("%q with %v:\n%q; text/template\n%q (%v)", text, data, got.String(), want.String(), ownErr)
	}
}

// templates are the lines of testdata/templates.txt.
func templates(t testing.TB) []string {
	raw, err := os.ReadFile("testdata/templates.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" && !strings.HasPrefix(line, "# ") {
			all = append(all, strings.ReplaceAll(line, "⏎", "\n"))
		}
	}
	return all
}

// A template means what it means to text/template, whatever it is given.
func TestTemplatesAsTheLibrary(t *testing.T) {
	t.Parallel()
	for _, doc := range samples {
		data := form(t, doc)
		for _, text := range templates(t) {
			compare(t, text, data)
		}
	}
}

// Each function with arguments of every type, in every number.
func TestTemplateFunctionsAsTheLibrary(t *testing.T) {
	t.Parallel()
	data := form(t, sampleJSON)
	operands := []string{
		".s", ".n", ".zero", ".half", ".yes", ".null", ".missing", ".list", ".map", ".mixed", ".none", `"%v-%s"`, "1", "1.0", "'a'", "1i", "nil",
		"(index .s 0)", `(splitList "," "a,b")`,
	}
	more := []string{
		".", "$", ".empty", ".neg", ".html", ".evil", ".wide", ".digest", "0", "-1", "0.5", "1e2", "0x1e", "true", "99999999999999999999",
		"(len .list)", "(index .mixed 1)", "print",
	}
	for name := range functions() {
		compare(t, "{{"+name+"}}", data)
		for _, a := range slices.Concat(operands, more) {
			compare(t, "{{"+name+" "+a+"}}", data)
			compare(t, "{{"+a+" | "+name+"}}", data)
		}
		for _, a := range operands {
			for _, b := range operands {
				compare(t, "{{"+name+" "+a+" "+b+"}}", data)
				compare(t, "{{"+b+" | "+name+" "+a+"}}", data)
			}
		}
		for _, three := range []string{`.list 1 2`, `.list 2 1`, `.s 1 1`, `.map "Z" "y"`, `.mixed 4 0`, `"a" "b" .s`, `1 2 1`, `1 2 "x"`, `nil 0 nil`, `"%d %s" 1 nil`} {
			compare(t, "{{"+name+" "+three+"}}", data)
			compare(t, "{{"+name+" "+three+" 3}}", data)
			compare(t, "{{"+name+" "+three+" 3 4}}", data)
		}
	}
}

// What differs from text/template, or is bounded otherwise.
func TestTemplateOwnWays(t *testing.T) {
	data := form(t, `{"n": 2, "s": "text", "list": ["a", "b", "c"]}`)
	for text, want := range map[string]string{
		`{{slice .s 0 .n}}`:                       "te",
		`{{range .list}}{{slice $.s $.n}}{{end}}`: "xtxtxt",
		// Without reading what lies after the end of a list.
		`{{slice .list 0 4}}`: "! index out of range",
		`{{call .s}}`:         "! string is not a function: no value is",
		`{{define "t"}}{{template "t" .}}{{end}}{{template "t" .}}`: "! maximum template depth (10000)",
		`{{template "template"}}`:                                   "! maximum template depth (10000)",
		`{{template "nobody"}}`:                                     `! template "nobody" not defined`,
		`x{{len .n}}`:                                               "! template:1:3: executing \"template\" at <len>: error calling len: len of type int64",
	} {
		run, err := parseOwn(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var out bounded
		got := ""
		if err := run(&out, data); err != nil {
			got = "! " + err.Error()
		} else {
			got = out.String()
		}
		if words, fails := strings.CutPrefix(want, "! "); fails && strings.HasPrefix(got, "! ") && strings.Contains(got, words) {
			continue
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// A list from JSON ends where it ends, not where the decoder's memory does.
func TestTemplateSliceEnds(t *testing.T) {
	for n := range 20 {
		list := form(t, "["+strings.TrimSuffix(strings.Repeat("1,", n), ",")+"]").([]any)
		if cap(list) != n {
			t.Errorf("%d items have room for %d", n, cap(list))
		}
	}
}

// endless are templates that neither execution ends soon, or that print
// addresses: ranges over large numbers, wide formats.
var endless = regexp.MustCompile(`range[^}]*([0-9A-Fa-f_xXoO]{4}|'|[eEpP][-+]?[0-9])|%[^a-zA-Z]*[0-9*]{3}|%[^a-zA-Z%]*p`)

// large tells whether a range over something in v could take long.
func large(v any) bool {
	switch v := v.(type) {
	case int64:
		return v > 999
	case []any:
		return slices.ContainsFunc(v, large)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), large)
	}
	return false
}

func FuzzTemplate(f *testing.F) {
	doc := strings.Replace(sampleJSON, "28600000", "286", 1)
	for _, text := range templates(f) {
		f.Add(text, doc)
	}
	for _, doc := range samples[1:] {
		f.Add(`{{range $k, $v := .}}{{$k}}={{$v}} {{else}}none{{end}}{{.s}}`, doc)
	}
	f.Fuzz(func(t *testing.T, text, doc string) {
		data, err := jsonForm(json.RawMessage(doc))
		if err != nil || endless.MatchString(text) || strings.Contains(text, "range") && (large(data) || strings.Count(text, "range") > 3) {
			t.Skip()
		}
		compare(t, text, data)
	})
}

// A value from outside is part of a line and makes none of its own, but a
// template makes lines as it likes.
func TestTemplateLines(t *testing.T) {
	data := map[string]any{"v": "a\nb\tc\x1b", "list": []any{"x\ny"}}
	for text, want := range map[string]string{
		"{{.v}}":                               `a\nb\tc\u001b`,
		"{{range .list}}{{.}}\n{{end}}":        `x\ny` + "\n",
		"{{range $v := .list}}{{$v}}{{end}}":   `x\ny`,
		`{{$nl := "\n"}}{{len .list}}{{$nl}}x`: "1\nx",
		"{{println 1}}":                        "1\n",
	} {
		parsed, err := parseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := parsed.execute(&out, data); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, out.String(), err, want)
		}
	}
}
