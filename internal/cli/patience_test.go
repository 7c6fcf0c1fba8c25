package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
)

// TestPatienceEverywhere: each command that can be told how to reach a registry
// can be told how long to go on with one, once, whatever its sides.
func TestPatienceEverywhere(t *testing.T) {
	a := &app{name: "stet", streams: ui.New(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}, func(string) string { return "" })}
	found := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		fs := cmd.Flags()
		talks := fs.Lookup("plain-http") != nil || fs.Lookup("from-plain-http") != nil || fs.Lookup("to-plain-http") != nil
		if talks {
			found++
		}
		for _, name := range []string{"retry", "retry-max-wait", "stall-timeout", timeoutFlag, "max-rps"} {
			if has := fs.Lookup(name) != nil; has != talks {
				t.Errorf("%s: there is --%s: %v; it talks to registries: %v", cmd.CommandPath(), name, has, talks)
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(a))
	if found < 20 {
		t.Errorf("only %d commands were found", found)
	}
}
