package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

type restoreOptions struct {
	progressFlags
	formatFlags
	targetFlags
	input       string
	noReferrers bool
	all         bool
	dryRun      bool
	concurrency int
}

func newRestore(a *app) *cobra.Command {
	o := &restoreOptions{}
	cmd := &cobra.Command{
		Use:   "restore [flags] {REGISTRY/REPOSITORY[:TAG[,TAG...]]...|--all REGISTRY[/NAMESPACE]} --input PATH",
		Short: "Bring repositories back from a backup",
		Long: `Copy what ` + "`{name} backup`" + ` or ORAS has kept, in a directory or a tar, to a registry:
all tags or those that are named, with what refers to them. Every byte and every
digest is as it was, or the artifact is refused before its first byte. Where a
manifest is there already, everything under it is looked for, at a request each, and
what is missing is put: when it says that it is done, all of it is there.

The backup of one repository can be restored to any. In a backup of several, a
repository is found by its name at the end of the argument: team/app for
localhost:5000/team/app, and for localhost:5000/copies/team/app. With --all all of
them are restored, below the namespace if there is one.`,
		Example: `  # one repository
  {name} restore localhost:5000/app --input app.tar

  # one tag of it, without what refers to it
  {name} restore localhost:5000/app:v1 --exclude-referrers --input app.tar

  # all repositories of a backup; what would be done
  {name} restore --all localhost:5000 --input all.tar --dry-run`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runRestore(cmd.Context(), a, o, args) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.input, "input", "", "`PATH` of the backup: a directory or a tar file")
	fs.BoolVar(&o.noReferrers, "exclude-referrers", false, "leave out what refers to the artifacts: signatures, SBOMs")
	fs.BoolVar(&o.all, "all", false, "the argument is REGISTRY[/NAMESPACE]: restore every repository of the backup")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print what would be sent and skipped; put nothing")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	o.connections = several
	o.actions = toPush
	o.targetFlags.register(a, cmd, &o.progressFlags, true)
	o.registerChunks(cmd)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runRestore(ctx context.Context, a *app, o *restoreOptions, args []string) error {
	format, err := o.formatFlags.parse()
	if err == nil && o.input == "" {
		err = fmt.Errorf("%w: --input says where the backup is", store.ErrUsage)
	}
	if err == nil && o.all && len(args) > 1 {
		err = fmt.Errorf("%w: with --all there is one REGISTRY[/NAMESPACE]", store.ErrUsage)
	}
	if err != nil {
		return err
	}
	t, err := o.start(a, ui.RestoreVerbs())
	if err != nil {
		return err
	}
	r := &restoring{tally: newTally(a, t, &o.targetFlags), opts: o}
	r.value.Path, r.value.DryRun = o.input, o.dryRun
	err = r.restore(ctx, args)
	t.finish()
	return r.report(format, r.value.RestoreText, err)
}

// restoring is one restore under way.
type restoring struct {
	*tally
	opts   *restoreOptions
	backup store.Registry
	nested bool // the repositories of the backup have directories of their own
}

// goal is a repository that is restored: what it is called in the backup, and
// where it goes, with the tags that are meant.
type goal struct {
	name string
	ref  store.Ref
}

func (r *restoring) restore(ctx context.Context, args []string) (err error) {
	defer func() { err = errors.Join(err, r.hosts.close()) }()
	names, err := r.open(ctx)
	if err != nil {
		return noBackup("read the backup "+r.opts.input, err)
	}
	defer r.backup.Close()
	goals, err := r.goals(args, names)
	if err != nil {
		return badArgs("restore", args, err)
	}
	for _, g := range goals {
		if ctx.Err() == nil {
			r.repository(ctx, g)
		}
	}
	return context.Cause(ctx)
}

// open opens the backup, and lists its repositories. The backup of one is a
// registry of one.
func (r *restoring) open(ctx context.Context) ([]string, error) {
	info, err := os.Stat(r.opts.input)
	if err != nil {
		return nil, err
	}
	found, err := local.Look(ctx, r.opts.input)
	if err != nil {
		return nil, err
	}
	r.nested = found == local.FoundLayouts
	if r.backup, err = local.OpenRegistry(r.opts.input, local.LayoutOptions{}); err != nil {
		return nil, err
	}
	names, err := store.Collect(r.backup.Repositories(ctx, ""))
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%w: no OCI image layout at %s", store.ErrNotFound, r.opts.input)
	}
	if err != nil {
		return nil, errors.Join(err, r.backup.Close())
	}
	if info.Mode().IsRegular() {
		r.say("Loaded backup archive: %s (%s)", r.opts.input, ui.Size(info.Size()))
	}
	return names, nil
}

