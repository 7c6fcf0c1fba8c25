package ui

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// builtins are the functions of text/template.
func builtins() map[string]function {
	return map[string]function{
		"and":      {params: "v", rest: true}, // see shortCircuit
		"or":       {params: "v", rest: true},
		"not":      {params: "v", call: func(a arguments) (any, error) { return !truth(a[0]), nil }},
		"len":      {params: "v", call: func(a arguments) (any, error) { return length(a[0]) }},
		"index":    {params: "v", rest: true, call: index},
		"slice":    {params: "v", rest: true, call: slice},
		"print":    {rest: true, call: func(a arguments) (any, error) { return fmt.Sprint(a...), nil }},
		"println":  {rest: true, call: func(a arguments) (any, error) { return fmt.Sprintln(a...), nil }},
		"printf":   {params: "s", rest: true, call: func(a arguments) (any, error) { return fmt.Sprintf(a.text(0), a[1:]...), nil }},
		"html":     {rest: true, call: func(a arguments) (any, error) { return htmlEscapes.Replace(a.print()), nil }},
		"js":       {rest: true, call: func(a arguments) (any, error) { return jsEscape(a.print()), nil }},
		"urlquery": {rest: true, call: func(a arguments) (any, error) { return url.QueryEscape(a.print()), nil }},
		"call":     {params: "v", rest: true, call: func(a arguments) (any, error) { return nil, fmt.Errorf("%T is not a function: no value is", a[0]) }},

		"eq": {params: "v", rest: true, call: func(a arguments) (any, error) { return equalsAny(a[0], a[1:]) }},
		"ne": {params: "vv", call: func(a arguments) (any, error) { eq, err := equal(a[0], a[1]); return !eq, err }},
		"lt": {params: "vv", call: func(a arguments) (any, error) { return less(a[0], a[1]) }},
		"le": {params: "vv", call: func(a arguments) (any, error) { return lessOrEqual(a[0], a[1]) }},
		"gt": {params: "vv", call: func(a arguments) (any, error) { le, err := lessOrEqual(a[0], a[1]); return !le, err }},
		"ge": {params: "vv", call: func(a arguments) (any, error) { lt, err := less(a[0], a[1]); return !lt, err }},
	}
}

// truth: what is empty, zero or not there is false.
func truth(v any) bool {
	if n, ok := whole(v); ok {
		return n != 0
	}
	if n, err := length(v); err == nil {
		return n > 0
	}
	switch v := v.(type) {
	case bool:
		return v
	case float64:
		return v != 0
	case complex128:
		return v != 0
	}
	return false
}

// whole gives the value of every type of whole number that a template meets.
func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int: // a constant, a length, an index
		return int64(v), true
	case int64: // from JSON
		return v, true
	case byte: // index "text" 0
		return int64(v), true
	}
	return 0, false
}

func length(v any) (int, error) {
	switch v := v.(type) {
	case string:
		return len(v), nil
	case []any:
		return len(v), nil
	case []string:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	}
	return 0, fmt.Errorf("len of type %T", v)
}

// index is a[0][a[1]][a[2]]….
func index(a arguments) (any, error) {
	v := a[0]
	if v == nil {
		return nil, errors.New("index of nil")
	}
	for _, at := range a[1:] {
		if m, ok := v.(map[string]any); ok {
			key, ok := at.(string)
			if !ok {
				return nil, fmt.Errorf("index of a map is %T; should be string", at)
			}
			v = m[key]
			continue
		}
		n, err := length(v)
		if err != nil {
			return nil, fmt.Errorf("can't index item of type %T", v)
		}
		i, err := offset(at, n-1)
		if err != nil {
			return nil, err
		}
		switch l := v.(type) {
		case string:
			v = l[i]
		case []any:
			v = l[i]
		case []string:
			v = l[i]
		}
	}
	return v, nil
}

