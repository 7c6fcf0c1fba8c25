package ui

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// pace is the least time between two Advance lines of one blob.
const pace = 200 * time.Millisecond

// jsonLines writes each event as one line of JSON, with the fields of
// store.Event. Advance events that come faster than pace are put together, and
// what was held back comes before the blob's end: the sum of bytes is right at
// any line, so that a recorded stream can be replayed.
type jsonLines struct {
	mu   sync.Mutex
	out  io.Writer
	held []*heldAdvance
}

// heldAdvance is the Advance events of one blob since the last line.
type heldAdvance struct {
	event store.Event // Bytes is the sum
	wrote time.Time
}

func (j *jsonLines) event(e store.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch e.Kind {
	case store.Advance, store.Hashing:
		j.advance(e, time.Now())
		return
	case store.Done, store.Failed, store.Hashed:
		j.release(func(h *heldAdvance) bool { return sameBlob(h.event, e) })
	}
	j.write(e)
}

func (j *jsonLines) advance(e store.Event, now time.Time) {
	for _, h := range j.held {
		if h.event.Kind != e.Kind || !sameBlob(h.event, e) {
			continue
		}
		h.event.Bytes += e.Bytes
		if now.Sub(h.wrote) >= pace {
			j.write(h.event)
			h.event.Bytes, h.wrote = 0, now
		}
		return
	}
	j.write(e)
	e.Bytes = 0
	j.held = append(j.held, &heldAdvance{event: e, wrote: now})
}

// sameBlob tells whether two events are about one blob; one of them may not
// know its digest yet.
func sameBlob(a, b store.Event) bool {
	if a.Desc.Digest != "" && b.Desc.Digest != "" && a.Desc.Digest != b.Desc.Digest {
		return false
	}
	return a.Name == b.Name
}

// release writes what is held of the blobs that end, and forgets them.
func (j *jsonLines) release(ends func(*heldAdvance) bool) {
	var rest []*heldAdvance
	for _, h := range j.held {
		switch {
		case !ends(h):
			rest = append(rest, h)
		case h.event.Bytes != 0:
			j.write(h.event)
		}
	}
	j.held = rest
}

func (j *jsonLines) finish() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.release(func(*heldAdvance) bool { return true })
}

func (j *jsonLines) write(e store.Event) {
	line, err := encodeJSON(e, "")
	if err != nil {
		return // an Event is strings and numbers: it has a JSON form
	}
	// Nothing can be done where stderr cannot be written.
	_, _ = j.out.Write(line)
}

// encodeJSON is the JSON form of v, fit for a terminal, with an end of line.
// Unlike json.Marshal it leaves <, > and & readable; the values are the same.
func encodeJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return escapeJSON(b.Bytes()), nil
}
