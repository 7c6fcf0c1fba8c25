package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// tally is what backup and restore have in common: many repositories, each with
// many tags, of which some may fail.
type tally struct {
	*app
	told
	flags *targetFlags
	hosts *hosts
	value ui.BackupResult
	bad   []*failure // of the repositories that failed
}

func newTally(a *app, t told, flags *targetFlags) *tally {
	h := &hosts{app: a, flags: flags, sink: t.sink, open: map[string]store.Registry{}}
	return &tally{app: a, told: t, flags: flags, hosts: h}
}

// say writes a status line in the words of ORAS to stderr, unless that has only
// events or nothing.
func (k *tally) say(format string, args ...any) {
	if mode := ui.Mode(k.flags.progress.mode); mode != ui.ModeJSON && mode != ui.ModeNone {
		fmt.Fprintln(k.streams.Err, ui.Escape(fmt.Sprintf(format, args...)))
	}
}

// keep adds a repository to the result, and the reason why it failed, if it did.
func (k *tally) keep(kept ui.KeptRepository, f *failure) {
	if f.err != nil {
		var some *graph.FailedError
		if !errors.As(f.err, &some) {
			kept.Error = f.err.Error()
			whole := graph.RootResult{Root: graph.Root{Ref: kept.Repository}, Err: f.err}
			k.flags.progress.failedTag(k.app, k.sink, whole, kept.Repository+" failed")
		}
		k.bad = append(k.bad, f)
	}
	k.value.Repositories = append(k.value.Repositories, kept)
}

// tell says what became of a tag, on stderr, and gives it for the result.
func (k *tally) tell(verb string, r graph.RootResult) ui.CopiedTag {
	t := ui.CopiedTag{Tag: r.Ref, Digest: r.Desc.Digest, MediaType: r.Desc.MediaType, Size: r.Desc.Size, Outcome: ui.OutcomeCopied}
	switch {
	case r.Err != nil:
		t.Outcome, t.Error = ui.OutcomeFailed, r.Err.Error()
		k.flags.progress.failedTag(k.app, k.sink, r, "the tag "+r.Ref+" failed")
	case r.Exists:
		t.Outcome = ui.OutcomeExists
		k.say("Exists tag %s", r.Ref)
	default:
		if k.value.DryRun {
			t.Outcome = ui.OutcomeWould
		}
		k.say("%s tag %s", verb, r.Ref)
	}
	return t
}

// fewTags are listed in one line.
const fewTags = 5

// found tells what there is to do, in the form of ORAS.
func (k *tally) found(tags []string, where string) {
	if len(tags) <= fewTags {
		k.say("Found %d tag(s) %s: %s", len(tags), where, strings.Join(tags, ", "))
		return
	}
	k.say("Found %d tag(s) %s:", len(tags), where)
	for _, t := range tags {
		k.say("%s", t)
	}
}

// failed is the error of the first repository that failed, and names all of them:
// what was said of each on the way may have scrolled away.
func (k *tally) failed() error {
	if len(k.bad) == 0 {
		return nil
	}
	f := *k.bad[0]
	if len(k.bad) > 1 {
		var names []string
		for _, b := range k.bad {
			names = append(names, repositoryOf(b.ref))
		}
		verb := strings.TrimSuffix(f.what, names[0])
		f.what = fmt.Sprintf("%s%d of %d repositories: %s", verb, len(names), len(k.value.Repositories), strings.Join(names, ", "))
		f.err = fmt.Errorf("%s: %w", names[0], f.err)
	}
	return &f
}

// report prints the result, if there is one, and gives the error.
func (k *tally) report(format ui.Format, text func(io.Writer) error, err error) error {
	if err == nil {
		err = k.failed()
	}
	done := slices.ContainsFunc(k.value.Repositories, func(r ui.KeptRepository) bool { return r.Copied+r.WouldCopy+r.Exist > 0 })
	if err != nil && !done {
		return err // there is no more to tell than that
	}
	k.value.Tell(k.seen)
	if told := ui.Print(k.streams.Out, format, k.value, text); told != nil || err == nil {
		return told
	}
	return err
}
