package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/store"
)

func newRepo(a *app) *cobra.Command {
	return group("repo", "List repositories and tags", []string{"repository"}, newRepoList(a), newRepoTags(a))
}

type repoListOptions struct {
	progressFlags
	formatFlags
	targetFlags
	last string
}

func newRepoList(a *app) *cobra.Command {
	o := &repoListOptions{}
	cmd := &cobra.Command{
		Use:     "ls [flags] {HOST[:PORT][/NAMESPACE]|oci:DIR|tar:FILE}",
		Aliases: []string{"list"},
		Short:   "List the repositories of a registry",
		Long: `List the repositories of a registry, or those under a name space, which then is
left out of their names; or the layouts in a directory or tar.

The list is the registry's catalog, which is no part of the distribution-spec:
some have none, others show it to administrators only. It is printed when all
of it is there, in the registry's order.`,
		Example: `  {name} repo ls localhost:5000
  {name} repo ls --format json reg.example.com/team
  {name} repo ls oci:backups
  {name} repo ls tar:backup.tar`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runRepoList(cmd.Context(), a, o, args[0]) },
	}
	cmd.Flags().StringVar(&o.last, "last", "", "begin after the repository `NAME`")
	o.targetFlags.progress = &o.progressFlags
	o.remoteFlags.register(cmd.Flags())
	o.patience.register(cmd)
	cmd.ValidArgsFunction = a.completeRefs(&o.targetFlags)
	o.registerDebug(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runRepoList(ctx context.Context, a *app, o *repoListOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := parseRegistry(arg)
	if err != nil {
		return cannot("list the repositories of", store.Ref{}, err)
	}
	t := o.quiet(a)
	names, shown, err := o.list(ctx, a, ref, t.sink)
	t.finish()
	if err != nil {
		// Not through cannot: a registry as a whole is no reference.
		return &failure{what: "list the repositories of " + arg, ref: ref, err: err}
	}
	registry := ref.Host
	if ref.Scheme != store.SchemeRegistry {
		registry = ref.Path
	}
	value := ui.NewRepositoriesResult(registry, names, shown, t.seen.Notes())
	return ui.Print(a.streams.Out, format, value, value.Text)
}

// parseRegistry reads HOST[:PORT][/NAMESPACE], oci:DIR or tar:FILE. The name space
// is in Repo.
func parseRegistry(arg string) (store.Ref, error) {
	if dir, ok := strings.CutPrefix(arg, "oci:"); ok {
		return store.Ref{Scheme: store.SchemeLayout, Path: dir}, nil
	}
	if file, ok := strings.CutPrefix(arg, "tar:"); ok {
		return store.Ref{Scheme: store.SchemeArchive, Path: file}, nil
	}
	host, space, _ := strings.Cut(strings.TrimSuffix(arg, "/"), "/")
	host, err := store.ParseHost(host)
	if err != nil {
		return store.Ref{}, err
	}
	if space == "" {
		return store.Ref{Scheme: store.SchemeRegistry, Host: host}, nil
	}
	ref, err := store.ParseRef(host + "/" + space)
	if err == nil && ref.Reference() != "" {
		err = &store.RefError{Ref: arg, Reason: "a name space has neither tag nor digest"}
	}
	return ref, err
}

// list gives the names, and how they are shown.
func (o *repoListOptions) list(ctx context.Context, a *app, ref store.Ref, sink store.Sink) (names, shown []string, err error) {
	if ref.Scheme != store.SchemeRegistry {
		if len(o.headers) > 0 {
			return nil, nil, fmt.Errorf("%w: --header is for registries", store.ErrUsage)
		}
		if _, err := os.Stat(ref.Path); err != nil {
			return nil, nil, err // a store would be made by the first write
		}
	}
	reg, err := a.openRegistry(ref, &o.targetFlags, sink)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	prefix, last := "", o.last
	if ref.Repo != "" {
		prefix = ref.Repo + "/"
		if last != "" && !strings.HasPrefix(last, prefix) {
			last = prefix + last // as it was shown
		}
	}
	for name, err := range reg.Repositories(ctx, last) {
		if err != nil {
			return nil, nil, err
		}
		if short, in := strings.CutPrefix(name, prefix); in {
			names, shown = append(names, name), append(shown, short)
		}
	}
	return names, shown, nil
}
