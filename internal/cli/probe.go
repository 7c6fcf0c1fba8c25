package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

type probeOptions struct {
	progressFlags
	formatFlags
	targetFlags
	write     bool
	mountFrom string
}

func newProbe(a *app) *cobra.Command {
	o := &probeOptions{}
	cmd := &cobra.Command{
		Use:   "probe [flags] NAME[:TAG|@DIGEST] [NAME2[:TAG|@DIGEST]]",
		Short: "Find out what a registry can do",
		Long: `Find out what a registry can do in a repository: each ability is yes, no or
unknown, with the request and the answer that show it. What is unknown is never
taken for a no.

Without --write nothing is changed, and what only writing shows is unknown.
With --write small artifacts of no meaning are pushed, read back and deleted;
what could not be deleted is named. A repository that did not exist may stay
behind, empty: registries have no request to delete one.

With two names both are shown side by side, and what can be copied from the
first to the second without another digest.`,
		Example: `  {name} probe localhost:5000/app:v1
  {name} probe --write localhost:5000/scratch --format json
  {name} probe localhost:5000/app reg.example.com/app`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return runProbe(cmd.Context(), a, o, args) },
	}
	cmd.Flags().BoolVar(&o.write, "write", false, "also push, read back and delete small artifacts")
	cmd.Flags().StringVar(&o.mountFrom, "mount-from", "", "`REPOSITORY` of the same registry, with content, to mount a blob from (with --write)")
	o.targetFlags.register(a, cmd, &o.progressFlags, false)
	o.registerDebug(cmd)
	cmd.Flags().StringVar(&o.format, "format", string(ui.KindText), "`FORM` of the result: text, table, json or go-template[=TEMPLATE]")
	cmd.Flags().StringVar(&o.template, "template", "", templateUsage)
	complete(cmd, "format", "text", "table", "json", "go-template")
	return cmd
}

func runProbe(ctx context.Context, a *app, o *probeOptions, args []string) error {
	format, err := ui.ParseFormat(o.format, o.template, ui.KindText, ui.KindTable, ui.KindJSON, ui.KindTemplate)
	if err != nil {
		return err
	}
	if o.mountFrom != "" && (!o.write || len(args) > 1) {
		return fmt.Errorf("%w: --mount-from needs --write and one repository", store.ErrUsage)
	}
	var refs []store.Ref
	for _, arg := range args {
		ref, err := o.parseProbed(arg)
		if err != nil {
			return cannot("probe", ref, err)
		}
		refs = append(refs, ref)
	}
	var results []ui.ProbeResult
	var failed error
	for _, ref := range refs {
		r, err := o.probe(ctx, a, ref)
		if err != nil && len(r.Abilities) == 0 {
			return cannot("probe", ref, err)
		}
		if err != nil && failed == nil {
			failed = cannot("probe", ref, err) // told after what was found: that it refuses is evidence too
		}
		results = append(results, r)
	}
	value, text := any(results[0]), results[0].Text
	if len(results) == 2 {
		pair := ui.NewProbePair(results[0], results[1])
		value, text = pair, pair.Text
	}
	if err := ui.Print(a.streams.Out, format, value, text); err != nil {
		return err
	}
	return failed
}

func (o *probeOptions) parseProbed(arg string) (store.Ref, error) {
	ref, err := o.targetFlags.parse(arg)
	if err != nil {
		return ref, err
	}
	if len(ref.Tags) > 1 {
		return ref, &store.RefError{Ref: arg, Reason: "only one tag can be read"}
	}
	if o.mountFrom != "" {
		other, err := store.ParseRef(ref.Host + "/" + o.mountFrom)
		if err != nil || other.Repo != o.mountFrom {
			return ref, fmt.Errorf("%w: --mount-from %q is not a repository", store.ErrUsage, o.mountFrom)
		}
	}
	return ref, nil
}

// probe asks a registry, or a layout for what it knows of itself.
func (o *probeOptions) probe(ctx context.Context, a *app, ref store.Ref) (r ui.ProbeResult, err error) {
	t := o.quiet(a)
	defer t.finish()
	if ref.Scheme != store.SchemeRegistry {
		s, err := a.open(ref, &o.targetFlags, t.sink)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		return ui.NewProbeResult(ref, s.Support()), nil
	}
	opts, err := o.remoteOptions(a, t.sink)
	if err != nil {
		return r, err
	}
	report, err := remote.Probe(ctx, ref, opts, remote.ProbeOptions{Write: o.write, MountFrom: o.mountFrom})
	answered := func(f store.Finding) bool { return f.Answer != store.Unknown }
	if err == nil || slices.ContainsFunc(slices.Collect(maps.Values(report.Support)), answered) {
		r = ui.NewProbeResult(ref, report.Support)
		r.As, r.Wrote, r.Left, r.Notes = report.As, report.Wrote, report.Left, report.Notes
	}
	return r, err
}