func (r *restoring) goals(args, names []string) ([]goal, error) {
	if r.opts.all {
		base, namespace, err := parseNamespace(args[0])
		var all []goal
		for _, name := range names {
			ref := base
			ref.Repo = path.Join(namespace, name)
			all = append(all, goal{name, ref})
		}
		return all, err
	}
	var all []goal
	for _, arg := range args {
		ref, err := r.opts.targetFlags.parse(arg)
		if err == nil && ref.Digest != "" {
			err = &store.RefError{Ref: arg, Reason: "a backup keeps tags; give a tag, or nothing for all of them"}
		}
		if err != nil {
			return nil, err
		}
		name := names[0]
		if len(names) > 1 {
			if name, err = findName(ref, names); err != nil {
				return nil, err
			}
		}
		if i := slices.IndexFunc(all, func(g goal) bool { return g.name == name }); i >= 0 {
			return nil, fmt.Errorf("%w: %s and %s are both the repository %s of the backup", store.ErrUsage, all[i].ref, ref, name)
		}
		all = append(all, goal{name, ref})
	}
	return all, nil
}

// findName finds the repository of a backup that is meant by where it goes: the
// longest name that its path ends with.
func findName(ref store.Ref, names []string) (string, error) {
	best := ""
	for _, name := range names {
		if strings.HasSuffix("/"+nameIn(ref), "/"+name) && len(name) > len(best) {
			best = name
		}
	}
	if best == "" {
		return "", fmt.Errorf("%w: the backup has no repository for %s; it has %s", store.ErrNotFound, ref, strings.Join(names, ", "))
	}
	return best, nil
}

// repository restores one and keeps what came of it. One that fails does not
// stop the others.
func (r *restoring) repository(ctx context.Context, g goal) {
	kept := ui.KeptRepository{Repository: repositoryOf(g.ref), Name: g.name}
	begun := r.now()
	failed, err := r.copyTags(ctx, g, &kept)
	kept.Took = r.now().Sub(begun)
	from := store.Ref{Scheme: store.SchemeLayout, Path: r.opts.input}
	if local.IsArchive(r.opts.input) {
		from.Scheme = store.SchemeArchive
	}
	if r.nested {
		from.Path = path.Join(from.Path, g.name)
	}
	r.keep(kept, &failure{what: "restore " + repositoryOf(g.ref), ref: g.ref, from: from.WithTags(failed), err: err})
}

// copyTags also gives the first tag that failed.
func (r *restoring) copyTags(ctx context.Context, g goal, kept *ui.KeptRepository) (failed string, err error) {
	src, err := r.backup.Repository(ctx, g.name)
	if err != nil {
		return "", err
	}
	src = store.VerifyManifests(src)
	tags := g.ref.Tags
	if len(tags) == 0 {
		if tags, err = store.Collect(src.Tags(ctx, "")); err != nil {
			return "", err
		}
	}
	if len(tags) == 0 {
		return "", fmt.Errorf("%w: the backup of %s has no tags", store.ErrNotFound, g.name)
	}
	r.found(tags, "in the backup")
	dst, err := r.hosts.repository(ctx, g.ref)
	if err != nil {
		return "", err
	}
	var roots []graph.Root
	for _, tag := range tags {
		roots = append(roots, graph.Root{Ref: tag, Tags: []string{tag}})
	}
	res, err := graph.CopyAll(ctx, src, dst, roots, graph.CopyOptions{
		Options:   graph.Options{Concurrency: r.opts.concurrency, Events: r.sink},
		Referrers: !r.opts.noReferrers, DryRun: r.opts.dryRun, Host: g.ref.Host,
		Force: true, // what one restores for may be that something is gone from under its manifest
	})
	kept.Referrers = res.Referrers
	if r.opts.dryRun {
		r.value.Estimate(counts(res.Result))
	}
	verb := "Pushed"
	if r.opts.dryRun {
		verb = "Dry run: would push"
	}
	for _, root := range res.Roots {
		kept.Add(r.tell(verb, root))
		if root.Err != nil && failed == "" {
			failed = root.Ref
		}
	}
	return failed, errors.Join(err, dst.Close())
}
