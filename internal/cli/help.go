package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is how wide help is where no terminal tells its width, and
// maxHelpWidth how wide it becomes: longer lines are hard to read.
const (
	helpWidth    = 80
	maxHelpWidth = 100
)

// The groups of commands in the help of the program, in their order.
const (
	groupMove  = "move"
	groupLook  = "look"
	groupNames = "names"
	groupPart  = "part"
	groupOther = "other"
)

var commandGroups = [...]cobra.Group{
	{ID: groupMove, Title: "Move artifacts"},
	{ID: groupLook, Title: "Look at them"},
	{ID: groupNames, Title: "Tags and repositories"},
	{ID: groupPart, Title: "Single pieces"},
	{ID: groupOther, Title: "Registries and the rest"},
}

// addGroup adds commands to the root under a heading of its help.
func addGroup(root *cobra.Command, id string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = id
	}
	root.AddCommand(commands...)
}

// printUsage writes what follows the description in the help of a command.
// Unlike cobra's it fits the width, and what a command does comes before what
// it shares with all others.
func (a *app) printUsage(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	width := helpWidth
	if a.streams.OutTTY {
		width = min(a.streams.Width(), maxHelpWidth)
	}
	fmt.Fprintf(out, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(out, "  %s [command]\n", cmd.CommandPath())
	}
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(out, "\nAliases:\n  %s\n", cmd.NameAndAliases())
	}
	if cmd.HasExample() {
		fmt.Fprintf(out, "\nExamples:\n%s\n", cmd.Example)
	}
	printCommands(out, cmd)
	own, registry, output := splitFlags(cmd.Flags())
	printFlags(out, "Flags", own, width)
	printFlags(out, "Registry flags", registry, width)
	printFlags(out, "Output flags", output, width)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(out, "\n`%s [command] --help` says more about a command.\n", cmd.CommandPath())
	}
	return nil
}

func printCommands(out io.Writer, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	list := func(title string, of func(*cobra.Command) bool) {
		heading := "\n" + title + ":\n"
		for _, c := range cmd.Commands() {
			if of(c) && (c.IsAvailableCommand() || c.Name() == "help" || c.IsAdditionalHelpTopicCommand()) {
				fmt.Fprintf(out, "%s  %-*s %s\n", heading, c.NamePadding(), c.Name(), c.Short)
				heading = ""
			}
		}
	}
	for _, g := range cmd.Groups() {
		list(g.Title, func(c *cobra.Command) bool { return c.GroupID == g.ID })
	}
	list("Commands", func(c *cobra.Command) bool { return c.GroupID == "" && c.IsAvailableCommand() })
	list("Help topics", func(c *cobra.Command) bool { return c.IsAdditionalHelpTopicCommand() })
}

// flagColumn is where the text about a flag begins. A longer flag has a line
// of its own.
const flagColumn = 28

func printFlags(out io.Writer, title string, flags *pflag.FlagSet, width int) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(out, "\n%s:\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		name := "      --" + f.Name
		if f.Shorthand != "" {
			name = "  -" + f.Shorthand + ", --" + f.Name
		}
		if value != "" {
			name += " " + value
		}
		switch f.DefValue {
		case "", "false", "0", "0s", "[]", "true", "-1":
		default:
			text += " (default " + f.DefValue + ")"
		}
		lines := wrap(text, width-flagColumn)
		if len(name) > flagColumn-2 {
			fmt.Fprintln(out, name)
			name = ""
		}
		for _, line := range lines {
			fmt.Fprintf(out, "%-*s%s\n", flagColumn, name, line)
			name = ""
		}
	})
}

// wrap breaks text into lines of at most width characters, where words let it.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// splitFlags tells the flags of a command from those that many have: how a
// registry is reached, and what is shown.
func splitFlags(all *pflag.FlagSet) (own, registry, output *pflag.FlagSet) {
	own, registry, output = newFlagSet(), newFlagSet(), newFlagSet()
	shared := &cobra.Command{}
	(&remoteFlags{}).register(shared.Flags())
	(&patienceFlags{}).register(shared)
	all.VisitAll(func(f *pflag.Flag) {
		switch name := strings.TrimPrefix(strings.TrimPrefix(f.Name, "from-"), "to-"); name {
		case "format", "template", "progress", "no-tty", "debug", "help":
			output.AddFlag(f)
		case "oci-layout", "oci-layout-path", "distribution-spec", "chunk-size":
			registry.AddFlag(f)
		default:
			if shared.Flags().Lookup(name) != nil {
				registry.AddFlag(f)
			} else {
				own.AddFlag(f)
			}
		}
	})
	return own, registry, output
}

func newFlagSet() *pflag.FlagSet {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SortFlags = true
	return fs
}
