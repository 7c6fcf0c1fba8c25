package laws

import (
	"fmt"
	"go/ast"
	"os"
	"strings"
	"testing"
)

// fallbackChoices are the protocol's fallbacks (design, "Capabilities and
// fallbacks"): each is decided in one function, and there is no other. What
// follows each name is told in docs/digest-stability.md under that choice.
var fallbackChoices = map[string]string{
	"chooseReferrers": "referrers-tag",
	"chooseMount":     "upload",
	"chooseUpload":    "post-put",
	"chooseChunked":   "hash-first", // or "chunks", or "one-put"
}

// choices: a function named choose… is one of the fallbacks, and gives the
// choice and the reason, which is what is announced.
func choices(t *tree) []finding {
	var bad []finding
	for _, f := range append(t.code("pkg"), t.code("internal")...) {
		for _, decl := range f.ast.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(strings.ToLower(d.Name.Name), "choose") {
				continue
			}
			switch {
			case fallbackChoices[d.Name.Name] == "":
				bad = append(bad, finding{at: t.at(d), text: fmt.Sprintf("%s is not among the four fallbacks of the protocol; name it for what it gives, or add the fallback to the design, to docs/digest-stability.md and to fallbackChoices", d.Name.Name)})
			case !givesChoiceAndReason(d):
				bad = append(bad, finding{at: t.at(d), text: fmt.Sprintf("%s has to give (choice, reason string): both are announced", d.Name.Name)})
			}
		}
	}
	return bad
}

func givesChoiceAndReason(d *ast.FuncDecl) bool {
	if d.Type.Results == nil || len(d.Type.Results.List) != 1 {
		return false
	}
	names := d.Type.Results.List[0].Names
	return len(names) == 2 && names[0].Name == "choice" && names[1].Name == "reason"
}

func TestChoices(t *testing.T) { hold(t, "choices", choices) }

// The four are there, and users are told of each.
func TestEveryFallbackIsThere(t *testing.T) {
	tr, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range tr.code("pkg") {
		for _, decl := range f.ast.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok {
				found[d.Name.Name] = true
			}
		}
	}
	page, err := os.ReadFile("../../docs/digest-stability.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, choice := range fallbackChoices {
		if !found[name] {
			t.Errorf("there is no function %s", name)
		}
		if !strings.Contains(string(page), "`"+choice+"`") {
			t.Errorf("docs/digest-stability.md does not tell of %s", choice)
		}
	}
}
