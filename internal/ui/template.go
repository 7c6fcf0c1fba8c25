package ui

import (
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/opencontainers/go-digest"
)

// functions are what a template may call beside those of text/template. Names
// and order of arguments are those which templates for ORAS use:
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
func functions() template.FuncMap {
	return template.FuncMap{
		"toJson":       func(v any) (string, error) { return jsonText(v, "") },
		"toPrettyJson": func(v any) (string, error) { return jsonText(v, "  ") },
		"join":         join,
		"splitList":    func(sep, s string) []string { return strings.Split(s, sep) },
		"replace":      func(from, to, s string) string { return strings.ReplaceAll(s, from, to) },
		"trimPrefix":   func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
		"hasPrefix":    func(prefix, s string) bool { return strings.HasPrefix(s, prefix) },
		"upper":        strings.ToUpper,
		"lower":        strings.ToLower,
		"default":      orDefault,
		"short":        func(d string) string { return short(digest.Digest(d)) },
		"size":         Size,
		printed:        printedForm,
	}
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
	return "", fmt.Errorf("join: %v is not a list", list)
}

func orDefault(d, v any) any {
	if truth, ok := template.IsTrue(v); !ok || !truth {
		return d
	}
	return v
}

// printed is the function at the end of every pipeline that prints.
const printed = "_printed"

// printedForm is v as text/template prints it, with the controls escaped that
// a value from outside may bring. Newlines and tabs stay: templates make them.
func printedForm(v any) string {
	if v == nil {
		return "<no value>"
	}
	return EscapeLines(fmt.Sprint(v))
}

// parseTemplate reads a template and appends printed to what it prints.
func parseTemplate(text string) (*template.Template, error) {
	t, err := template.New("template").Funcs(functions()).Parse(text)
	if err != nil {
		return nil, err
	}
	for _, part := range t.Templates() { // t and what it defines
		if part.Tree != nil {
			guard(part.Root)
		}
	}
	return t, nil
}

// guard appends printed to every action below n that prints.
func guard(n parse.Node) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return // a branch without else
		}
		for _, child := range n.Nodes {
			guard(child)
		}
	case *parse.IfNode:
		guard(n.List)
		guard(n.ElseList)
	case *parse.RangeNode:
		guard(n.List)
		guard(n.ElseList)
	case *parse.WithNode:
		guard(n.List)
		guard(n.ElseList)
	case *parse.ActionNode:
		if len(n.Pipe.Decl) > 0 {
			return // {{$x := …}} prints nothing
		}
		n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{
			NodeType: parse.NodeCommand,
			Args:     []parse.Node{parse.NewIdentifier(printed).SetPos(n.Pos)},
		})
	}
}
