package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type indexUpdateOptions struct {
	indexFlags
	add, merge, remove []string
	tags               []string
	setType            bool // --artifact-type was given, "" too
}

func newIndexUpdate(a *app) *cobra.Command {
	o := &indexUpdateOptions{}
	cmd := &cobra.Command{
		Use:   "update [flags] NAME{:TAG|@DIGEST}",
		Short: "Change an index and push it",
		Long: `Change an index and push what it becomes, which is another manifest with another
digest. Its tag then points at the new one, as do those of --tag; other tags of
the old one stay where they are. An index that is named by digest gets no tag
but those.

Others may change the same index at the same time: what its tag names is looked at
before and after, and the change is made anew to what they made, so that nothing
of either is lost, or it fails.

Entries are removed first, then added, then those of other indexes, in the order
of the flags. What is there already is not added again, and that is said. Entries
that are not named keep their bytes. A change that changes nothing pushes
nothing.

--entry-platform and --entry-annotation name an entry by tag or digest, be it
there already or added; other annotations of it stay.`,
		Example: `  {name} manifest index update --add linux-arm64 localhost:5000/app:v1
  {name} manifest index update --remove sha256:DIGEST --tag v2 localhost:5000/app:v1
  {name} manifest index update --artifact-type "" -o - localhost:5000/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.setType = cmd.Flags().Changed("artifact-type")
			return runIndexUpdate(cmd.Context(), a, o, args[0])
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&o.add, "add", nil, "add the manifest `TAG|DIGEST`")
	fs.StringArrayVar(&o.merge, "merge", nil, "add all entries of the index `TAG|DIGEST`")
	fs.StringArrayVar(&o.remove, "remove", nil, "remove the entries of the `DIGEST`")
	fs.StringArrayVar(&o.tags, "tag", nil, "point this `TAG` at the new index as well")
	o.indexFlags.register(a, cmd)
	cmd.MarkFlagsMutuallyExclusive("tag", "output")
	return cmd
}

func runIndexUpdate(ctx context.Context, a *app, o *indexUpdateOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err == nil {
		err = o.check(format)
	}
	if err != nil {
		return err
	}
	ref, err := o.named("update the index", arg)
	if err != nil {
		return err
	}
	u := &updating{indexUpdateOptions: o, ref: ref}
	if err := u.read(); err != nil {
		return cannot("update the index", ref, err)
	}
	t, err := o.start(a, ui.PushVerbs())
	if err != nil {
		return err
	}
	u.sink = t.sink
	err = a.within(ref, &o.targetFlags, t.sink, func(s store.Store) error { return u.run(ctx, s) })
	t.finish()
	if err != nil {
		return cannot("update the index", ref, err)
	}
	d := u.now.Descriptor
	if d.ArtifactType, err = indexType(u.now); err != nil {
		return cannot("update the index", ref, err)
	}
	value := ui.NewIndexResult(u.written(), d, t.seen.Notes())
	value.Changed, value.Previous, value.Idle = u.changed(), u.old.Digest, u.idle()
	value.Added, value.Merged, value.Removed, value.Present = u.did.Added, u.did.Merged, u.did.Removed, u.did.Present
	return cannot("write the index of", ref, o.finish(ctx, a, format, u.now, value))
}

// indexType is the artifact type that an index says it has.
func indexType(m store.Manifest) (string, error) {
	o, err := store.ParseOutline(m)
	if err != nil {
		return "", err
	}
	return o.ArtifactType, nil
}

// updating is one update of an index.
type updating struct {
	*indexUpdateOptions
	ref      store.Ref
	sink     store.Sink
	adds     []string
	merges   []string
	edits    []entryEdit
	edit     artifact.IndexEdit
	old, now store.Manifest
	did      artifact.IndexChange
}

func (u *updating) changed() bool { return u.now.Digest != u.old.Digest }

// idle says why there is nothing to do, "" where there is. The first sentence
// is ORAS's.
func (u *updating) idle() string {
	switch {
	case u.changed() || len(u.newTags()) > 0:
		return ""
	case len(u.add)+len(u.merge)+len(u.remove)+len(u.edits)+len(u.annotations) == 0 && !u.setType:
		return "no change is requested"
	}
	return "the index is as it should be"
}

// written is the reference of what is there now: under the tags that name it.
func (u *updating) written() store.Ref {
	if tags := u.newTags(); len(tags) > 0 && u.output == "" {
		return u.ref.WithTags(tags...)
	}
	return u.ref.WithDigest(u.now.Digest)
}

// newTags are the tags that have to be pointed at the index: those that were
// asked for, and with a change the one that it was named by.
func (u *updating) newTags() (tags []string) {
	if u.changed() && u.ref.Digest == "" {
		tags = append(tags, u.ref.Tags...)
	}
	for _, t := range u.tags {
		if !slices.Contains(tags, t) {
			tags = append(tags, t)
		}
	}
	return tags
}

// read reads the flags.
func (u *updating) read() (err error) {
	if u.adds, err = u.entries(u.ref, u.add); err != nil {
		return err
	}
	if u.merges, err = u.entries(u.ref, u.merge); err != nil {
		return err
	}
	for _, r := range u.remove {
		if !store.IsDigest(r) {
			return fmt.Errorf("%w: --remove %q is not a digest; a tag may have moved since it was added", store.ErrUsage, r)
		}
		u.edit.Remove = append(u.edit.Remove, digest.Digest(r))
	}
	if err := (&tagOptions{}).checkTags(u.ref, u.tags); err != nil {
		return err
	}
	if u.setType {
		u.edit.ArtifactType = &u.artifactType
	}
	if u.edits, err = u.entryEdits(u.ref); err != nil {
		return err
	}
	u.edit.Annotations, err = artifact.ParseAnnotations(u.annotations)
	return err
}

func (u *updating) run(ctx context.Context, s store.Store) (err error) {
	if u.edit.Add, err = graph.Entries(ctx, s, u.adds); err != nil {
		return err
	}
	for _, ref := range u.merges {
		m, err := s.Manifest(ctx, ref)
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		u.edit.Merge = append(u.edit.Merge, m)
	}
	for _, e := range u.edits {
		if e.edit.Digest, err = u.digestOf(ctx, s, e.ref); err != nil {
			return err
		}
		u.edit.Entries = append(u.edit.Entries, e.edit)
	}
	if u.output == "" && u.ref.Digest == "" {
		return u.change(ctx, s)
	}
	old, err := s.Manifest(ctx, u.ref.Reference())
	if err != nil {
		return err
	}
	if _, err = u.apply(old, false); err != nil || u.output != "" || u.idle() != "" {
		return err
	}
	return graph.Put(ctx, u.now, s, graph.CopyOptions{Options: graph.Options{Tags: u.newTags(), Events: u.sink}})
}

// change changes what the tag names, and sets the other tags when that stands.
func (u *updating) change(ctx context.Context, s store.Store) error {
	named := u.ref.Tags[0]
	opts := graph.Options{Events: u.sink}
	if err := graph.Amend(ctx, s, named, u.apply, opts); err != nil {
		return err
	}
	opts.Tags = slices.DeleteFunc(u.newTags(), func(t string) bool { return t == named })
	if len(opts.Tags) == 0 {
		return nil
	}
	return graph.Put(ctx, u.now, s, graph.CopyOptions{Options: opts})
}

// apply makes the change to an index. When the change was put before, and others
// have moved the tag since, what is left of it is made: where they have taken it
// over, that is nothing.
func (u *updating) apply(old store.Manifest, again bool) (store.Manifest, error) {
	if !artifact.IsIndex(old.MediaType) {
		return old, fmt.Errorf("%w: it is of type %s, not an index", store.ErrUsage, old.MediaType)
	}
	edit := u.edit
	if again {
		listed, err := indexLists(old)
		if err != nil {
			return old, err
		}
		edit.Remove = slices.DeleteFunc(slices.Clone(edit.Remove), func(d digest.Digest) bool { return !listed[d] })
	}
	now, did, err := artifact.EditIndex(old, edit)
	if err != nil {
		return old, err
	}
	if u.now = now; !again || now.Digest != old.Digest {
		u.old, u.did = old, did
	}
	return now, nil
}

// indexLists are the entries of an index.
func indexLists(m store.Manifest) (map[digest.Digest]bool, error) {
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, err
	}
	listed := map[digest.Digest]bool{}
	for _, d := range o.Manifests {
		listed[d.Digest] = true
	}
	return listed, nil
}

// digestOf is the entry that a flag means.
func (u *updating) digestOf(ctx context.Context, s store.Store, ref string) (digest.Digest, error) {
	if store.IsDigest(ref) {
		return digest.Digest(ref), nil
	}
	if i := slices.Index(u.adds, ref); i >= 0 {
		return u.edit.Add[i].Digest, nil
	}
	d, err := s.Resolve(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	return d.Digest, nil
}
