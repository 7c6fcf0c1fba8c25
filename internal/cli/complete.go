package cli

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/pkg/store"
)

// What a shell waits for at most when it completes a reference, and how many
// names it is given.
const (
	completionTime = 2 * time.Second
	completionMax  = 1000
)

// completeArgs completes the arguments of a command from what its Use says that
// they are: references, tags beside the first of them, files. Of two sides "from-"
// is about the first argument and "to-" about the second.
func (a *app) completeArgs(cmd *cobra.Command, t *targetFlags) {
	refs, first := a.completeRefs(t), cmd.ValidArgsFunction
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if t.prefix == "to-" && len(args) == 0 {
			return first(cmd, args, typed)
		}
		switch name := argName(cmd.Use, len(args)); {
		case name == "":
			return nil, cobra.ShellCompDirectiveNoFileComp
		case strings.HasPrefix(strings.TrimLeft(name, "[{"), "TAG"):
			return a.completeTags(cmd, t, args[0], typed)
		case strings.Contains(name, "FILE") && !strings.Contains(name, "NAME"):
			return nil, cobra.ShellCompDirectiveDefault
		}
		return refs(cmd, args, typed)
	}
}

// argName is the name of the argument i in a Use line, "" where there is none.
func argName(use string, i int) string {
	names := argNames(use)
	switch last := len(names) - 1; {
	case i <= last:
		return names[i]
	case last >= 0 && repeats(names[last]):
		return names[last]
	}
	return ""
}

// repeats says whether an argument may stand more than once: A..., [A...] or
// {A...|B}. The dots of NAME[:TAG[,TAG...]] are about tags.
func repeats(name string) bool {
	return strings.HasSuffix(name, "...") || name[0] == '[' && strings.HasSuffix(name, "...]") || strings.Contains(name, "...|")
}

// completeTags completes a tag alone, of the store that arg names.
func (a *app) completeTags(cmd *cobra.Command, t *targetFlags, arg, typed string) (names []string, _ cobra.ShellCompDirective) {
	ref, err := t.parse(arg)
	if err == nil && !t.asksStdin() {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		names = a.silent().offerTags(ctx, t, ref.WithTags(), "", typed)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// asksStdin says whether a secret is on standard input, which is the shell's.
func (t *targetFlags) asksStdin() bool { return t.passwordFromStdin || t.identityTokenStdin }

// silent is the app without its stderr.
func (a *app) silent() *app {
	silent, streams := *a, *a.streams
	streams.Err, silent.streams = io.Discard, &streams
	return &silent
}

// completeHosts completes a registry from those that there are credentials for.
func (a *app) completeHosts(configs *[]string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, typed string) (hosts []string, _ cobra.ShellCompDirective) {
		if files, err := a.credentialFiles(*configs); err == nil && len(args) == 0 {
			hosts = slices.DeleteFunc(files.Hosts(), func(h string) bool { return !strings.HasPrefix(h, typed) })
		}
		return hosts, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeRefs completes arguments from what they lead to: NAME: to the tags of a
// repository or layout, HOST/ to the repositories of a registry. Whatever goes
// wrong offers nothing: a shell is no place for an error or a question.
func (a *app) completeRefs(t *targetFlags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		if t.asksStdin() {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		silent := a.silent()
		if ref, lead, ok := t.tagsOf(typed); ok {
			return silent.offerTags(ctx, t, ref, lead, typed), cobra.ShellCompDirectiveNoFileComp
		}
		host, _, slash := strings.Cut(typed, "/")
		if _, err := store.ParseHost(host); !slash || err != nil {
			return nil, cobra.ShellCompDirectiveDefault // a file, perhaps
		}
		ref := store.Ref{Scheme: store.SchemeRegistry, Host: host}
		return silent.offerRepositories(ctx, t, ref, typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// tagsOf says whether a tag is being typed, of what store, and what stands before it.
func (t *targetFlags) tagsOf(typed string) (ref store.Ref, lead string, ok bool) {
	if t.layoutPath != "" {
		return store.Ref{Scheme: layoutScheme(t.layoutPath), Path: t.layoutPath}, "", true
	}
	i := strings.LastIndex(typed, ":")
	if i < 0 || strings.ContainsAny(typed[i:], `/\@`) {
		return ref, "", false
	}
	ref, err := t.parse(typed[:i])
	return ref, typed[:i+1], err == nil && ref.Reference() == ""
}

func (a *app) offerTags(ctx context.Context, t *targetFlags, ref store.Ref, lead, typed string) (names []string) {
	_ = a.within(ref, t, nil, func(s store.Store) error {
		for tag, err := range s.Tags(ctx, "") {
			if err != nil || len(names) == completionMax {
				return err
			}
			if name := lead + tag; strings.HasPrefix(name, typed) {
				names = append(names, name)
			}
		}
		return nil
	})
	return names
}

func (a *app) offerRepositories(ctx context.Context, t *targetFlags, ref store.Ref, typed string) (names []string) {
	reg, err := a.openRegistry(ref, t, nil)
	if err != nil {
		return nil
	}
	defer reg.Close()
	for repo, err := range reg.Repositories(ctx, "") {
		if err != nil || len(names) == completionMax {
			break
		}
		if name := ref.Host + "/" + repo; strings.HasPrefix(name, typed) {
			names = append(names, name)
		}
	}
	return names
}
