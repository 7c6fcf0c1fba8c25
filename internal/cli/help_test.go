package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stet-oci/stet/internal/ui"
)

// TestHelpFits: where no terminal tells its width, the flags of every command
// fit 80 columns, and each that is not hidden stands there once.
func TestHelpFits(t *testing.T) {
	a := &app{name: "stet", streams: ui.New(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}, func(string) string { return "" })}
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		var out bytes.Buffer
		cmd.SetOut(&out)
		if err := a.printUsage(cmd); err != nil {
			t.Fatal(err)
		}
		flags := false
		for _, line := range strings.Split(out.String(), "\n") {
			flags = flags || strings.HasSuffix(line, "lags:")
			if flags && len(line) > helpWidth {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), len(line), line)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if n := strings.Count(out.String()+" ", "--"+f.Name+"\n") + strings.Count(out.String(), "--"+f.Name+" "); !f.Hidden && n == 0 {
				t.Errorf("%s: --%s is not in the help", cmd.CommandPath(), f.Name)
			}
		})
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(newRoot(a))
}

// TestHelpTexts holds every help text against what a reader would stumble over:
// a placeholder that was not filled in, a command that does not exist, a flag
// whose value has no name, or that has one and takes none.
func TestHelpTexts(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, text := range []string{cmd.Short, cmd.Long, cmd.Example} {
			if strings.Contains(text, "{name}") {
				t.Errorf("%s: the help says {name}", cmd.CommandPath())
			}
		}
		if cmd.Name() != "completion" && (cmd.Parent() == nil || cmd.Parent().Name() != "completion") { // cobra's own
			cmd.Flags().VisitAll(func(f *pflag.Flag) { checkValueName(t, cmd, f) })
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(tree())
	if strings.Contains(exitCodeHelp(), "sync") {
		t.Error("the exit codes speak of a command that there is not")
	}
}

func checkValueName(t *testing.T, cmd *cobra.Command, f *pflag.Flag) {
	name, _ := pflag.UnquoteUsage(f)
	switch {
	case f.Hidden:
	case f.Value.Type() == "bool" && name != "":
		t.Errorf("%s: --%s is a switch, and its help names a value %q", cmd.CommandPath(), f.Name, name)
	case f.Value.Type() != "bool" && 'a' <= name[0] && name[0] <= 'z':
		t.Errorf("%s: --%s has a value that is called %q", cmd.CommandPath(), f.Name, name)
	}
}
