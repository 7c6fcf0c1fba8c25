package ui

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stet-oci/stet/pkg/store"
)

// Mode says how events are shown.
type Mode string

// The modes of --progress.
const (
	ModeAuto  Mode = "auto"  // live where Err is a terminal, else plain
	ModeLive  Mode = "live"  // bars; plain where Err cannot have them
	ModePlain Mode = "plain" // a line for each event
	ModeJSON  Mode = "json"  // a JSON object for each event
	ModeNone  Mode = "none"  // fallbacks and warnings alone
)

// DefaultMode is the mode without --progress.
const DefaultMode = ModeAuto

// Modes lists the modes in the order in which help has them.
func Modes() []Mode { return []Mode{ModeAuto, ModeLive, ModePlain, ModeJSON, ModeNone} }

// ParseMode reads the value of --progress. Anything else is store.ErrUsage.
func ParseMode(s string) (Mode, error) {
	if m := Mode(s); slices.Contains(Modes(), m) {
		return m, nil
	}
	var names []string
	for _, m := range Modes() {
		names = append(names, string(m))
	}
	return "", fmt.Errorf("%w: progress %q is not one of %s", store.ErrUsage, s, strings.Join(names, ", "))
}

// Progress shows events on s.Err. The sink takes them from any goroutine;
// finish ends the display, and must be called before anything else is written
// to the terminal by other means than s. Calling it twice does no harm; what
// is told after it is shown as plain lines.
func Progress(mode Mode, verbs Verbs, s *Streams) (sink store.Sink, finish func()) {
	t := teller{fold: newFold(), verbs: verbs, program: s.Program}
	switch s.able(mode) {
	case ModeNone:
		// No progress; but a fallback or warning is told in every mode.
		p := &plain{teller: t, out: s.Err}
		return func(e store.Event) {
			if e.Kind == store.Fallback || e.Kind == store.Warning {
				p.event(e)
			}
		}, func() {}
	case ModeJSON:
		j := &jsonLines{out: s.Err}
		return j.event, j.finish
	case ModeLive:
		l := newLive(t, s)
		return l.event, l.finish
	}
	p := &plain{teller: t, out: s.Err}
	return p.event, func() {}
}

// able gives the mode that s can show.
func (s *Streams) able(mode Mode) Mode {
	canMove := s.ErrTTY && s.Env("TERM") != "dumb"
	switch {
	case mode == ModeLive && canMove:
		return ModeLive
	case mode == ModeAuto && canMove && s.Env("CI") == "":
		return ModeLive
	case mode == ModeJSON, mode == ModeNone:
		return mode
	}
	return ModePlain
}

// teller turns events into lines.
type teller struct {
	fold    *fold
	verbs   Verbs
	program string
}

// line is the line of a change without its end of line, or "". A tag has no
// line: it is part of the result.
func (t teller) line(c change) string {
	switch c.step {
	case began, arrived, failed:
		return t.verbs.status(c)
	case noted:
		return note(t.program, c.event)
	}
	return ""
}

// plain shows a line for each blob that begins or ends, and for each note.
type plain struct {
	teller
	mu  sync.Mutex
	out io.Writer
}

func (p *plain) event(e store.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Nothing can be done where stderr cannot be written.
	if line := p.line(p.fold.apply(e, time.Now())); line != "" {
		_, _ = io.WriteString(p.out, line+"\n")
	}
}
