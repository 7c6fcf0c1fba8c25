package cli

import (
	"context"
	"io"
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

// completeRefs completes arguments from what they lead to: NAME: to the tags of a
// repository or layout, HOST/ to the repositories of a registry. Whatever goes
// wrong offers nothing: a shell is no place for an error or a question.
func (a *app) completeRefs(t *targetFlags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		if t.passwordFromStdin || t.identityTokenStdin {
			return nil, cobra.ShellCompDirectiveNoFileComp // standard input is the shell's
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		silent, streams := *a, *a.streams
		streams.Err, silent.streams = io.Discard, &streams
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
