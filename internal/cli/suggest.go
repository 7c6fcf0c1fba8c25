package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Wrong usage is told in words of our own, which name what is missing and what
// may have been meant.

// nearEnough is how many letters a word may differ from what was meant, as cobra
// has it for commands.
const nearEnough = 2

// suggest adds the command that may have been meant to the error about an unknown one.
func suggest(cmd *cobra.Command, args []string, err error) error {
	cmd.SuggestionsMinimumDistance = nearEnough
	if !cmd.HasSubCommands() || len(args) == 0 {
		return err
	}
	near := cmd.SuggestionsFor(args[0])
	switch {
	case len(near) == 0:
		return err
	case len(near) > 2: // short names are all near
		var all []string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				all = append(all, sub.Name())
			}
		}
		return fmt.Errorf("%w; there are %s", err, strings.Join(all, ", "))
	}
	return fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
}

// suggestFlag adds the flag that may have been meant to the error about an
// unknown one, and to one about a time how it is written.
func suggestFlag(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) && bad.GetFlag().Value.Type() == "duration" {
		return fmt.Errorf("--%s %q is no time%s", bad.GetFlag().Name, bad.GetValue(), timeMeant(bad.GetValue()))
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	if strings.HasPrefix(unknown.GetSpecifiedShortnames(), ":") { // -:TYPE
		return fmt.Errorf("%w; standard input is -, and --stdin-as NAME:TYPE gives it name and type", err)
	}
	if sides := sidesOf(cmd, unknown.GetSpecifiedName()); len(sides) > 0 {
		return fmt.Errorf("%w; did you mean %s?", err, strings.Join(sides, " or "))
	}
	if len(unknown.GetSpecifiedName()) == 1 {
		return err
	}
	best, least := "", nearEnough+1
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := distance(unknown.GetSpecifiedName(), f.Name); d < least && !f.Hidden {
			best, least = f.Name, d
		}
	})
	if best == "" {
		return err
	}
	return fmt.Errorf("%w; did you mean --%s?", err, best)
}

// timeMeant says how a time is written, where s is a number with that number.
func timeMeant(s string) string {
	const some = " such as 30s, 5m or 1h30m"
	if n, err := time.ParseDuration(s + "s"); err != nil || n < 0 {
		return some
	}
	return fmt.Sprintf(": a unit is missing; %ss is in seconds, %sm in minutes", s, s)
}

// sidesOf are the flags with the prefixes of a side, where a command with two
// sides is given one as commands with one side have it.
func sidesOf(cmd *cobra.Command, name string) (flags []string) {
	short := remoteFlags{}
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	short.register(own)
	if len(name) == 1 && own.ShorthandLookup(name) != nil {
		name = own.ShorthandLookup(name).Name
	}
	for _, prefix := range []string{"from-", "to-"} {
		if cmd.Flags().Lookup(prefix+name) != nil {
			flags = append(flags, "--"+prefix+name)
		}
	}
	return flags
}

// distance is how many letters have to be put in, taken out or changed to make b
// of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0] // of the row above, one to the left
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}

// wrongArgs says which argument is missing or too much, by the command's Use.
// For a group err says it already: the word is no command.
func wrongArgs(cmd *cobra.Command, args []string, err error) error {
	if cmd.HasSubCommands() {
		return err
	}
	names := argNames(cmd.Use)
	for i, name := range names {
		switch {
		case i < len(args):
		case strings.HasPrefix(name, "["): // the rest may be left out
			return err
		default:
			return fmt.Errorf("%s is missing", name)
		}
	}
	if len(args) > len(names) {
		return fmt.Errorf("%q is one argument too many", args[len(names)])
	}
	return err
}

// firstWay is the first of the ways to write arguments that stand in braces, such
// as {A B|--all C}, where it is more than one word; else the name itself.
func firstWay(name string) string {
	inner, braces := strings.CutPrefix(name, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	depth := 0
	for i, c := range inner {
		switch {
		case !braces || !closed:
			return name
		case strings.ContainsRune("[{", c):
			depth++
		case strings.ContainsRune("]}", c):
			depth--
		case c == '|' && depth == 0 && strings.Contains(inner[:i], " "):
			return inner[:i]
		}
	}
	return name
}

// argNames are the arguments in a Use line, without the command and its flags;
// what is in brackets stays together.
func argNames(use string) (names []string) {
	depth, start := 0, 0
	words := []string{}
	for i, c := range use + " " {
		switch {
		case strings.ContainsRune("[{", c):
			depth++
		case strings.ContainsRune("]}", c):
			depth--
		case c == ' ' && depth == 0:
			words = append(words, use[start:i])
			start = i + 1
		}
	}
	for i := 1; i < len(words); i++ {
		switch {
		case words[i] == "[flags]", strings.HasPrefix(words[i], "{--") && !strings.HasSuffix(words[i], "..."):
		case strings.HasPrefix(words[i], "-"):
			i++ // a flag that has to be given, and its value
		case firstWay(words[i]) != words[i]:
			names = append(names, argNames("command "+firstWay(words[i]))...)
		default:
			names = append(names, words[i])
		}
	}
	return names
}

// unquote takes the quotes around the names of values out of the texts of flags:
// completions show the texts as they are.
func unquote(cmd *cobra.Command) {
	plain := func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "`", "") }
	cmd.Flags().VisitAll(plain)
	cmd.PersistentFlags().VisitAll(plain)
	for _, sub := range cmd.Commands() {
		unquote(sub)
	}
}
