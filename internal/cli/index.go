package cli

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

func newIndex(a *app) *cobra.Command {
	return group("index", "Create and update indexes", nil, newIndexCreate(a), newIndexUpdate(a))
}

// indexFlags are what create and update of an index have in common.
type indexFlags struct {
	progressFlags
	formatFlags
	targetFlags
	artifactType     string
	annotations      []string
	entryPlatforms   []string
	entryAnnotations []string
	output           string
	pretty           bool
}

func (f *indexFlags) register(a *app, cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.artifactType, "artifact-type", "", "media `TYPE` of the index")
	fs.StringArrayVarP(&f.annotations, "annotation", "a", nil, "annotate the index with `KEY=VALUE`")
	fs.StringArrayVar(&f.entryPlatforms, "entry-platform", nil, "list an entry for another platform than its config says: `ENTRY=OS/ARCH[/VARIANT][:OSVERSION]`")
	fs.StringArrayVar(&f.entryAnnotations, "entry-annotation", nil, "annotate an entry: `ENTRY=KEY=VALUE`")
	fs.StringVarP(&f.output, "output", "o", "", "write the index to `FILE` and push nothing; - is standard output")
	fs.BoolVar(&f.pretty, "pretty", false, "indent what --output writes, which then has another digest")
	f.actions = toPush
	f.targetFlags.register(a, cmd, &f.progressFlags, true)
	f.progressFlags.register(cmd)
	f.formatFlags.register(cmd)
}

// entryEdit is what the flags say of one entry, which they name as it was typed.
type entryEdit struct {
	ref  string
	edit artifact.EntryEdit
}

