package store

// EventKind says what an Event tells.
type EventKind string

// The kinds of events. A blob or manifest that moves has one Start, any number
// of Advance, and one Done or Failed. What is known to come is Planned before,
// so that a total can be shown from the beginning.
const (
	Planned  EventKind = "planned"  // Desc will begin to move, or turn out to be there
	Hashing  EventKind = "hashing"  // Bytes more of Desc were read for its digest, before it moves; the first has none
	Hashed   EventKind = "hashed"   // Desc is read no more for that, well or not
	Start    EventKind = "start"    // Desc begins to move; Desc.Size is UnknownSize where it is not known
	Advance  EventKind = "advance"  // Bytes more of Desc have moved; negative where a retry starts over
	Done     EventKind = "done"     // Desc is where it should be, How it got there
	Failed   EventKind = "failed"   // Desc did not arrive; Text says why
	Retrying EventKind = "retry"    // a request is sent again; Text says why
	Tagged   EventKind = "tagged"   // Text is the tag that now points at Desc
	Fallback EventKind = "fallback" // another way was taken; Choice and Text say which and why
	Warning  EventKind = "warning"  // Text is something the user should know
)

// Event is one fact about work under way. Events are the only thing that the
// engine tells of its progress; renderers fold a stream of them.
type Event struct {
	Kind   EventKind  `json:"event"`
	Desc   Descriptor `json:"descriptor,omitzero"`
	Name   string     `json:"name,omitempty"` // title, media type or path; for people
	Bytes  int64      `json:"bytes,omitempty"`
	How    How        `json:"how,omitempty"`
	Choice string     `json:"choice,omitempty"` // of a fallback, such as "referrers-tag"
	Text   string     `json:"text,omitempty"`
}

// Sink takes events; it must be safe for use by several goroutines. A nil Sink
// drops them.
type Sink func(Event)

// Emit hands e to the sink.
func (s Sink) Emit(e Event) {
	if s != nil {
		s(e)
	}
}

// NameOf is the name that people know content by: its title, else its media type.
func NameOf(d Descriptor) string {
	if t := d.Annotations["org.opencontainers.image.title"]; t != "" {
		return t
	}
	return d.MediaType
}
