package ui

import (
	"errors"
	"io"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/opencontainers/go-digest"
)

// What text/template itself makes of a template, with the functions of this
// package and the escaping of what is printed. It is what the package's own
// execution of templates is compared with.

// errLong ends a template that writes too much to be compared.
var errLong = errors.New("too long for a test")

// bounded is a writer of some bytes.
type bounded struct{ strings.Builder }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > 1<<16 {
		return 0, errLong
	}
	return b.Builder.Write(p)
}

// executor is a template that is ready.
type executor func(out io.Writer, data any) error

func parseOwn(text string) (executor, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	return t.execute, nil
}

func parseReference(text string) (executor, error) {
	t, err := template.New(mainTemplate).Funcs(template.FuncMap{
		"toJson":       func(v any) (string, error) { return jsonText(v, "") },
		"toPrettyJson": func(v any) (string, error) { return jsonText(v, "  ") },
		"join":         join,
		"splitList":    func(sep, s string) []string { return strings.Split(s, sep) },
		"replace":      func(from, to, s string) string { return strings.ReplaceAll(s, from, to) },
		"trimPrefix":   func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
		"hasPrefix":    func(prefix, s string) bool { return strings.HasPrefix(s, prefix) },
		"upper":        strings.ToUpper,
		"lower":        strings.ToLower,
		"default": func(d, v any) any {
			if truth, ok := template.IsTrue(v); !ok || !truth {
				return d
			}
			return v
		},
		"short": func(d string) string { return short(digest.Digest(d)) },
		"size":  Size,
	}).Parse(text)
	if err != nil {
		return nil, err
	}
	t.Funcs(template.FuncMap{"_printed": printed, "_printedValue": printedValue}) // unknown to the parser, and so to templates
	for _, part := range t.Templates() {
		guard(part.Root)
	}
	return t.Execute, nil
}

// guard appends to every action below n that prints what shows its value.
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
		if len(n.Pipe.Decl) == 0 {
			show := "_printed"
			if isValue(n.Pipe) {
				show = "_printedValue"
			}
			n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{
				NodeType: parse.NodeCommand,
				Args:     []parse.Node{parse.NewIdentifier(show).SetPos(n.Pos)},
			})
		}
	}
}
