package ui

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"text/template/parse"
)

// maxDepth is how deep templates may call each other. Only a template that
// calls itself without end comes so far.
const maxDepth = 10_000

// scope is one template while it is executed: it sees its own variables, not
// those of the template that called it.
type scope struct {
	of    *goTemplate
	tree  *parse.Tree
	out   io.Writer
	vars  []variable // the last of a name is the one that is seen
	depth int
}

type variable struct {
	name  string
	value any
}

// flow is where execution goes on after a node.
type flow int

const (
	onward   flow = iota
	leave         // {{break}}: after the range
	nextItem      // {{continue}}
)

// fail is an error at n.
func (s *scope) fail(n parse.Node, format string, args ...any) error {
	location, context := s.tree.ErrorContext(n)
	return fmt.Errorf("template: %s: executing %q at <%s>: %w", location, s.tree.Name, context, fmt.Errorf(format, args...))
}

// forget ends the life of the variables after the first n.
func (s *scope) forget(n int) { s.vars = s.vars[:n] }

// assign gives the variable that is seen under a name another value.
func (s *scope) assign(at *parse.VariableNode, value any) error {
	v, err := s.variable(at)
	if err != nil {
		return err
	}
	v.value = value
	return nil
}

// variable is what is seen under a name. It may be missing although the parser
// has seen its declaration, where that was left out, as in {{and false ($x := 1)}}.
func (s *scope) variable(n *parse.VariableNode) (*variable, error) {
	for i := len(s.vars) - 1; i >= 0; i-- {
		if s.vars[i].name == n.Ident[0] {
			return &s.vars[i], nil
		}
	}
	return nil, s.fail(n, "undefined variable: %s", n.Ident[0])
}

// walk writes what n makes of dot.
func (s *scope) walk(dot any, n parse.Node) (flow, error) {
	switch n := n.(type) {
	case *parse.TextNode:
		_, err := s.out.Write(n.Text)
		return onward, err
	case *parse.ActionNode:
		return onward, s.action(dot, n.Pipe)
	case *parse.ListNode:
		return s.list(dot, n)
	case *parse.IfNode:
		return s.branch(dot, &n.BranchNode)
	case *parse.WithNode:
		return s.branch(dot, &n.BranchNode)
	case *parse.RangeNode:
		return s.loop(dot, n)
	case *parse.TemplateNode:
		return onward, s.template(dot, n)
	case *parse.BreakNode:
		return leave, nil
	case *parse.ContinueNode:
		return nextItem, nil
	case *parse.CommentNode:
		return onward, nil
	}
	return onward, s.fail(n, "unknown node")
}

// list walks a list; a branch without else has none.
func (s *scope) list(dot any, l *parse.ListNode) (flow, error) {
	if l == nil {
		return onward, nil
	}
	for _, n := range l.Nodes {
		if next, err := s.walk(dot, n); err != nil || next != onward {
			return next, err
		}
	}
	return onward, nil
}

// action prints a value, unless it goes into a variable. The variable lives
// until the {{end}} of what is around.
func (s *scope) action(dot any, p *parse.PipeNode) error {
	v, err := s.pipeline(dot, p)
	if err != nil || len(p.Decl) > 0 {
		return err
	}
	show := printed
	if isValue(p) {
		show = printedValue
	}
	_, err = io.WriteString(s.out, show(v))
	return err
}

// isValue says whether a pipeline is a value of the data as it is. Such a value
// is part of a line; only what a function makes may be lines.
func isValue(p *parse.PipeNode) bool {
	if len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
		return false
	}
	switch p.Cmds[0].Args[0].(type) {
	case *parse.FieldNode, *parse.DotNode, *parse.VariableNode, *parse.ChainNode:
		return true
	}
	return false
}

func (s *scope) branch(dot any, b *parse.BranchNode) (flow, error) {
	defer s.forget(len(s.vars))
	v, err := s.pipeline(dot, b.Pipe)
	if err != nil {
		return onward, err
	}
	if !truth(v) {
		return s.list(dot, b.ElseList)
	}
	if b.NodeType == parse.NodeWith {
		dot = v
	}
	return s.list(dot, b.List)
}

func (s *scope) template(dot any, n *parse.TemplateNode) error {
	tree := s.of.trees[n.Name]
	if tree == nil {
		return s.fail(n, "template %q not defined", n.Name)
	}
	if s.depth == maxDepth {
		return s.fail(n, "exceeded maximum template depth (%d)", maxDepth)
	}
	dot, err := s.pipeline(dot, n.Pipe)
	if err != nil {
		return err
	}
	inner := scope{of: s.of, tree: tree, out: s.out, vars: []variable{{"$", dot}}, depth: s.depth + 1}
	_, err = inner.walk(dot, tree.Root)
	return err
}

func (s *scope) loop(dot any, r *parse.RangeNode) (flow, error) {
	defer s.forget(len(s.vars))
	over, err := s.pipeline(dot, r.Pipe)
	if err != nil {
		return onward, err
	}
	if _, ok := whole(over); ok && len(r.Pipe.Decl) > 1 {
		return onward, s.fail(r, "can't use %v to iterate over more than one variable", over)
	}
	items, err := itemsOf(over)
	if err != nil {
		return onward, s.fail(r, "%w", err)
	}
	empty := true
	for key, item := range items {
		empty = false
		if next, err := s.round(r, key, item); err != nil || next == leave {
			return onward, err
		}
	}
	if !empty {
		return onward, nil
	}
	// To the parser a {{break}} after {{else}} is one of the range around this
	// one. text/template ends only this one, and so it is here.
	next, err := s.list(dot, r.ElseList)
	if next == leave {
		next = onward
	}
	return next, err
}

// round walks the body of a range for one item.
func (s *scope) round(r *parse.RangeNode, key, item any) (flow, error) {
	defer s.forget(len(s.vars))
	values := []any{key, item}[2-min(2, len(r.Pipe.Decl)):] // one variable is the item
	for i, v := range values {
		if !r.Pipe.IsAssign {
			s.vars[len(s.vars)-len(values)+i].value = v // the pipeline has declared them
		} else if err := s.assign(r.Pipe.Decl[i], v); err != nil {
			return onward, err
		}
	}
	return s.list(item, r.List)
}

// itemsOf gives keys and values of what a range can go through.
func itemsOf(over any) (iter.Seq2[any, any], error) {
	if n, ok := whole(over); ok {
		return numbersBelow(over, n), nil
	}
	switch over := over.(type) {
	case nil:
		return func(func(any, any) bool) {}, nil
	case []any:
		return func(yield func(any, any) bool) {
			for i, v := range over {
				if !yield(i, boxed(v)) {
					return
				}
			}
		}, nil
	case []string:
		return func(yield func(any, any) bool) {
			for i, v := range over {
				if !yield(i, v) {
					return
				}
			}
		}, nil
	case map[string]any:
		return func(yield func(any, any) bool) {
			for _, k := range slices.Sorted(maps.Keys(over)) {
				if !yield(k, boxed(over[k])) {
					return
				}
			}
		}, nil
	}
	return nil, fmt.Errorf("range can't iterate over %v", over)
}

// numbersBelow counts from 0 to n, in the type of like.
func numbersBelow(like any, n int64) iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		for i := range n {
			var v any
			switch like.(type) {
			case int:
				v = int(i)
			case byte:
				v = byte(i)
			default:
				v = i
			}
			if !yield(nil, v) {
				return
			}
		}
	}
}
