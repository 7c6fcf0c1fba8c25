package ui

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// function is what a template may call by its name.
type function struct {
	// params has a letter for each parameter: s is a string, n an int64, v any
	// value. A value of another type is an error, as in Go.
	params string
	rest   bool // any number of values may follow
	call   func(a arguments) (any, error)
}

// param is the letter of the parameter i.
func (f function) param(i int) byte {
	if i < len(f.params) {
		return f.params[i]
	}
	return 'v'
}

// takes tells whether f can be called with n arguments.
func (f function) takes(n int) bool {
	return n == len(f.params) || n > len(f.params) && f.rest
}

// wants says in words how many arguments f takes.
func (f function) wants() string {
	n := strconv.Itoa(len(f.params))
	if f.rest {
		return "at least " + n
	}
	return n
}

// arguments are those of one call, of the types that the parameters say.
type arguments []any

func (a arguments) text(i int) string {
	s, _ := a[i].(string)
	return s
}

func (a arguments) int64(i int) int64 {
	n, _ := a[i].(int64)
	return n
}

// added are the functions beside those of text/template. Names and order of
// arguments are those which templates for ORAS use. None of them reads the
// environment, a file or the clock.
func added() []addedFunction {
	return []addedFunction{
		{"toJson V", "V as JSON in one line", "v", func(a arguments) (any, error) { return jsonText(a[0], "") }},
		{"toPrettyJson V", "V as JSON, indented", "v", func(a arguments) (any, error) { return jsonText(a[0], "  ") }},
		{"join SEP LIST", "the values of LIST with SEP between them", "sv", func(a arguments) (any, error) { return join(a.text(0), a[1]) }},
		{"splitList SEP S", "the parts of S", "ss", func(a arguments) (any, error) { return strings.Split(a.text(1), a.text(0)), nil }},
		{"replace OLD NEW S", "S with every OLD replaced", "sss", func(a arguments) (any, error) { return strings.ReplaceAll(a.text(2), a.text(0), a.text(1)), nil }},
		{"trimPrefix PRE S", "S without PRE at its beginning", "ss", func(a arguments) (any, error) { return strings.TrimPrefix(a.text(1), a.text(0)), nil }},
		{"hasPrefix PRE S", "whether S begins with PRE", "ss", func(a arguments) (any, error) { return strings.HasPrefix(a.text(1), a.text(0)), nil }},
		{"upper S", "S in capitals", "s", func(a arguments) (any, error) { return strings.ToUpper(a.text(0)), nil }},
		{"lower S", "S in small letters", "s", func(a arguments) (any, error) { return strings.ToLower(a.text(0)), nil }},
		{"default D V", "V, or D where V is missing or empty", "vv", func(a arguments) (any, error) { return orDefault(a[0], a[1]), nil }},
		{"short DIGEST", "the first twelve digits of a digest", "s", func(a arguments) (any, error) { return short(digest.Digest(a.text(0))), nil }},
		{"size N", "N bytes for people, as in 28.6MB", "n", func(a arguments) (any, error) { return Size(a.int64(0)), nil }},
	}
}

// addedFunction is a function with its help.
type addedFunction struct {
	use, help string
	params    string // as in function
	call      func(a arguments) (any, error)
}

func (f addedFunction) name() string {
	name, _, _ := strings.Cut(f.use, " ")
	return name
}

// functions are what a template may call: those of text/template, and the added.
func functions() map[string]function {
	all := builtins()
	for _, f := range added() {
		all[f.name()] = function{params: f.params, call: f.call}
	}
	return all
}

// TemplateFunctions lists what templates may call, one a line: the added
// functions with what they give, and the names of those of text/template.
func TemplateFunctions() string {
	var b strings.Builder
	for _, f := range added() {
		fmt.Fprintf(&b, "  %-19s %s\n", f.use, f.help)
	}
	names := slices.Sorted(maps.Keys(builtins()))
	half := len(names) / 2
	return b.String() + "  and those of Go: " + strings.Join(names[:half], ", ") + ",\n  " + strings.Join(names[half:], ", ")
}

func jsonText(v any, indent string) (string, error) {
	doc, err := encodeJSON(v, indent)
	return strings.TrimSuffix(string(doc), "\n"), err
}

func join(sep string, list any) (string, error) {
	switch l := list.(type) {
	case nil:
		return "", nil
	case []string:
		return strings.Join(l, sep), nil
	case []any:
		parts := make([]string, len(l))
		for i, v := range l {
			parts[i] = fmt.Sprint(v)
		}
		return strings.Join(parts, sep), nil
	}
	return "", fmt.Errorf("%v is not a list", list)
}

func orDefault(d, v any) any {
	if truth(v) {
		return v
	}
	return d
}
