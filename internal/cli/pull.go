package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

type pullOptions struct {
	progressFlags
	formatFlags
	targetFlags
	unpack         artifact.UnpackOptions
	config         string
	platform       string
	includeSubject bool
}

// defaultOutput is where pull writes without --output.
const defaultOutput = "."

func newPull(a *app) *cobra.Command {
	o := &pullOptions{}
	cmd := &cobra.Command{
		Use:   "pull [flags] NAME{:TAG|@DIGEST}",
		Short: "Pull the files of an artifact",
		Long: `Pull the files of an artifact into a directory. A file gets its name only when
all of its bytes are there and proven, and only when all files are; what is
there stays until then. A pull that was cut goes on from what it has when it is
run again.`,
		Example: `  {name} pull localhost:5000/app:v1
  {name} pull -o out localhost:5000/app:v1
  {name} pull --platform linux/arm64 localhost:5000/app:all`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runPull(cmd.Context(), a, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.unpack.Dir, "output", "o", defaultOutput, "`DIR` to write to")
	fs.BoolVarP(&o.unpack.KeepOld, "keep-old-files", "k", false, "stop rather than replace a file")
	fs.BoolVarP(&o.unpack.AllowTraversal, "allow-path-traversal", "T", false, "let titles lead out of the output directory")
	fs.BoolVar(&o.includeSubject, "include-subject", false, "pull the subject too, and its subject")
	fs.StringVar(&o.config, "config", "", "save the config as `FILE[:TYPE]`, if it has that type")
	fs.StringVar(&o.platform, "platform", "", "pull this `OS[/ARCH[/VARIANT]][:OSVERSION]` of an index")
	fs.IntVar(&o.unpack.Concurrency, "concurrency", artifact.DefaultUnpackConcurrency, pinUsage)
	o.targetFlags.register(cmd, &o.progressFlags, false)
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
	if err != nil {
		return cannot("pull", ref, err)
	}
	t, err := o.start(a, ui.PullVerbs())
	if err != nil {
		return err
	}
	p := &pulling{pullOptions: o, sink: t.sink}
	err = p.run(ctx, a, ref)
	t.finish()
	if err != nil {
		return cannot("pull", ref, err)
	}
	value := ui.NewPullResult(a.name, ref, p.root, t.seen.Notes())
	value.Skipped = len(p.result.Untitled)
	for _, f := range p.result.Files {
		value.Files = append(value.Files, ui.File{Path: f.Path, Descriptor: ui.Describe(ref, f.Descriptor)})
	}
	return ui.Print(a.streams.Out, format, value, value.Text)
}

// pulling is one pull: the manifests that it meets, and what became of them.
type pulling struct {
	*pullOptions
	sink   store.Sink
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

// manifests gives m, the manifests of an index, and subjects where they are
// asked for, each once and without the indexes.
func (p *pulling) manifests(ctx context.Context, m store.Manifest) (all []store.Manifest, err error) {
	seen := map[digest.Digest]bool{}
	queue := []store.Manifest{m}
	for len(queue) > 0 {
		m, queue = queue[0], queue[1:]
		if seen[m.Digest] {
			continue
		}
		seen[m.Digest] = true
		o, err := store.ParseOutline(m)
		if err != nil {
			return nil, err
		}
		if len(o.Manifests) == 0 {
			all = append(all, m)
		}
		next := o.Manifests
		if p.includeSubject && o.Subject != nil {
			next = append(next, *o.Subject)
		}
		for _, d := range next {
			child, err := p.src.Manifest(ctx, d.Digest.String())
			if err != nil {
				return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
			}
			queue = append(queue, child)
		}
	}
	return all, nil
}

func (p *pulling) files(ctx context.Context, m store.Manifest) error {
	r, err := artifact.Unpack(ctx, p.src, m, p.unpack)
	p.result.Files = append(p.result.Files, r.Files...)
	p.result.Untitled = append(p.result.Untitled, r.Untitled...)
	return err
}
