package ui

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"
)

// KindMermaid and KindDot are graphs as text, for mermaid.js.org and Graphviz.
const (
	KindMermaid Kind = "mermaid"
	KindDot     Kind = "dot"
)

// drawing is a tree as a graph: each digest is one node, however often it was
// met. Names of nodes are n0, n1, …, so that nothing from outside is a name.
type drawing struct {
	nodes []drawnNode
	edges []drawnEdge
	at    map[digest.Digest]int
}

type drawnNode struct {
	lines  []string // what stands in it
	digest digest.Digest
}

type drawnEdge struct {
	from, to int
	label    string
}

func (r DiscoverResult) draw() *drawing {
	g := &drawing{at: map[digest.Digest]int{}}
	g.node(r.Discovered, r.ref.Display())
	g.under(r.Discovered)
	return g
}

func (g *drawing) node(d Discovered, title string) int {
	if i, there := g.at[d.Digest]; there {
		return i
	}
	alg, hex, _ := strings.Cut(d.Digest.String(), ":")
	g.at[d.Digest] = len(g.nodes)
	g.nodes = append(g.nodes, drawnNode{lines: []string{title, alg + ":" + hex[:min(len(hex), digestDigits)]}, digest: d.Digest})
	return len(g.nodes) - 1
}

func (g *drawing) under(d Discovered) {
	from := g.at[d.Digest]
	for _, r := range d.Referrers {
		g.edge(from, r, typeOf(r), "")
	}
	for _, m := range d.Manifests {
		title := m.ArtifactType
		if title == "" {
			title = m.MediaType
		}
		g.edge(from, m, title, m.role())
	}
	for _, m := range d.DigestTags {
		_, suffix, _ := strings.Cut(m.Tag, ".")
		g.edge(from, m, typeOf(m), "tag ."+suffix)
	}
}

func (g *drawing) edge(from int, d Discovered, title, label string) {
	g.edges = append(g.edges, drawnEdge{from, g.node(d, title), label})
	g.under(d)
}

// Mermaid writes a flowchart. Whole digests stand in comments.
func (r DiscoverResult) Mermaid(out io.Writer) error {
	g := r.draw()
	var b strings.Builder
	b.WriteString("graph TD\n")
	for i, n := range g.nodes {
		fmt.Fprintf(&b, "  %%%% n%d is %s\n", i, Escape(n.digest.String()))
		fmt.Fprintf(&b, "  n%d[\"%s<br/>%s\"]\n", i, mermaidText(n.lines[0]), mermaidText(n.lines[1]))
	}
	for _, e := range g.edges {
		label := ""
		if e.label != "" {
			label = `|"` + mermaidText(e.label) + `"|`
		}
		fmt.Fprintf(&b, "  n%d -->%s n%d\n", e.from, label, e.to)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// mermaidText is s for between quotes. Mermaid's own escape is the entity code
// without an ampersand, #NN;, and whatever could mean something is written so.
func mermaidText(s string) string {
	var b strings.Builder
	for _, c := range Escape(s) {
		if unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune(" ./:+-_@,", c) {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, "#%d;", c)
		}
	}
	return b.String()
}

// Dot writes a graph in the language of Graphviz. Whole digests are tooltips.
func (r DiscoverResult) Dot(out io.Writer) error {
	g := r.draw()
	var b strings.Builder
	b.WriteString("digraph referrers {\n  node [shape=box];\n")
	for i, n := range g.nodes {
		fmt.Fprintf(&b, "  n%d [label=\"%s\\n%s\", tooltip=\"%s\"];\n", i, dotText(n.lines[0]), dotText(n.lines[1]), dotText(n.digest.String()))
	}
	for _, e := range g.edges {
		label := ""
		if e.label != "" {
			label = ` [label="` + dotText(e.label) + `"]`
		}
		fmt.Fprintf(&b, "  n%d -> n%d%s;\n", e.from, e.to, label)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// dotText is s for between quotes, where a backslash begins an escape of
// Graphviz's own, and &name; is a character.
func dotText(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `&`, `&amp;`).Replace(Escape(s))
}
