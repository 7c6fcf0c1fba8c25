package ui

import (
	"fmt"
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

// functions are what a template may call: those of text/template, and these.
// Names and order of arguments are those which templates for ORAS use:
//
//	toJson V            V as JSON in one line
//	toPrettyJson V      V as JSON, indented
//	join SEP LIST       the values of LIST with SEP between them
//	splitList SEP S     the parts of S
//	replace OLD NEW S   S with every OLD replaced
//	trimPrefix PRE S    S without PRE at its beginning
//	hasPrefix PRE S     whether S begins with PRE
//	upper S, lower S    S in capitals, in small letters
//	default D V         V, or D where V is missing or empty
//	short DIGEST        the first twelve digits of a digest
//	size N              N bytes for people, as in 28.6MB
//
// None of them reads the environment, a file or the clock.
func functions() map[string]function {
	all := builtins()
	for name, f := range map[string]function{
		"toJson":       {params: "v", call: func(a arguments) (any, error) { return jsonText(a[0], "") }},
		"toPrettyJson": {params: "v", call: func(a arguments) (any, error) { return jsonText(a[0], "  ") }},
		"join":         {params: "sv", call: func(a arguments) (any, error) { return join(a.text(0), a[1]) }},
		"splitList":    {params: "ss", call: func(a arguments) (any, error) { return strings.Split(a.text(1), a.text(0)), nil }},
		"replace":      {params: "sss", call: func(a arguments) (any, error) { return strings.ReplaceAll(a.text(2), a.text(0), a.text(1)), nil }},
		"trimPrefix":   {params: "ss", call: func(a arguments) (any, error) { return strings.TrimPrefix(a.text(1), a.text(0)), nil }},
		"hasPrefix":    {params: "ss", call: func(a arguments) (any, error) { return strings.HasPrefix(a.text(1), a.text(0)), nil }},
		"upper":        {params: "s", call: func(a arguments) (any, error) { return strings.ToUpper(a.text(0)), nil }},
		"lower":        {params: "s", call: func(a arguments) (any, error) { return strings.ToLower(a.text(0)), nil }},
		"default":      {params: "vv", call: func(a arguments) (any, error) { return orDefault(a[0], a[1]), nil }},
		"short":        {params: "s", call: func(a arguments) (any, error) { return short(digest.Digest(a.text(0))), nil }},
		"size":         {params: "n", call: func(a arguments) (any, error) { return Size(a.int64(0)), nil }},
	} {
		all[name] = f
	}
	return all
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