// entryEdits reads the flags about entries, one edit for each that they name.
func (f *indexFlags) entryEdits(target store.Ref) (all []entryEdit, err error) {
	of := func(ref string) *artifact.EntryEdit {
		i := slices.IndexFunc(all, func(e entryEdit) bool { return e.ref == ref })
		if i < 0 {
			i, all = len(all), append(all, entryEdit{ref: ref})
		}
		return &all[i].edit
	}
	for _, arg := range f.entryPlatforms {
		ref, platform, err := f.cutEntry(target, "--entry-platform", arg)
		if err != nil {
			return nil, err
		}
		if of(ref).Platform, err = artifact.ParsePlatform(platform); err != nil {
			return nil, err
		}
	}
	pairs := map[string][]string{}
	for _, arg := range f.entryAnnotations {
		ref, pair, err := f.cutEntry(target, "--entry-annotation", arg)
		if err != nil {
			return nil, err
		}
		pairs[ref] = append(pairs[ref], pair)
		if of(ref).Annotations, err = artifact.ParseAnnotations(pairs[ref]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (f *indexFlags) cutEntry(target store.Ref, flag, arg string) (ref, value string, err error) {
	ref, value, found := strings.Cut(arg, "=")
	if !found || ref == "" || value == "" {
		return "", "", fmt.Errorf("%w: %s %q: it is ENTRY=VALUE, where ENTRY is a tag or digest", store.ErrUsage, flag, arg)
	}
	ref, err = f.entry(target, ref)
	return ref, value, err
}

// entry reads a tag or digest of the target. A whole reference will do where it
// is of the same repository; an index can only name what lies beside it.
func (f *indexFlags) entry(target store.Ref, arg string) (string, error) {
	if store.IsDigest(arg) || target.Scheme != store.SchemeRegistry && !strings.HasPrefix(arg, target.Name()+":") && !strings.HasPrefix(arg, target.Name()+"@") {
		return arg, nil // a tag of a layout may be anything
	}
	if target.Scheme == store.SchemeRegistry && !strings.ContainsAny(arg, "/:@") {
		arg = target.Name() + ":" + arg
	}
	ref, err := store.ParseRef(arg)
	if err == nil {
		err = require(ref)
	}
	if err != nil {
		return "", err
	}
	if ref.Name() != target.Name() {
		return "", fmt.Errorf("%w: %s is not in %s; an index names what lies beside it, so copy it there first with `cp`", store.ErrUsage, ref, target.Name())
	}
	return ref.Reference(), nil
}

func (f *indexFlags) entries(target store.Ref, args []string) (refs []string, err error) {
	for _, arg := range args {
		ref, err := f.entry(target, arg)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// write writes an index to --output. It says whether that was all there is to do.
func (f *indexFlags) write(ctx context.Context, a *app, m store.Manifest) (done bool, err error) {
	var b bytes.Buffer
	if err := writeManifest(&b, m.Raw, f.pretty); err != nil {
		return false, err
	}
	if f.output == "-" {
		_, err := a.streams.Out.Write(b.Bytes())
		return true, err
	}
	return false, artifact.WriteBlob(ctx, store.NewBlob(m.MediaType, b.Bytes()), f.output)
}

// finish writes the result, and before it the index where that goes to a file.
func (f *indexFlags) finish(ctx context.Context, a *app, format ui.Format, m store.Manifest, value ui.IndexResult) error {
	if f.output != "" {
		done, err := f.write(ctx, a, m)
		if err != nil || done {
			return err
		}
		if value.Path, err = filepath.Abs(f.output); err != nil {
			return err
		}
	}
	return ui.Print(a.streams.Out, format, value, value.Text)
}

type indexCreateOptions struct {
	indexFlags
	subject string
}

// check holds the flags about the output against each other.
func (f *indexFlags) check(format ui.Format) error {
	if f.pretty && f.output == "" {
		return fmt.Errorf("%w: --pretty is about what --output writes; what is pushed is never indented", store.ErrUsage)
	}
	return checkOutput(f.output, format, false)
}

func newIndexCreate(a *app) *cobra.Command {
	o := &indexCreateOptions{}
	cmd := &cobra.Command{
		Use:     "create [flags] NAME[:TAG[,TAG...]] [{TAG|DIGEST}...]",
		Aliases: []string{"pack"},
		Short:   "Make an index of manifests and push it",
		Long: `Make an index of manifests that are in the repository, in the order in which they
are named, and push it. Each is listed with the platform that its config says and
with its artifact type. The same manifests and flags make the same digest; nothing
else goes into it.

--entry-platform and --entry-annotation name the entry as it was given, or by its
digest.`,
		Example: `  {name} manifest index create localhost:5000/app:v1 linux-amd64 linux-arm64
  {name} manifest index create --entry-platform arm=linux/arm/v7 localhost:5000/app:v1 amd64 arm
  {name} manifest index create -o index.json oci:backup linux-amd64`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runIndexCreate(cmd.Context(), a, o, args[0], args[1:])
		},
	}
	cmd.Flags().StringVar(&o.subject, "subject", "", "let the index refer to this `TAG|DIGEST` of the repository")
	o.indexFlags.register(a, cmd)
	return cmd
}

func runIndexCreate(ctx context.Context, a *app, o *indexCreateOptions, arg string, args []string) error {
	format, err := o.formatFlags.parse()
	if err == nil {
		err = o.check(format)
	}
	if err != nil {
		return err
	}
	ref, err := o.targetFlags.parse(arg)
	if err == nil && ref.Digest != "" {
		err = &store.RefError{Ref: arg, Reason: "an index makes its digest; give a tag, or nothing"}
	}
	if err != nil {
		return cannot("create the index", ref, err)
	}
	c := &creating{indexCreateOptions: o, ref: ref}
	if err := c.read(args); err != nil {
		return cannot("create the index", ref, err)
	}
	t, err := o.start(a, ui.PushVerbs())
	if err != nil {
		return err
	}
	c.sink = t.sink
	err = a.within(ref, &o.targetFlags, t.sink, func(s store.Store) error { return c.run(ctx, s) })
	t.finish()
	if err != nil {
		return cannot("create the index", ref, err)
	}
	d := c.index.Descriptor
	d.ArtifactType = o.artifactType
	written := ref
	if o.output != "" {
		written = ref.WithDigest(d.Digest) // no tag names it
	}
	value := ui.NewIndexResult(written, d, t.seen.Notes())
	value.Changed, value.Added, value.Present = true, c.added, c.twice
	return cannot("write the index of", ref, o.finish(ctx, a, format, c.index, value))
}

// creating is one create of an index.
type creating struct {
	*indexCreateOptions
	ref          store.Ref
	sink         store.Sink
	refs         []string // the entries
	edits        []entryEdit
	request      artifact.IndexRequest
	index        store.Manifest
	added, twice []digest.Digest
}

// read reads the flags and arguments.
func (c *creating) read(args []string) (err error) {
	if c.refs, err = c.entries(c.ref, args); err != nil {
		return err
	}
	if c.edits, err = c.entryEdits(c.ref); err != nil {
		return err
	}
	if c.subject != "" {
		if c.subject, err = c.entry(c.ref, c.subject); err != nil {
			return err
		}
	}
	c.request.ArtifactType = c.artifactType
	c.request.Annotations, err = artifact.ParseAnnotations(c.annotations)
	return err
}

func (c *creating) run(ctx context.Context, s store.Store) error {
	entries, err := graph.Entries(ctx, s, c.refs)
	if err != nil {
		return err
	}
	if err := c.apply(entries); err != nil {
		return err
	}
	for _, d := range entries {
		if slices.Contains(c.added, d.Digest) {
			c.twice = append(c.twice, d.Digest) // under another name
			continue
		}
		c.added = append(c.added, d.Digest)
		c.request.Manifests = append(c.request.Manifests, d)
	}
	if c.subject != "" {
		d, err := s.Resolve(ctx, c.subject)
		if err != nil {
			return fmt.Errorf("the subject %s: %w", c.subject, err)
		}
		d = store.Plain(d)
		c.request.Subject = &d
	}
	if c.index, err = artifact.NewIndex(c.request); err != nil || c.output != "" {
		return err
	}
	return graph.Put(ctx, c.index, s, graph.CopyOptions{Options: graph.Options{Tags: c.ref.Tags, Events: c.sink}})
}

// apply changes the entries that the flags name.
func (c *creating) apply(entries []store.Descriptor) error {
	for _, e := range c.edits {
		found := false
		for i := range entries {
			if c.refs[i] == e.ref || entries[i].Digest.String() == e.ref {
				e.edit.Apply(&entries[i])
				found = true
			}
		}
		if !found {
			return fmt.Errorf("%w: %s is given a platform or an annotation, and is none of the entries", store.ErrUsage, e.ref)
		}
	}
	return nil
}
