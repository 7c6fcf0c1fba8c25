package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

type pullOptions struct {
	progressFlags
	formatFlags
	targetFlags
	unpack         artifact.UnpackOptions
	limits         unpackLimits
	config         string
	platform       string
	includeSubject bool
}

const (
	// defaultOutput is where pull writes without --output.
	defaultOutput = "."
	// outputStdout is the output of a single file to standard output.
	outputStdout = "-"
)

func newPull(a *app) *cobra.Command {
	o := &pullOptions{}
	o.connections = several
	cmd := &cobra.Command{
		Use:   "pull [flags] NAME{:TAG|@DIGEST}",
		Short: "Pull the files of an artifact",
		Long: `Pull the files of an artifact into a directory. A file gets its name only when
all of its bytes are there and proven, and only when all files are; what is
there stays until then. A pull that was cut goes on from what it has when it is
run again. What is there with the same content is not fetched again, nor is a
directory that is there as it was packed.

--include and --exclude choose files by their titles; what is not chosen is not
fetched. *, ? and [a-z] stop at a slash, ** as a whole part is any number of
parts: docs/** is all below docs. A pattern without a slash is held against the
last part of a title, as in .gitignore; with one, against all of it. A packed
directory is chosen as a whole, by its title. --exclude decides over --include.

-o - writes one file to standard output and nothing else, its last bytes only
when all of them are proven; a packed directory goes out as it is stored, a
compressed tar. Choose by --include where there are more.

Layers without a title, such as those of images and Helm charts, have no name to
be written under. --name-untitled calls them by the digits of their digest and
an extension for their media type, such as .tar.gz, and .tgz for a chart.

A file that was pushed with --preserve mode gets that mode, under the umask.`,
		Example: `  {name} pull localhost:5000/app:v1
  {name} pull -o out localhost:5000/app:v1
  {name} pull --include '*.json' --exclude 'test/**' localhost:5000/app:v1
  {name} pull -o - --include config.yaml localhost:5000/app:v1
  {name} pull --name-untitled --config config.json localhost:5000/charts/app:1.0.0
  {name} pull --platform linux/arm64 localhost:5000/app:all`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runPull(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.unpack.Dir, "output", "o", defaultOutput, "`DIR` to write to; - is standard output, for one file")
	fs.BoolVarP(&o.unpack.KeepOld, "keep-old-files", "k", false, "stop rather than replace a file of other content")
	fs.BoolVarP(&o.unpack.AllowTraversal, "allow-path-traversal", "T", false, "let titles lead out of the output directory")
	fs.BoolVar(&o.includeSubject, "include-subject", false, "pull the subject too, and its subject")
	fs.StringVar(&o.config, "config", "", "save the config as `FILE[:TYPE]`, if it has that type")
	fs.StringVar(&o.platform, "platform", "", "pull this `OS[/ARCH[/VARIANT]][:OSVERSION]` of an index")
	fs.StringArrayVar(&o.unpack.Filter.Include, "include", nil, "pull only files whose title matches the `GLOB`; may be repeated")
	fs.StringArrayVar(&o.unpack.Filter.Exclude, "exclude", nil, "do not pull files whose title matches the `GLOB`; may be repeated")
	fs.BoolVar(&o.unpack.NameUntitled, "name-untitled", false, "name layers without a title by digest and media type")
	o.limits.register(cmd)
	concurrencyFlag(cmd, &o.unpack.Concurrency, artifact.DefaultUnpackConcurrency)
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.progressFlags.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

func runPull(ctx context.Context, a *app, o *pullOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	ref, err := o.targetFlags.parse(arg)
	if err == nil {
		err = require(ref)
	}
	if err == nil && o.config != "" {
		var f artifact.File
		f, err = artifact.ParseFileArg(o.config)
		o.unpack.Config, o.unpack.ConfigType = f.Path, f.MediaType
	}
	if err == nil {
		err = o.unpack.Filter.Check()
	}
	if err == nil {
		err = o.limits.apply(&o.unpack)
	}
	if err == nil && o.toStdout() {
		err = o.checkStdout(format)
	}
	if err != nil {
		return cannot("pull", ref, err)
	}
	t, err := o.start(a, ui.PullVerbs())
	if err != nil {
		return err
	}
	p := &pulling{pullOptions: o, sink: t.sink, out: a.streams.Out}
	err = p.run(ctx, a, ref)
	t.finish()
	if p.root != "" && errors.Is(err, store.ErrNotFound) {
		err = &hint{err, isIncomplete} // unless a failure says more
	}
	if err != nil || o.toStdout() {
		return cannot("pull", ref, err)
	}
	value := ui.NewPullResult(a.name, ref, p.root, t.seen.Notes())
	if value.Skipped = len(p.result.Untitled); value.Skipped > 0 {
		fmt.Fprintf(a.streams.Err, "%s: layers without a title are pulled with --name-untitled\n", a.name)
	}
	for _, f := range p.result.Files {
		value.Files = append(value.Files, ui.File{Path: f.Path, Descriptor: ui.Describe(ref, f.Descriptor)})
	}
	return ui.Print(a.streams.Out, format, value, value.Text)
}

// pulling is one pull: the manifests that it meets, and what became of them.
type pulling struct {
	*pullOptions
	sink   store.Sink
	out    io.Writer // standard output
	src    store.Store
	root   digest.Digest
	result artifact.Result
}

func (p *pulling) run(ctx context.Context, a *app, ref store.Ref) (err error) {
	s, err := a.open(ref, &p.targetFlags, p.sink)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	p.src, p.unpack.Events = s, p.sink
	name := ref.Reference()
	if p.platform != "" {
		d, err := selectPlatform(ctx, s, name, p.platform)
		if err != nil {
			return err
		}
		name = d.Digest.String()
	}
	m, err := s.Manifest(ctx, name)
	if err != nil {
		return err
	}
	p.root = m.Digest
	all, err := p.manifests(ctx, m)
	if err != nil {
		return err
	}
	chosen, err := artifact.Select(all, p.unpack)
	if err != nil {
		f := &failure{what: "pull " + ref.String(), ref: ref, err: err}
		if errors.Is(err, store.ErrNotFound) {
			f.do = "write a pattern that matches; quote it, so that the shell leaves it as it is"
		}
		return f
	}
	if p.toStdout() {
		return p.pipe(ctx, chosen)
	}
	if err := artifact.CheckTogether(all, p.unpack); err != nil {
		f := &failure{what: "pull " + ref.String(), ref: ref, err: err}
		if len(all) > 1 && errors.Is(err, store.ErrExists) {
			f.do = "pull one of the manifests: with --platform, or by its digest"
		}
		return f
	}
	for _, m := range all {
		if err := p.files(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// maxTogether bounds the manifests of one pull, which are held in memory until
// it is clear that none of their files is in the way of another.
const maxTogether = 32 << 20

// manifests gives m, the manifests of an index, and subjects where they are
// asked for, each once and without the indexes.
func (p *pulling) manifests(ctx context.Context, m store.Manifest) (all []store.Manifest, err error) {
	seen := map[digest.Digest]bool{m.Digest: true}
	level, held := []store.Manifest{m}, m.Size
	for depth := 0; len(level) > 0; depth++ {
		if depth > graph.MaxDepth {
			return nil, fmt.Errorf("%w: its indexes are more than %d levels deep", store.ErrInvalid, graph.MaxDepth)
		}
		var next []store.Manifest
		for _, m := range level {
			o, err := store.ParseOutline(m)
			if err != nil {
				return nil, err
			}
			if len(o.Manifests) == 0 {
				all = append(all, m)
			}
			for _, d := range p.below(o) {
				if seen[d.Digest] {
					continue
				}
				seen[d.Digest] = true
				child, err := p.child(ctx, d)
				if err != nil {
					return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
				}
				if held += child.Size; held > maxTogether {
					return nil, fmt.Errorf("%w: its manifests have over %d bytes together; pull them by platform or digest", store.ErrTooLarge, maxTogether)
				}
				next = append(next, child)
			}
		}
		level = next
	}
	return all, nil
}

// below is what a manifest leads to.
func (p *pulling) below(o *store.Outline) []store.Descriptor {
	if p.includeSubject && o.Subject != nil {
		return append(slices.Clone(o.Manifests), *o.Subject)
	}
	return o.Manifests
}

// child reads a manifest that another one names.
func (p *pulling) child(ctx context.Context, d store.Descriptor) (store.Manifest, error) {
	m, err := p.src.Manifest(ctx, d.Digest.String())
	if err != nil {
		return m, err
	}
	return m, graph.CheckNamed(m, d)
}

func (p *pulling) files(ctx context.Context, m store.Manifest) error {
	r, err := artifact.Unpack(ctx, p.src, m, p.unpack)
	p.result.Files = append(p.result.Files, r.Files...)
	p.result.Untitled = append(p.result.Untitled, r.Untitled...)
	return err
}
