// Package cli is the command line of stet: it turns arguments into options and
// references, opens stores, calls the packages that do the work, and prints
// what came of it. One file holds one command, or what several share.
//
// It decides nothing about manifests, transfers or registries; what a command
// does beyond flags and words belongs in pkg.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/store"
)

// app is what all commands share: where to read and write, and the machine's
// environment and clock, which a test replaces.
type app struct {
	name    string // as the program was called
	streams *ui.Streams
	getenv  func(string) string
	now     func() time.Time
}

// Main runs the program and gives its exit code. args[0] is the name that it
// was called by: help and hints say that name.
func Main(args []string, stdin, stdout, stderr *os.File, getenv func(string) string) int {
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	a := &app{name: name, streams: ui.System(stdin, stdout, stderr, getenv), getenv: getenv, now: time.Now}
	a.streams.Program = name
	ctx, stop := interruptible(context.Background())
	defer stop()
	return a.run(ctx, args[1:])
}

// run executes one command line and explains its error on stderr.
func (a *app) run(ctx context.Context, args []string) int {
	root := newRoot(a)
	if len(args) > 0 && strings.HasPrefix(args[0], "__complete") {
		unquote(root)
	}
	root.SetArgs(args)
	root.SetIn(a.streams.In)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	cmd, err := unknownCommand(root, args)
	if err == nil {
		cmd, err = root.ExecuteContextC(ctx)
	}
	if lost := a.streams.OutErr(); lost != nil {
		err = cannot("write the result", store.Ref{}, lost)
	}
	if err == nil {
		return exitDone
	}
	var no *verdict
	if errors.As(err, &no) {
		return exitNo
	}
	if cause := context.Cause(ctx); cause != nil {
		err = errors.Join(cause, err)
	}
	e := a.explainAt(cmd.CommandPath(), err)
	fmt.Fprintln(a.streams.Err, e.String())
	return e.Code
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ sig os.Signal }

func (e interrupted) Error() string {
	if e.sig == syscall.SIGTERM {
		return "terminated"
	}
	return "interrupted"
}

// interruptible ends the context at the first SIGINT or SIGTERM, so that
// transfers stop and clean up. A second signal ends the program as it would
// have without us.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case sig := <-signals:
			signal.Stop(signals)
			cancel(interrupted{sig})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// newRoot is the command tree.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   a.name,
		Short: "Push, pull and copy OCI artifacts; their digests never move",
		Long: `stet moves OCI artifacts between files, registries and layouts, and the digest
of an artifact never moves with them: the same content and flags give the same
digest everywhere, and a copy is byte-exact or refused.

A reference is HOST[:PORT]/REPO[:TAG[,TAG...]][@DIGEST], oci:DIR[:TAG][@DIGEST],
or tar:FILE[:TAG][@DIGEST].

Exit codes:
` + exitCodeHelp(),
		Version:       versionOf().Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, suggestFlag(cmd, err)) })
	for _, g := range commandGroups {
		root.AddGroup(&g)
	}
	addGroup(root, groupMove, newPush(a), newPull(a), newAttach(a), newCopy(a), newBackup(a), newRestore(a))
	addGroup(root, groupLook, newDiscover(a), newResolve(a), newVerify(a), newDiff(a))
	addGroup(root, groupNames, newRepo(a), newTag(a), newUntag(a))
	addGroup(root, groupPart, newManifest(a), newBlob(a))
	addGroup(root, groupOther, newLogin(a), newLogout(a), newProbe(a), newConvert(a), newServe(a), newVersion(a))
	root.SetCompletionCommandGroupID(groupOther)
	root.SetHelpCommandGroupID(groupOther)
	root.SetUsageFunc(a.printUsage)
	root.AddCommand(newTemplates())
	root.InitDefaultCompletionCmd("completion") // now, so that settle sees it
	settle(root, a.name)
	return root
}

// settle finishes the tree: texts and examples say the name that the program was
// called by, and wrong arguments, unknown commands and flags that exclude each other
// are usage errors everywhere.
func settle(cmd *cobra.Command, name string) {
	cmd.Long = strings.ReplaceAll(cmd.Long, "{name}", name)
	cmd.Example = strings.ReplaceAll(cmd.Example, "{name}", name)
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage(cmd, suggest(cmd, args, wrongArgs(cmd, args, err)))
			}
			return nil
		}
	}
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := cmd.ValidateFlagGroups(); err != nil {
			return usage(cmd, err)
		}
		return nil
	}
	timed(cmd)
	for _, sub := range cmd.Commands() {
		settle(sub, name)
	}
	if !cmd.Runnable() && cmd.HasSubCommands() { // a group: cobra would take any word after it
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

// unknownCommand is a usage error where the first word is no command: cobra
// would complain of the flags after it first.
func unknownCommand(root *cobra.Command, args []string) (*cobra.Command, error) {
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(args)
	if err == nil && cmd.Name() == "help" && cmd.Parent() == root { // what is asked about has to be there
		cmd, rest, err = root.Find(rest)
	}
	word := ""
	if len(rest) > 0 {
		word = rest[0]
	}
	if err != nil || !cmd.HasSubCommands() || word == "" || strings.HasPrefix(word, "-") || strings.HasPrefix(word, "__") {
		return root, nil // "__complete" is cobra's own
	}
	return cmd, usage(cmd, suggest(cmd, rest, fmt.Errorf("unknown command %q for %q", word, cmd.CommandPath())))
}

// group is a command that only holds others.
func group(use, short string, aliases []string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Aliases: aliases, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}
