package ui

import (
	"strings"
	"text/template/parse"
)

// null is a JSON null where it stands: as an item of a list, or under a key. A
// field of it is an error; a field of what is missing is missing as well. At
// the end of a pipeline, and as an argument, both are nil.
type null struct{}

// boxed is v as an item of a list or map.
func boxed(v any) any {
	if v == nil {
		return null{}
	}
	return v
}

func unboxed(v any) any {
	if _, ok := v.(null); ok {
		return nil
	}
	return v
}

// given is what an operand is called with: its arguments, and after them what
// came through the pipeline, which is one value or none.
type given struct {
	args  []parse.Node
	piped []any
}

func (g given) count() int { return len(g.args) + len(g.piped) }

// pipeline is the value of p, which it may put into variables. They live on
// after p: whoever calls ends them.
func (s *scope) pipeline(dot any, p *parse.PipeNode) (any, error) {
	if p == nil {
		return nil, nil // {{template "name"}}
	}
	var value any
	for i, cmd := range p.Cmds {
		g := given{args: cmd.Args[1:]}
		if i > 0 {
			g.piped = []any{value}
		}
		if cmd.Args[0].Type() == parse.NodeNil {
			return nil, s.fail(cmd.Args[0], "nil is not a command")
		}
		v, err := s.operand(dot, cmd.Args[0], g)
		if err != nil {
			return nil, err
		}
		value = unboxed(v)
	}
	for _, name := range p.Decl {
		if !p.IsAssign {
			s.vars = append(s.vars, variable{name.Ident[0], value})
		} else if err := s.assign(name, value); err != nil {
			return nil, err
		}
	}
	return value, nil
}

// operand is the value of the first word of a command, or of an argument.
func (s *scope) operand(dot any, n parse.Node, g given) (any, error) {
	switch n := n.(type) {
	case *parse.FieldNode:
		return s.fields(n, dot, n.Ident, g)
	case *parse.ChainNode:
		head, err := s.operand(dot, n.Node, given{})
		if err != nil {
			return nil, err
		}
		return s.fields(n, head, n.Field, g)
	case *parse.VariableNode:
		v, err := s.variable(n)
		if err != nil {
			return nil, err
		}
		if len(n.Ident) > 1 {
			return s.fields(n, v.value, n.Ident[1:], g)
		}
		return v.value, s.alone(n, g)
	case *parse.IdentifierNode:
		return s.call(dot, n, g)
	}
	if err := s.alone(n, g); err != nil {
		return nil, err
	}
	switch n := n.(type) {
	case *parse.DotNode:
		return dot, nil
	case *parse.NilNode:
		return nil, nil
	case *parse.PipeNode:
		return s.pipeline(dot, n)
	case *parse.BoolNode:
		return n.True, nil
	case *parse.StringNode:
		return n.Text, nil
	case *parse.NumberNode:
		return s.constant(n)
	}
	return nil, s.fail(n, "can't evaluate it")
}

// alone fails where something is given to what is no function.
func (s *scope) alone(n parse.Node, g given) error {
	if g.count() > 0 {
		return s.fail(n, "can't give argument to non-function %s", n)
	}
	return nil
}

// constant has the type that it would have in Go.
func (s *scope) constant(n *parse.NumberNode) (any, error) {
	character := strings.HasPrefix(n.Text, "'")
	hex := len(n.Text) > 2 && strings.EqualFold(n.Text[:2], "0x") && !strings.ContainsAny(n.Text, "pP")
	switch {
	case n.IsComplex:
		return n.Complex128, nil
	case n.IsFloat && !character && !hex && strings.ContainsAny(n.Text, ".eEpP"):
		return n.Float64, nil
	case n.IsInt && int64(int(n.Int64)) == n.Int64:
		return int(n.Int64), nil
	}
	return nil, s.fail(n, "%s overflows int", n.Text)
}

// fields is .A.B.C of v. What is given to it is an error, for there are no
// methods, but not where nothing is there to have them.
func (s *scope) fields(n parse.Node, v any, names []string, g given) (any, error) {
	for i, name := range names {
		switch from := v.(type) {
		case nil:
			return nil, nil
		case null:
			return nil, s.fail(n, "null has no %s", name)
		case map[string]any:
			if i == len(names)-1 && g.count() > 0 {
				return nil, s.fail(n, "%s is not a method but has arguments", name)
			}
			item, ok := from[name]
			if v = item; ok {
				v = boxed(item)
			}
		default:
			return nil, s.fail(n, "can't evaluate field %s in type %T", name, v)
		}
	}
	return v, nil
}

// call is what the function n makes of its arguments.
func (s *scope) call(dot any, n *parse.IdentifierNode, g given) (any, error) {
	f, ok := s.of.functions[n.Ident]
	switch {
	case !ok:
		return nil, s.fail(n, "%q is not a defined function", n.Ident)
	case !f.takes(g.count()):
		return nil, s.fail(n, "wrong number of args for %s: want %s got %d", n.Ident, f.wants(), g.count())
	case n.Ident == "and" || n.Ident == "or":
		return s.shortCircuit(dot, n.Ident == "or", g)
	}
	args := make(arguments, 0, g.count())
	for i, arg := range g.args {
		v, err := s.argument(dot, f.param(i), arg)
		if err != nil {
			return nil, err
		}
		args = append(args, v)
	}
	for _, v := range g.piped {
		if param := f.param(len(args)); !fits(param, v) {
			return nil, s.misfit(n, param, v)
		}
		args = append(args, v)
	}
	v, err := f.call(args)
	if err != nil {
		return nil, s.fail(n, "error calling %s: %w", n.Ident, err)
	}
	return v, nil
}

// shortCircuit is the first argument that is as true as until, or the last
// one. What stands after it is not evaluated.
func (s *scope) shortCircuit(dot any, until bool, g given) (any, error) {
	var v any
	for _, arg := range g.args {
		var err error
		if v, err = s.argument(dot, 'v', arg); err != nil || truth(v) == until {
			return v, err
		}
	}
	if len(g.piped) > 0 {
		v = g.piped[0]
	}
	return v, nil
}

// argument is the value of n for a parameter.
func (s *scope) argument(dot any, param byte, n parse.Node) (any, error) {
	if c, ok := n.(*parse.NumberNode); ok && param == 'n' {
		if !c.IsInt {
			return nil, s.fail(n, "expected integer; found %s", n)
		}
		return c.Int64, nil
	}
	v, err := s.operand(dot, n, given{})
	if err != nil {
		return nil, err
	}
	v = unboxed(v)
	if !fits(param, v) {
		return nil, s.misfit(n, param, v)
	}
	return v, nil
}

// fits tells whether v has the type of a parameter.
func fits(param byte, v any) bool {
	ok := true
	switch param {
	case 's':
		_, ok = v.(string)
	case 'n':
		_, ok = v.(int64)
	}
	return ok
}

func (s *scope) misfit(n parse.Node, param byte, v any) error {
	want := "string"
	if param == 'n' {
		want = "int64"
	}
	return s.fail(n, "wrong type for value; expected %s; got %T", want, v)
}
