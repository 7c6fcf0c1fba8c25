package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

type backupOptions struct {
	progressFlags
	formatFlags
	targetFlags
	output      string
	referrers   bool
	silent      bool // --include-referrers was given, whatever it says
	all         bool
	shallow     bool
	force       bool
	concurrency int
}

func newBackup(a *app) *cobra.Command {
	o := &backupOptions{}
	o.connections = several
	cmd := &cobra.Command{
		Use:   "backup [flags] {REGISTRY/REPOSITORY[:TAG[,TAG...]]...|--all REGISTRY[/NAMESPACE]} --output PATH",
		Short: "Keep repositories in a directory or a tar file",
		Long: `Copy repositories, with all their tags or those that are named, to a directory, or
to a tar where PATH ends with .tar. One repository becomes an OCI image layout,
as ORAS makes it; several become a layout each, in the sub directory of its name,
which ` + "`{name} serve PATH`" + ` serves and ` + "`{name} restore`" + ` brings back.

A second backup to the same PATH writes only what is new, and moves the tags that
have moved. Tags that are gone at the source stay in the backup.

It says that it is done when everything under the tags was proven: what is written,
while it is written; what was there before, by reading it again, or with --shallow
by its size alone. What is damaged in the backup is fetched again.

A backup keeps in mind of which repository it is, and another one is refused there:
its tags would take the place of those that are there.

A directory can be backed up to again after a backup that was cut, and goes on from
there; a tar is written once, at the end.`,
		Example: `  # all tags of a repository, to a layout
  {name} backup localhost:5000/app --output backup

  # two tags with their signatures and SBOMs, to a tar
  {name} backup localhost:5000/app:v1,v2 --include-referrers --output app.tar

  # everything in a registry, and to look at it
  {name} backup --all localhost:5000 --include-referrers --output all.tar
  {name} serve tar:all.tar`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.silent = cmd.Flags().Changed("include-referrers")
			return runBackup(cmd.Context(), a, o, args)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.output, "output", "o", "", "`PATH` of the backup: a directory, or a file NAME.tar")
	fs.BoolVar(&o.referrers, "include-referrers", false, "keep what refers to the artifacts too: signatures, SBOMs")
	fs.BoolVar(&o.force, "force", false, "go on in a PATH that is the backup of another repository")
	fs.BoolVar(&o.all, "all", false, "the argument is REGISTRY[/NAMESPACE]: back up every repository in it")
	fs.BoolVar(&o.shallow, "shallow", false, "look at the sizes of what is in the backup already, and do not read it again")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	o.targetFlags.register(a, cmd, &o.progressFlags, true)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runBackup(ctx context.Context, a *app, o *backupOptions, args []string) error {
	format, err := o.formatFlags.parse()
	if err == nil {
		err = o.check(args)
	}
	if err != nil {
		return err
	}
	t, err := o.start(a, ui.BackupVerbs())
	if err != nil {
		return err
	}
	k := &keeping{tally: newTally(a, t, &o.targetFlags), opts: o}
	k.value.Path = o.output
	err = k.backup(ctx, args)
	t.finish()
	return k.report(format, k.value.BackupText, err)
}

// compressed are endings of names that would promise what is not written.
var compressed = []string{".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"}

func (o *backupOptions) check(args []string) error {
	for _, end := range compressed {
		if strings.HasSuffix(o.output, end) {
			return fmt.Errorf("%w: a backup is a plain tar, as most of what is in it is compressed already: name it %s.tar",
				store.ErrUsage, strings.TrimSuffix(o.output, end))
		}
	}
	switch o.output {
	case "":
		return fmt.Errorf("%w: --output says where the backup goes", store.ErrUsage)
	case outputStdout:
		return fmt.Errorf("%w: a backup is written to a file and read again, so that it cannot go to standard output; a directory called - is ./-", store.ErrUsage)
	}
	if o.all && len(args) > 1 {
		return fmt.Errorf("%w: with --all there is one REGISTRY[/NAMESPACE]", store.ErrUsage)
	}
	return nil
}

// keeping is one backup under way.
type keeping struct {
	*tally
	opts  *backupOptions
	place *backupPlace
	run   *graph.Backup
}

// origin is a repository that is backed up.
type origin struct {
	ref  store.Ref
	name string // in the backup
}

func (k *keeping) backup(ctx context.Context, args []string) (err error) {
	defer func() { err = errors.Join(err, k.hosts.close()) }()
	from, err := k.origins(ctx, args)
	if err != nil {
		return badArgs("back up", args, err)
	}
	if err := k.open(ctx, from); err != nil {
		return k.refused(noBackup("write the backup "+k.opts.output, err))
	}
	if !k.opts.referrers && !k.opts.silent {
		k.sink.Emit(store.Event{Kind: store.Warning, Text: "referrers, such as signatures and SBOMs, are left out; --include-referrers keeps them, --include-referrers=false is quiet about it"})
	}
	k.run = graph.NewBackup(k.place.all, graph.BackupOptions{
		Referrers: k.opts.referrers, Concurrency: k.opts.concurrency, Events: k.sink, Shallow: k.opts.shallow,
	})
	for _, f := range from {
		if ctx.Err() == nil {
			k.repository(ctx, f)
		}
	}
	var cut error
	if cause := context.Cause(ctx); cause != nil {
		cut = &failure{what: "complete the backup " + k.opts.output, err: cause, tar: k.place.archive}
	}
	return errors.Join(cut, k.close())
}

// open opens the place of the backup, which says what it is the backup of.
func (k *keeping) open(ctx context.Context, from []origin) error {
	many := len(from) > 1 || k.opts.all
	sources, err := sourcesOf(from, many)
	if err != nil {
		return err
	}
	opts := local.LayoutOptions{Source: func(name string) string { return sources[name] }, Replace: k.opts.force}
	k.place, err = openBackup(ctx, k.opts.output, many, opts)
	return err
}

// refused says the way out where the path is that of another backup.
func (k *keeping) refused(err error) error {
	var f *failure
	var other *local.SourceError
	if errors.As(err, &other) && errors.As(err, &f) {
		f.do = "name another --output; --force goes on where it is the same repository under another name, and moves its tags"
	}
	return err
}

// close completes the backup. What failed before is no reason to throw away
// what did not.
func (k *keeping) close() error {
	before, _ := os.Stat(k.opts.output)
	if k.place.archive {
		k.say("Exporting to %s", k.opts.output)
	}
	if err := k.place.close(); err != nil {
		return cannot("write the backup "+k.opts.output, store.Ref{}, err)
	}
	switch info, err := os.Stat(k.opts.output); {
	case !k.place.archive || err != nil:
	case before != nil && os.SameFile(before, info):
		k.say("Unchanged %s (%s): nothing is new", k.opts.output, ui.Size(info.Size()))
	default:
		k.say("Exported to %s (%s)", k.opts.output, ui.Size(info.Size()))
	}
	return nil
}

// origins are the repositories that are meant, each with its name in the backup.
func (k *keeping) origins(ctx context.Context, args []string) ([]origin, error) {
	if k.opts.all {
		return k.everyOrigin(ctx, args[0])
	}
	var all []origin
	for _, arg := range args {
		ref, err := k.opts.targetFlags.parse(arg)
		if err == nil && ref.Digest != "" {
			err = &store.RefError{Ref: arg, Reason: "a backup keeps tags; give a tag, or nothing for all of them"}
		}
		if err != nil {
			return nil, err
		}
		o := origin{ref, nameIn(ref)}
		if i := slices.IndexFunc(all, func(p origin) bool { return p.name == o.name }); i >= 0 {
			return nil, fmt.Errorf("%w: %s and %s would both be kept as %s", store.ErrUsage, all[i].ref, ref, o.name)
		}
		all = append(all, o)
	}
	return all, nil
}

func (k *keeping) everyOrigin(ctx context.Context, arg string) ([]origin, error) {
	base, namespace, err := parseNamespace(arg)
	if err != nil {
		return nil, err
	}
	reg, err := k.hosts.registry(base)
	if err != nil {
		return nil, err
	}
	var all []origin
	for name, err := range reg.Repositories(ctx, "") {
		if err != nil {
			return nil, err
		}
		if namespace == "" || name == namespace || strings.HasPrefix(name, namespace+"/") {
			ref := base
			ref.Repo = name
			all = append(all, origin{ref, name})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no repositories in %s", store.ErrNotFound, arg)
	}
	return all, nil
}

// repository backs one up and keeps what came of it. One that fails does not
// stop the others.
func (k *keeping) repository(ctx context.Context, from origin) {
	kept := ui.KeptRepository{Repository: repositoryOf(from.ref), Name: k.place.name(from.name)}
	begun := k.now()
	err := k.copyTags(ctx, from, &kept)
	kept.Took = k.now().Sub(begun)
	f := &failure{what: "back up " + repositoryOf(from.ref), ref: from.ref, err: err}
	_ = k.refused(f) // which is f, with its way out
	k.keep(kept, f)
}

func (k *keeping) copyTags(ctx context.Context, from origin, kept *ui.KeptRepository) error {
	src, err := k.hosts.repository(ctx, from.ref)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := k.place.repository(ctx, from.name)
	if err != nil {
		return err
	}
	tags := from.ref.Tags
	if len(tags) == 0 {
		if tags, err = k.listTags(ctx, src, kept.Repository); err != nil || len(tags) == 0 {
			return err
		}
	}
	res, err := k.run.Repository(ctx, src, dst, tags)
	kept.Referrers, kept.Reread, kept.Mended = res.Referrers, res.Reread, res.Mended
	for _, r := range res.Roots {
		kept.Add(k.tell("Pulled", r))
	}
	return err
}

// listTags lists the tags of a source. Lists of referrers are no names that
// somebody gave: referrers are kept, or left out, as what they are.
func (k *keeping) listTags(ctx context.Context, src store.Reader, repo string) (tags []string, err error) {
	lists := 0
	for tag, err := range src.Tags(ctx, "") {
		if err != nil && k.opts.all && errors.Is(err, store.ErrNotFound) && len(tags) == 0 {
			break // the catalog of CNCF Distribution has what lost its last tag, or never had one
		}
		if err != nil {
			return nil, &graph.Error{Side: graph.Source, Op: "list tags", Err: err}
		}
		if _, suffix, ok := graph.SplitDigestTag(tag); ok && suffix == "" {
			lists++
		} else {
			tags = append(tags, tag)
		}
	}
	if lists > 0 && !k.opts.referrers {
		k.sink.Emit(store.Event{Kind: store.Warning, Name: repo, Text: fmt.Sprintf("lists of referrers are left out, and the referrers in them: %d", lists)})
	}
	switch {
	case len(tags) > 0:
		k.found(tags, "in "+repo)
	case !k.opts.all:
		return nil, fmt.Errorf("%w: %s has no tags", store.ErrNotFound, repo)
	default:
		k.sink.Emit(store.Event{Kind: store.Warning, Name: repo, Text: "it has no tags, so nothing of it is kept"})
	}
	return tags, nil
}
