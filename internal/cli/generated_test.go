package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
)

var update = flag.Bool("update", false, "write the generated files anew")

// tree is the command tree as a user of the released program has it.
func tree() *cobra.Command {
	none := func(string) string { return "" }
	a := &app{name: "stet", streams: ui.New(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}, none), getenv: none, now: time.Now}
	root := newRoot(a)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	root.DisableAutoGenTag = true
	return root
}

// TestGenerated holds completions, docs/commands and docs/man against the
// command tree. With -update it writes them.
func TestGenerated(t *testing.T) {
	root := tree()
	made := t.TempDir()
	for _, dir := range []string{"completions", "docs/commands", "docs/man"} {
		if err := os.MkdirAll(filepath.Join(made, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(made, name) }
	day := time.Unix(0, 0)
	for what, err := range map[string]error{
		"bash":       root.GenBashCompletionFileV2(at("completions/stet.bash"), true),
		"zsh":        root.GenZshCompletionFile(at("completions/stet.zsh")),
		"fish":       root.GenFishCompletionFile(at("completions/stet.fish"), true),
		"powershell": root.GenPowerShellCompletionFileWithDesc(at("completions/stet.ps1")),
		"markdown":   doc.GenMarkdownTree(root, at("docs/commands")),
		"man":        doc.GenManTree(root, &doc.GenManHeader{Title: "STET", Section: "1", Source: "stet", Manual: "stet", Date: &day}, at("docs/man")),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, dir := range []string{"completions", "docs/commands", "docs/man"} {
		compare(t, filepath.Join(made, dir), filepath.Join("..", "..", dir))
	}
}

// Every command that moves blobs moves as many at once.
func TestConcurrencyIsOneDefault(t *testing.T) {
	n := 0
	for _, c := range tree().Commands() {
		if f := c.Flags().Lookup("concurrency"); f != nil && strings.HasPrefix(f.Usage, "`NUMBER` of blobs") {
			n++
			if f.DefValue != strconv.Itoa(graph.DefaultConcurrency) {
				t.Errorf("%s: %s blobs at once, elsewhere %d", c.Name(), f.DefValue, graph.DefaultConcurrency)
			}
		}
	}
	if n < 4 {
		t.Errorf("only %d commands have the flag", n)
	}
}

// compare holds the files of two directories against each other.
func compare(t *testing.T, made, kept string) {
	t.Helper()
	names := map[string]bool{}
	for _, dir := range []string{made, kept} {
		entries, err := os.ReadDir(dir)
		if err != nil && !*update {
			t.Fatal(err)
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
	}
	for name := range names {
		want, wantErr := os.ReadFile(filepath.Join(made, name))
		got, gotErr := os.ReadFile(filepath.Join(kept, name))
		if wantErr == nil && gotErr == nil && bytes.Equal(want, got) {
			continue
		}
		if !*update {
			t.Errorf("%s/%s is not what the commands are now; run `make generate`", kept, name)
			continue
		}
		if err := rewrite(kept, name, want, wantErr != nil); err != nil {
			t.Fatal(err)
		}
	}
}

func rewrite(dir, name string, content []byte, stale bool) error {
	if stale {
		return os.Remove(filepath.Join(dir, name))
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), content, 0o666)
}

// Every command says what it is for, with an example.
func TestCommandsAreDocumented(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if sub.Name() == "help" || sub.Name() == "completion" || sub.IsAdditionalHelpTopicCommand() {
				continue
			}
			if sub.Short == "" || sub.HasAvailableSubCommands() == (sub.Example != "") {
				t.Errorf("%s: a command has a short help, and an example unless it is a group", sub.CommandPath())
			}
			check(sub)
		}
	}
	check(tree())
}
