package cli

import (
	"fmt"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/graph"
	"github.com/stet-oci/stet/pkg/store"
)

// failedTag tells of a tag, or a repository, that failed while others go on: in a sentence, or as an
// event where stderr has nothing but events.
func (f *progressFlags) failedTag(a *app, sink store.Sink, r graph.RootResult, sentence string) {
	if ui.Mode(f.mode) == ui.ModeJSON {
		sink.Emit(store.Event{Kind: store.Failed, Desc: r.Desc, Name: r.Ref, Text: r.Err.Error()})
		return
	}
	fmt.Fprintf(a.streams.Err, "%s: %s: %s\n", a.name, ui.Escape(sentence), ui.Escape(r.Err.Error()))
}
