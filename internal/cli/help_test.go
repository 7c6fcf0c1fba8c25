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
