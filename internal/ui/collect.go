package ui

import (
	"slices"
	"sync"

	"github.com/stet-oci/stet/pkg/store"
)

// Tee gives each event to every sink, in order.
func Tee(sinks ...store.Sink) store.Sink {
	return func(e store.Event) {
		for _, s := range sinks {
			s.Emit(e)
		}
	}
}

// FallbackTaken is a fallback in a result: what was done instead, why, and for
// whom, such as "host/repository".
type FallbackTaken struct {
	Choice string `json:"choice"`
	Reason string `json:"reason"`
	Name   string `json:"name,omitempty"`
}

// Notes is what a result tells beside itself. Each note stands once.
type Notes struct {
	Fallbacks List[FallbackTaken] `json:"fallbacks,omitempty"`
	Warnings  List[string]        `json:"warnings,omitempty"`
}

// Counts is how many blobs and manifests came where they should be, by the way
// they came there, and the bytes of those that were sent.
type Counts struct {
	Sent    int   `json:"sent"`
	Mounted int   `json:"mounted"`
	Present int   `json:"present"`
	Bytes   int64 `json:"bytes"` // of what was sent

	Skipped   int64 `json:"skippedBytes,omitempty"` // of what was mounted or present; of a dry run
	Manifests int   `json:"manifests,omitempty"`    // to be put; of a dry run, apart from the blobs
}

// Recorder collects from events what results tell. The zero value is ready.
type Recorder struct {
	mu     sync.Mutex
	notes  Notes
	counts Counts
}

// Event takes an event; it is a store.Sink.
func (r *Recorder) Event(e store.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case store.Fallback:
		if f := (FallbackTaken{e.Choice, e.Text, e.Name}); !slices.Contains(r.notes.Fallbacks, f) {
			r.notes.Fallbacks = append(r.notes.Fallbacks, f)
		}
	case store.Warning:
		if !slices.Contains(r.notes.Warnings, e.Text) {
			r.notes.Warnings = append(r.notes.Warnings, e.Text)
		}
	case store.Done:
		r.count(e)
	}
}

func (r *Recorder) count(e store.Event) {
	switch e.How {
	case store.Mounted:
		r.counts.Mounted++
	case store.Present:
		r.counts.Present++
	case store.Sent:
		r.counts.Sent++
		r.counts.Bytes += max(0, e.Desc.Size)
	}
}

// Notes gives what was noted until now.
func (r *Recorder) Notes() Notes {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Notes{slices.Clone(r.notes.Fallbacks), slices.Clone(r.notes.Warnings)}
}

// Counts gives what was counted until now.
func (r *Recorder) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}