// offset is v as a number from 0 to limit.
func offset(v any, limit int) (int, error) {
	n, ok := whole(v)
	if !ok {
		return 0, fmt.Errorf("cannot index with type %T", v)
	}
	if n < 0 || n > int64(limit) {
		return 0, fmt.Errorf("index out of range: %d", n)
	}
	return int(n), nil
}

// slice is a[0][a[1]:a[2]:a[3]], as far as they are given.
func slice(a arguments) (any, error) {
	if len(a) > 4 {
		return nil, fmt.Errorf("too many slice indexes: %d", len(a)-1)
	}
	size, err := length(a[0])
	if err != nil {
		return nil, fmt.Errorf("can't slice item of type %T", a[0])
	}
	limit := size
	switch l := a[0].(type) {
	case map[string]any:
		return nil, errors.New("can't slice a map")
	case string:
		if len(a) == 4 {
			return nil, errors.New("cannot 3-index slice a string")
		}
	case []any:
		limit = cap(l)
	case []string:
		limit = cap(l)
	}
	at := [3]int{0, size, limit}
	for i, v := range a[1:] {
		if at[i], err = offset(v, limit); err != nil {
			return nil, err
		}
	}
	if at[0] > at[1] || at[1] > at[2] {
		return nil, fmt.Errorf("invalid slice indexes: %d", at)
	}
	switch l := a[0].(type) {
	case []any:
		return l[at[0]:at[1]:at[2]], nil
	case []string:
		return l[at[0]:at[1]:at[2]], nil
	}
	return a.text(0)[at[0]:at[1]], nil
}

// equalsAny tells whether v equals one of the others.
func equalsAny(v any, others []any) (bool, error) {
	if len(others) == 0 {
		return false, errors.New("missing argument for comparison")
	}
	for _, o := range others {
		if eq, err := equal(v, o); eq || err != nil {
			return eq, err
		}
	}
	return false, nil
}

// equal compares values of one kind; nothing but nil equals nil. Whole numbers
// are one kind whatever their type; numbers with a point are another.
func equal(a, b any) (bool, error) {
	if a == nil || b == nil {
		return a == nil && b == nil, nil
	}
	if m, ok := whole(a); ok {
		if n, ok := whole(b); ok {
			return m == n, nil
		}
	}
	same := false
	switch v := a.(type) {
	case string:
		_, same = b.(string)
	case bool:
		_, same = b.(bool)
	case float64:
		_, same = b.(float64)
	case complex128:
		_, same = b.(complex128)
	default:
		return false, fmt.Errorf("cannot compare %T with %T", v, b)
	}
	if !same {
		return false, fmt.Errorf("incompatible types for comparison: %T and %T", a, b)
	}
	return a == b, nil
}

func less(a, b any) (bool, error) {
	if m, ok := whole(a); ok {
		if n, ok := whole(b); ok {
			return m < n, nil
		}
	}
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return a < b, nil
		}
	case float64:
		if b, ok := b.(float64); ok {
			return a < b, nil
		}
	}
	return false, fmt.Errorf("cannot order %T and %T", a, b)
}

func lessOrEqual(a, b any) (bool, error) {
	if lt, err := less(a, b); lt || err != nil {
		return lt, err
	}
	return equal(a, b)
}

// print is what the escaping functions escape.
func (a arguments) print() string {
	shown := make([]any, len(a))
	for i, v := range a {
		if shown[i] = v; v == nil {
			shown[i] = noValue
		}
	}
	return fmt.Sprint(shown...)
}

var htmlEscapes = strings.NewReplacer("\x00", "\ufffd", `"`, "&#34;", "'", "&#39;", "&", "&amp;", "<", "&lt;", ">", "&gt;")

// jsEscape makes s fit for a string in JavaScript, also inside of HTML.
func jsEscape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\' || r == '\'' || r == '"':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || strings.ContainsRune("<>&=", r) || r >= utf8.RuneSelf && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}
