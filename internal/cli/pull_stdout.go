package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

func (o *pullOptions) toStdout() bool { return o.unpack.Dir == outputStdout }

// checkStdout refuses what would have to write to standard output beside the
// file, or to another place.
func (o *pullOptions) checkStdout(format ui.Format) error {
	switch {
	case format.Kind != ui.KindText:
		return fmt.Errorf("%w: with -o - the file is the output, so that there is no room for --format %s", store.ErrUsage, format.Kind)
	case o.config != "":
		return fmt.Errorf("%w: -o - writes one file, so that --config has no place to write to", store.ErrUsage)
	}
	return nil
}

// pipe writes the one layer that was chosen to standard output.
func (p *pulling) pipe(ctx context.Context, chosen []artifact.Layer) error {
	if len(chosen) != 1 {
		titles := make([]string, 0, len(chosen))
		for _, l := range chosen {
			titles = append(titles, l.Title)
		}
		how := "choose one with --include"
		switch {
		case len(chosen) == 0 && !p.unpack.NameUntitled:
			how = "--name-untitled gives layers names that have none"
		case len(titles) > 1 && len(slices.Compact(slices.Clone(titles))) == 1:
			how = "several manifests have it; choose one with --platform, or by its digest"
		}
		return fmt.Errorf("%w: -o - takes exactly one file, and there %s; %s", store.ErrUsage, artifact.AreTitles(titles), how)
	}
	d := chosen[0].Descriptor
	b, err := p.src.Blob(ctx, d)
	if err != nil {
		return err
	}
	b.Descriptor = d // it has the title, and the size that is proven
	told := store.Event{Kind: store.Start, Desc: d, Name: store.NameOf(d)}
	p.sink.Emit(told)
	if err := p.copyProven(ctx, store.CountBlob(b, p.sink)); err != nil {
		told.Kind, told.Text = store.Failed, err.Error()
		p.sink.Emit(told)
		return err
	}
	told.Kind, told.How = store.Done, store.Sent
	p.sink.Emit(told)
	return nil
}

// copyProven gives out the last bytes only when all of them are proven: who
// reads the pipe must not take what was cut for the whole. That the whole is not
// there, the exit code says.
func (p *pulling) copyProven(ctx context.Context, b store.Blob) error {
	rc, err := store.VerifyBlob(b).Open(ctx, 0)
	if err != nil {
		return err
	}
	defer rc.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{p.out}, struct{ io.Reader }{rc}, make([]byte, pipeBuffer))
	return err
}

// pipeBuffer is how much of a file is read at a time, at most.
const pipeBuffer = 256 << 10
