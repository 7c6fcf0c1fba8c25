package ui

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// blob is content on its way.
type blob struct {
	desc  store.Descriptor // Digest is "" until it is known, Size may be UnknownSize
	name  string
	moved int64
	since time.Time
	speed meter
}

// has says how many bytes have moved, as far as that can be shown: a count
// over the size is a retry that was not taken back.
func (b *blob) has() int64 {
	if b.desc.Size >= 0 {
		return min(b.moved, b.desc.Size)
	}
	return b.moved
}

// step is what an event changed.
type step int

const (
	nothing step = iota // or only a number
	began               // a blob is on its way
	arrived             // a blob is where it should be
	failed              // a blob is not
	noted               // something to tell, for the first time
)

// change is an event and what it means.
type change struct {
	step  step
	event store.Event
	blob  *blob // of began, arrived and failed
	again bool  // of arrived: the content had arrived before, under another name
}

// fold is the state that a stream of events amounts to. It is what all
// renderers know; they differ in how they show it. Not safe for several
// goroutines: each renderer has its own lock.
type fold struct {
	waiting []*blob // planned, and not begun
	running []*blob // in the order in which they began
	hashing []*blob // read for their digests, which moves nothing
	done    int     // blobs that arrived
	bytes   int64   // bytes of blobs that were sent
	arrived map[digest.Digest]bool
	told    map[told]bool
}

// told is what makes a note the same as another.
type told struct {
	kind               store.EventKind
	name, choice, text string
}

func newFold() *fold {
	return &fold{arrived: map[digest.Digest]bool{}, told: map[told]bool{}}
}

// apply takes the next event, which happened now.
func (f *fold) apply(e store.Event, now time.Time) change {
	if e.Name == "" {
		e.Name = store.NameOf(e.Desc)
	}
	c := change{event: e}
	switch e.Kind {
	case store.Planned:
		f.waiting = append(f.waiting, &blob{desc: e.Desc, name: e.Name})
	case store.Hashing:
		c.step, c.blob = f.hash(e, now)
	case store.Hashed:
		f.hashing = slices.DeleteFunc(f.hashing, func(b *blob) bool { return b.name == e.Name })
	case store.Start:
		c.step, c.blob = f.begin(e, now)
	case store.Advance:
		// Bytes of what has ended, or never began, tell nothing any more.
		if i := f.find(e); i >= 0 {
			b := f.running[i]
			b.moved = max(0, b.moved+e.Bytes)
		}
	case store.Done:
		c.step, c.blob = arrived, f.take(e)
		c.again = e.How == store.Present && f.arrived[c.blob.desc.Digest]
		f.arrive(c.blob, e.How)
	case store.Failed:
		c.step, c.blob = failed, f.take(e)
	case store.Fallback, store.Warning:
		// The same answer may come for each of a thousand blobs.
		if key := (told{e.Kind, e.Name, e.Choice, e.Text}); !f.told[key] {
			f.told[key], c.step = true, noted
		}
	case store.Retrying:
		c.step = noted
	}
	return c
}

// hash notes that content is read for its digest. It has no other name yet than
// that of its file.
func (f *fold) hash(e store.Event, now time.Time) (step, *blob) {
	if i := slices.IndexFunc(f.hashing, func(b *blob) bool { return b.name == e.Name }); i >= 0 {
		f.hashing[i].moved += e.Bytes
		return nothing, f.hashing[i]
	}
	b := &blob{desc: e.Desc, name: e.Name, moved: e.Bytes, since: now}
	f.hashing = append(f.hashing, b)
	return began, b
}

func (f *fold) begin(e store.Event, now time.Time) (step, *blob) {
	if i := f.find(e); i >= 0 && f.running[i].name == e.Name {
		return nothing, f.running[i]
	}
	f.unplan(e)
	b := &blob{desc: e.Desc, name: e.Name, since: now}
	f.running = append(f.running, b)
	return began, b
}

func (f *fold) arrive(b *blob, how store.How) {
	f.done++
	if b.desc.Digest != "" {
		f.arrived[b.desc.Digest] = true
	}
	if how != store.Sent {
		return // nothing was moved for it
	}
	if b.desc.Size >= 0 {
		b.moved = b.desc.Size
	}
	f.bytes += b.moved
}

// take removes the blob of e from those that run. What never began, such as a
// blob that was present, is a blob as well. The end of a blob may tell what its
// beginning did not know.
func (f *fold) take(e store.Event) *blob {
	b := &blob{desc: e.Desc, name: e.Name}
	if i := f.find(e); i >= 0 {
		b = f.running[i]
		f.running = append(f.running[:i:i], f.running[i+1:]...)
	} else {
		f.unplan(e)
	}
	if b.desc.Digest == "" {
		b.desc.Digest = e.Desc.Digest
	}
	if b.desc.Size < 0 || b.desc.Size == 0 && e.Desc.Size > 0 {
		b.desc.Size = e.Desc.Size
	}
	return b
}

// unplan takes what e is about from the blobs that wait.
func (f *fold) unplan(e store.Event) {
	same := func(b *blob) bool {
		return b.name == e.Name && (b.desc.Digest == e.Desc.Digest || b.desc.Digest == "" || e.Desc.Digest == "")
	}
	if i := slices.IndexFunc(f.waiting, same); i >= 0 {
		f.waiting = slices.Delete(f.waiting, i, i+1)
	}
}

// find gives the index of the running blob that e is about, or -1. Content
// goes by its digest; the name decides between files of the same content, and
// where a digest is not known yet.
func (f *fold) find(e store.Event) int {
	byDigest, byName := -1, -1
	for i, b := range f.running {
		same := b.desc.Digest == e.Desc.Digest
		switch {
		case same && b.name == e.Name:
			return i
		case same && e.Desc.Digest != "" && byDigest < 0:
			byDigest = i
		case b.name == e.Name && (b.desc.Digest == "" || e.Desc.Digest == "") && byName < 0:
			byName = i
		}
	}
	if byDigest >= 0 {
		return byDigest
	}
	return byName
}

// moved is the number of bytes that were sent until now, and total that of all
// blobs which are known, or UnknownSize where one of them has no size yet.
func (f *fold) moved() (moved, total int64) {
	moved, total = f.bytes, f.bytes
	for _, b := range slices.Concat(f.running, f.waiting) {
		moved += b.has()
		if b.desc.Size < 0 || total < 0 {
			total = store.UnknownSize
			continue
		}
		total += b.desc.Size
	}
	return moved, total
}

// known is the number of blobs that are known, arrived or not.
func (f *fold) known() int { return f.done + len(f.running) + len(f.waiting) }

// window is how far a meter looks back: long enough to be calm, short enough
// to tell a transfer that stalls.
const window = 5 * time.Second

// meter measures a rate over the last seconds.
type meter struct {
	samples []sample
}

type sample struct {
	at    time.Time
	moved int64
}

// rate takes the number of bytes moved until now and gives bytes per second,
// or 0 while there is nothing to measure.
func (m *meter) rate(now time.Time, moved int64) int64 {
	m.samples = append(m.samples, sample{now, moved})
	for len(m.samples) > 2 && now.Sub(m.samples[0].at) > window {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	elapsed := now.Sub(first.at).Seconds()
	if elapsed <= 0 || moved <= first.moved {
		return 0
	}
	return int64(float64(moved-first.moved) / elapsed)
}
