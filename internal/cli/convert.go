package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type convertOptions struct {
	progressFlags
	format, template string
	source, dest     targetFlags
	to               string
	tags             []string
	toRepo           string
	recursive        bool
	image            artifact.ConvertOptions
	keepOriginal     bool
	dryRun           bool
	mapFile          string
	concurrency      int
}

// What convert can convert to.
const (
	toImage    = "image"
	toOriginal = "original"
)

func newConvert(a *app) *cobra.Command {
	o := &convertOptions{}
	o.dest.prefix = "to-"
	cmd := &cobra.Command{
		Use:   "convert [flags] --to image|original NAME{:TAG|@DIGEST}",
		Short: "Upgrade artifact manifests to image manifests, and back",
		Long: `Upgrade artifact manifests, which image-spec 1.1 left out in the end, to image
manifests, and whatever names them: an index that holds one, and with -r all
that refers to one. Each gets a new digest; the map of old and new digests is
the result. The same input gives the same digests everywhere, and a second run
changes nothing.

The old manifests stay. Tags move only with --tag, after everything else. What
was signed is the old digest: signatures of what got a new one are taken along
with -r and listed as stale, never called valid.

With --keep-original the old bytes are kept as a referrer of the new manifest,
and --to original brings exactly them back.`,
		Example: `  # what would become of it; nothing is written
  {name} convert --to image -r --dry-run localhost:5000/app:v1

  # with all that refers to it, and a way back
  {name} convert --to image -r --keep-original --tag v1 --map map.json localhost:5000/app:v1

  # into another repository, or a layout
  {name} convert --to image -r --to-repo oci:upgraded --tag v1 localhost:5000/app:v1

  # the way back
  {name} convert --to original --tag v1 localhost:5000/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runConvert(cmd.Context(), a, o, args[0]) },
	}
	o.register(a, cmd)
	return cmd
}

func (o *convertOptions) register(a *app, cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.to, "to", "", "`KIND` to convert to: image, or original for what --keep-original kept")
	fs.StringSliceVar(&o.tags, "tag", nil, "point this `TAG` at the result; without it no tag moves")
	fs.StringVar(&o.toRepo, "to-repo", "", "write into this `REPOSITORY` or layout instead of the one that is read")
	fs.BoolVarP(&o.recursive, "recursive", "r", false, "convert what refers to the artifact too")
	fs.StringVar(&o.image.ArtifactType, "artifact-type", "", "media `TYPE` for artifact manifests that have none")
	fs.BoolVar(&o.image.KeepUnknown, "keep-unknown", false, "carry fields over that no specification knows, instead of refusing")
	fs.BoolVar(&o.image.RenameAnnotations, "rename-annotations", false, "call org.opencontainers.artifact.created and .description by their names in image-spec 1.1")
	fs.BoolVar(&o.keepOriginal, "keep-original", false, "keep the old bytes as a referrer of what stands for them")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print the map; write nothing")
	fs.StringVar(&o.mapFile, "map", "", "write the map as JSON to `FILE`")
	concurrencyFlag(cmd, &o.concurrency, graph.DefaultConcurrency)
	fs.StringVar(&o.format, "format", string(ui.KindText), "`FORM` of the result: text, table, json or go-template[=TEMPLATE]")
	fs.StringVar(&o.template, "template", "", templateUsage)
	complete(cmd, "format", "text", "table", "json", "go-template")
	complete(cmd, "to", toImage, toOriginal)
	o.source.register(a, cmd, &o.progressFlags, true)
	o.dest.register(a, cmd, &o.progressFlags, true)
	o.progressFlags.register(cmd)
}

func runConvert(ctx context.Context, a *app, o *convertOptions, arg string) error {
	format, err := ui.ParseFormat(o.format, o.template, ui.KindText, ui.KindTable, ui.KindJSON, ui.KindTemplate)
	if err != nil {
		return err
	}
	c := &conversion{convertOptions: o}
	c.src, err = o.source.parse(arg)
	if err == nil {
		err = require(c.src)
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return cannot("convert", c.src, err)
	}
	t, err := o.start(a, ui.CopyVerbs())
	if err != nil {
		return err
	}
	c.sink = t.sink
	done, err := c.run(ctx, a)
	t.finish()
	if err != nil {
		return cannot("convert", c.src, err)
	}
	value := c.result(done, t.seen.Notes())
	if o.mapFile != "" {
		if err := writeMap(o.mapFile, value.Map); err != nil {
			return cannot("write the map of", c.src, err)
		}
	}
	if format.Kind == ui.KindTable {
		return value.Table(a.streams.Out)
	}
	return ui.Print(a.streams.Out, format, value, value.Text)
}

func writeMap(file string, m ui.List[ui.Converted]) error {
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o666)
}

// conversion is one run of convert.
type conversion struct {
	*convertOptions
	src, dst store.Ref
	sink     store.Sink

	from   store.Store
	pinned *keptOriginal // the original that was named, where one was
}

// check finds what contradicts itself before anything is opened.
func (c *conversion) check() error {
	c.dst = c.src.WithTags()
	if c.toRepo != "" {
		var err error
		if c.dst, err = c.dest.parse(c.toRepo); err != nil {
			return err
		}
		if c.dst.Reference() != "" {
			return &store.RefError{Ref: c.toRepo, Reason: "it names a repository; tags are given by --tag"}
		}
	}
	onlyImage := c.image != artifact.ConvertOptions{} || c.keepOriginal
	switch {
	case c.to == "":
		return fmt.Errorf("%w: --to is missing: image or original", store.ErrUsage)
	case c.to != toImage && c.to != toOriginal:
		return fmt.Errorf("%w: --to is image or original, not %q", store.ErrUsage, c.to)
	case c.to == toOriginal && onlyImage:
		return fmt.Errorf("%w: --to original brings bytes back as they were; --artifact-type, --keep-original, --keep-unknown and --rename-annotations are for --to image", store.ErrUsage)
	}
	_, err := store.ParseRef("localhost/x:" + strings.Join(c.tags, ","))
	if len(c.tags) > 0 && err != nil && c.dst.Scheme == store.SchemeRegistry {
		return fmt.Errorf("%w: --tag %s: not a tag, or twice the same", store.ErrUsage, strings.Join(c.tags, ","))
	}
	return nil
}

func (c *conversion) run(ctx context.Context, a *app) (done graph.Rewritten, err error) {
	same := c.dst.Name() == c.src.Name()
	switch {
	case c.dryRun:
	case same:
		c.source.actions = toPush
	default:
		c.dest.pushes(c.src, c.dst)
	}
	if c.from, err = a.open(c.src, &c.source, c.sink); err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, c.from.Close()) }()
	into := c.from
	if !same {
		if into, err = a.open(c.dst, &c.dest, c.sink); err != nil {
			return done, err
		}
		defer func() { err = errors.Join(err, into.Close()) }()
	}
	root, err := c.from.Resolve(ctx, c.src.Reference())
	if err != nil {
		return done, err
	}
	opts := graph.RewriteOptions{
		Options:   graph.Options{Tags: c.tags, Concurrency: c.concurrency, Events: c.sink},
		Referrers: c.recursive, Same: same, DryRun: c.dryRun, Change: c.upgrade,
	}
	if c.to == toOriginal {
		opts.Change = c.restore
		if root, err = c.findOriginal(ctx, root); err != nil {
			return done, err
		}
	}
	return graph.Rewrite(ctx, c.from, into, root, opts)
}

// upgrade is the change of --to image.
func (c *conversion) upgrade(_ context.Context, n *graph.Node, moved graph.Moved) (ch graph.Change, err error) {
	m := n.Manifest
	if artifact.IsArtifactManifest(m.MediaType) {
		if m, err = artifact.ToImage(m, c.image); err != nil {
			return ch, err
		}
		ch.Blobs = append(ch.Blobs, artifact.EmptyBlob())
	}
	if ch.Manifest, _, err = artifact.Repoint(m, moved); err != nil {
		return ch, err
	}
	if !c.keepOriginal || ch.Digest == n.Digest || artifact.IsOriginal(n.Outline) {
		return ch, nil
	}
	kept, blobs, err := artifact.Original(n.Manifest, ch.Descriptor)
	ch.Referrers, ch.Blobs = append(ch.Referrers, kept), append(ch.Blobs, blobs...)
	return ch, err
}

// restore is the change of --to original.
func (c *conversion) restore(ctx context.Context, n *graph.Node, _ graph.Moved) (graph.Change, error) {
	if artifact.IsOriginal(n.Outline) {
		return graph.Change{Manifest: n.Manifest, Leave: true}, nil
	}
	kept, err := c.originalOf(ctx, n.Descriptor)
	if err != nil || kept == nil {
		return graph.Change{Manifest: n.Manifest}, err
	}
	b, err := c.from.Blob(ctx, kept.old)
	if err != nil {
		return graph.Change{}, err
	}
	raw, err := store.ReadBlob(ctx, b, maxManifest)
	if err != nil {
		return graph.Change{}, err
	}
	m, err := artifact.Restore(kept.old, raw)
	return graph.Change{Manifest: m}, err
}

// keptOriginal is a referrer that keeps an old manifest, and of what.
type keptOriginal struct{ by, old, subject store.Descriptor }

// findOriginal gives the root to restore from. A reference may name what keeps
// an original: then it is that one, where several are kept.
func (c *conversion) findOriginal(ctx context.Context, root store.Descriptor) (store.Descriptor, error) {
	m, err := c.from.Manifest(ctx, root.Digest.String())
	if err != nil {
		return root, err
	}
	o, err := store.ParseOutline(m)
	if err != nil {
		return root, err
	}
	if artifact.IsOriginal(o) {
		old, subject, err := artifact.ParseOriginal(m)
		c.pinned = &keptOriginal{m.Descriptor, old, subject}
		return subject, err
	}
	kept, err := c.originalOf(ctx, root)
	if err == nil && kept == nil && !c.recursive {
		err = fmt.Errorf("%w: nothing that refers to %s keeps an original of it (%s)", store.ErrNotFound, root.Digest, artifact.OriginalType)
	}
	return root, err
}

// originalOf finds the original that is kept for a manifest; nil without one.
func (c *conversion) originalOf(ctx context.Context, d store.Descriptor) (*keptOriginal, error) {
	if c.pinned != nil && c.pinned.subject.Digest == d.Digest {
		return c.pinned, nil
	}
	list, err := store.Collect(c.from.Referrers(ctx, d.Digest, artifact.OriginalType))
	if err != nil {
		return nil, err
	}
	var found []keptOriginal
	for _, by := range list {
		m, err := c.from.Manifest(ctx, by.Digest.String())
		if err != nil {
			return nil, err
		}
		old, subject, err := artifact.ParseOriginal(m)
		if err != nil {
			return nil, err
		}
		if subject.Digest != d.Digest {
			return nil, fmt.Errorf("%w: %s is listed as a referrer of %s, and does not name it as its subject", store.ErrInvalid, by.Digest, d.Digest)
		}
		if !slices.ContainsFunc(found, func(k keptOriginal) bool { return k.old.Digest == old.Digest }) {
			found = append(found, keptOriginal{by, old, subject})
		}
	}
	if len(found) > 1 {
		var names []string
		for _, k := range found {
			names = append(names, fmt.Sprintf("%s keeps %s", k.by.Digest, k.old.Digest))
		}
		return nil, fmt.Errorf("%w: %s has several originals: %s; name the one that keeps the wanted one instead", store.ErrUsage, d.Digest, strings.Join(names, ", "))
	}
	if len(found) == 0 {
		return nil, nil
	}
	return &found[0], nil
}

// result is what the rewrite came to, as it is shown.
func (c *conversion) result(done graph.Rewritten, notes ui.Notes) ui.ConvertResult {
	r := ui.NewConvertResult(c.src, c.dst, done.Root, notes)
	r.To, r.Tags, r.DryRun, r.Recursive = c.to, c.tags, c.dryRun, c.recursive
	root := 0
	for i, m := range done.Map {
		r.Map = append(r.Map, c.converted(m))
		if m.New.Digest == done.Root.Digest {
			root = i
		}
	}
	if len(r.Map) > 0 && c.src.Digest == "" && r.Map[root].New.Digest == done.Root.Digest {
		r.Map[root].Tags = c.src.Tags
	}
	return r
}

func (c *conversion) converted(m graph.Mapped) ui.Converted {
	e := ui.Converted{Old: namedManifest(m.Old.Manifest), New: namedManifest(m.New)}
	for _, why := range m.Reasons {
		e.Reasons = append(e.Reasons, string(why))
	}
	e.Stale = c.to == toImage && slices.Contains(m.Reasons, graph.SubjectMoved) && artifact.IsSignature(m.Old.Outline)
	if m.Dangling {
		e.DanglingSubject = m.Old.Outline.Subject.Digest
	}
	if c.to == toImage {
		for _, d := range m.Left {
			e.Left = append(e.Left, d.Digest)
		}
	}
	for _, kept := range m.Referrers {
		e.Original = kept.Digest
	}
	return e
}

func namedManifest(m store.Manifest) ui.Named {
	n := ui.Named{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size}
	if o, err := store.ParseOutline(m); err == nil {
		n.ArtifactType = o.ArtifactType
	}
	return n
}
