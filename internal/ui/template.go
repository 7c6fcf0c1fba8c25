package ui

import (
	"fmt"
	"io"
	"strings"
	"text/template/parse"
)

// goTemplate is a template in the language of text/template, and those that it
// defines. The library reads it and this package executes it: text/template
// looks methods up by name, so that the linker must keep every method of the
// program, a seventh of its size (docs/decisions/0006-templates.md).
//
// A template sees the JSON form of a value: map[string]any, []any, string,
// int64, float64, bool and nil, and what functions make of them: int, byte,
// complex128 and []string. There are no structs, methods, channels or functions
// among the values. Otherwise it means what it means to text/template, down to
// the types of numbers; the tests compare the two.
type goTemplate struct {
	trees     map[string]*parse.Tree
	functions map[string]function
}

// mainTemplate is the name, in messages, of the template that was given.
const mainTemplate = "template"

// parseTemplate reads a template.
func parseTemplate(text string) (*goTemplate, error) {
	t := &goTemplate{functions: functions()}
	names := map[string]any{} // the parser asks only whether a name is known
	for name := range t.functions {
		names[name] = true
	}
	var err error
	t.trees, err = parse.Parse(mainTemplate, text, "", "", names)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// execute writes what t makes of data. When it fails, a part may be written.
func (t *goTemplate) execute(out io.Writer, data any) error {
	s := scope{of: t, tree: t.trees[mainTemplate], out: out, vars: []variable{{"$", data}}}
	_, err := s.walk(data, s.tree.Root)
	return err
}

// printed is v as text/template prints it, with the controls escaped that a
// value from outside may bring. Newlines and tabs stay: functions make them.
func printed(v any) string {
	if v == nil {
		return noValue
	}
	return EscapeLines(fmt.Sprint(v))
}

// printedValue is printed for a value of the data as it is, which makes no line
// of its own: but "\n" in a variable is the template's.
func printedValue(v any) string {
	text := printed(v)
	if strings.TrimSpace(text) == "" {
		return text
	}
	return Escape(text)
}

// noValue is what a key prints that is missing, or null.
const noValue = "<no value>"
