package ui

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Templates that nobody would write, but that can be read: what the fuzzer
// reaches only by luck.
func TestRandomTemplatesAsTheLibrary(t *testing.T) {
	t.Parallel()
	doc := strings.Replace(sampleJSON, "28600000", "286", 1)
	data := form(t, doc)
	for seed := range uint64(1000) {
		w := &writer{rand: rand.New(rand.NewPCG(seed, 1)), vars: []string{"$"}}
		text := `{{define "t"}}` + (&writer{rand: w.rand, vars: []string{"$"}, leaf: true}).list(2) + `{{end}}` + w.list(4)
		compare(t, text, data)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// writer writes templates.
type writer struct {
	rand *rand.Rand
	vars []string
	loop bool // a {{break}} is allowed
	leaf bool // no other template is called
}

func (w *writer) one(of ...string) string { return of[w.rand.IntN(len(of))] }

func (w *writer) list(depth int) string {
	defer func(vars []string) { w.vars = vars }(slices.Clone(w.vars))
	var b strings.Builder
	for range 1 + w.rand.IntN(3) {
		b.WriteString(w.node(depth))
	}
	return b.String()
}

func (w *writer) node(depth int) string {
	n := w.rand.IntN(12)
	switch {
	case n == 0 && depth > 0:
		return "{{if " + w.pipe(2) + "}}" + w.list(depth-1) + "{{else}}" + w.list(depth-1) + "{{end}}"
	case n == 1 && depth > 0:
		return "{{with " + w.pipe(2) + "}}" + w.list(depth-1) + "{{else}}" + w.list(depth-1) + "{{end}}"
	case n <= 4 && depth > 0:
		return w.loopNode(depth)
	case n == 5 && w.loop:
		return "{{if " + w.pipe(1) + "}}" + w.one("{{break}}", "{{continue}}") + "{{end}}"
	case n == 6 && !w.leaf:
		return `{{template "t" ` + w.pipe(2) + `}}`
	case n == 7:
		v := fmt.Sprintf("$v%d", w.rand.IntN(3))
		text := "{{" + v + " := " + w.pipe(2) + "}}"
		w.vars = append(w.vars, v)
		return text
	case n == 8 && len(w.vars) > 1:
		return "{{" + w.one(w.vars...) + " = " + w.pipe(2) + "}}"
	}
	return w.one("", "text ") + "{{" + w.pipe(1) + "}}"
}

func (w *writer) loopNode(depth int) string {
	defer func(vars []string, loop bool) { w.vars, w.loop = vars, loop }(slices.Clone(w.vars), w.loop)
	over := w.name([]string{"$.list", "$.map", "$.mixed", "$.objs", "3", "$.none", "$.null", "$.missing"}, ".", "$.n", ".tree.kids")
	head := w.one("", "$v0 := ", "$v0, $v1 := ")
	if strings.Contains(head, "$v0") {
		w.vars = append(w.vars, "$v0")
	}
	if strings.Contains(head, "$v1") {
		w.vars = append(w.vars, "$v1")
	}
	outer := w.loop
	w.loop = true
	body := w.list(depth - 1)
	w.loop = outer
	return "{{range " + head + over + "}}" + body + "{{else}}" + w.list(depth-1) + "{{end}}"
}

func (w *writer) pipe(depth int) string {
	text := w.command(depth)
	for w.rand.IntN(4) == 0 {
		text += " | " + w.name([]string{"print", "not", "html", "printf \"%T %v\"", "and 1", "or .null", "default 2", "eq nil"}, "len", "toJson", "join \",\"", "index .list", "eq 3")
	}
	return text
}

func (w *writer) command(depth int) string {
	switch w.rand.IntN(3) {
	case 0:
		return w.operand(depth)
	case 1:
		return w.name([]string{"not", "print", "html", "js"}, "len", "toJson", "index", "slice") + " " + w.operand(depth)
	}
	text := w.name([]string{"and", "or", "print", "printf \"%v\"", "eq nil"}, "eq", "ne", "lt", "le", "index", "slice", "default", "join \",\"")
	for range 1 + w.rand.IntN(3) {
		text += " " + w.operand(depth)
	}
	return text
}

// name is one that suits any value, or now and then one that may fail.
func (w *writer) name(safe []string, risky ...string) string {
	if w.rand.IntN(12) == 0 {
		return w.one(risky...)
	}
	return w.one(safe...)
}

func (w *writer) operand(depth int) string {
	if depth > 0 && w.rand.IntN(4) == 0 {
		return "(" + w.pipe(depth-1) + ")" + w.name([]string{""}, ".a", ".k.x")
	}
	if w.rand.IntN(3) == 0 {
		return w.one(w.vars...) + w.name([]string{""}, ".k", ".a")
	}
	return w.name([]string{".", "$.s", "$.n", "$.map", "$.missing", "$.null", "$.list", "$.half", "$.obj.x", "$.map.a", "0", "1", `"a"`, "1.5", "true", "nil"},
		".s", ".k", ".v", ".null.x", ".map.c", "$.mixed")
}
