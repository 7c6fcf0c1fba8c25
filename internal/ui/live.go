package ui

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/rivo/uniseg"
	"github.com/schollz/progressbar/v3"

	"github.com/stet-oci/stet/pkg/store"
)

const (
	frameTime  = 100 * time.Millisecond
	firstFrame = 300 * time.Millisecond // what takes less has no bar; its rate would be nonsense
)

// Control sequences of ECMA-48, which every terminal but TERM=dumb obeys.
const (
	cursorUp   = "\x1b[%dA"
	eraseBelow = "\x1b[J"
	green      = "\x1b[32m"
	yellow     = "\x1b[33m"
	red        = "\x1b[31m"
	noColor    = "\x1b[0m"
)

// live shows what has ended as lines that stay, and below them a bar for each
// blob under way and one line for all of them. Events only change the fold and
// the list of lines; one goroutine, the painter, writes to the terminal.
type live struct {
	teller
	streams *Streams
	out     io.Writer // the terminal itself

	mu      sync.Mutex
	started time.Time
	pending bytes.Buffer // whole lines that stay, not yet written
	partial []byte       // of a log line whose end has not come yet
	drawn   []int        // the widths of the lines below, as they stand on the terminal
	speed   meter
	ended   bool

	stop, stopped chan struct{}
}

func newLive(t teller, s *Streams) *live {
	l := &live{
		teller: t, streams: s, out: s.Err,
		started: time.Now(),
		stop:    make(chan struct{}), stopped: make(chan struct{}),
	}
	if s.err != nil && s.Err == io.Writer(s.err) {
		l.out = s.err.w
		s.err.draw(l)
	}
	go l.paint()
	return l
}

// event takes an event. Before the end it waits for no terminal.
func (l *live) event(e store.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.fold.apply(e, time.Now())
	if c.step == began {
		return // the bar tells it
	}
	line := l.line(c)
	if line == "" {
		return
	}
	if c.step != noted {
		// A note stays whole and may take several rows; a status line is one.
		line = clip(line, l.width()-1)
	}
	l.pending.WriteString(l.color(c, line) + "\n")
	if l.ended {
		l.flush()
	}
}

// log takes what others write to stderr; whole lines go above the bars.
func (l *live) log(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	if end := bytes.LastIndexByte(l.partial, '\n'); end >= 0 {
		l.pending.Write(l.partial[:end+1])
		l.partial = append(l.partial[:0], l.partial[end+1:]...)
	}
}

// finish ends the display: the lines that stay are written, the bars are gone,
// the cursor is at the beginning of a line.
func (l *live) finish() {
	if l.streams.err != nil {
		l.streams.err.draw(nil)
	}
	l.mu.Lock()
	first := !l.ended
	l.ended = true
	l.mu.Unlock()
	if first {
		close(l.stop)
	}
	<-l.stopped
}

// paint is the painter.
func (l *live) paint() {
	defer close(l.stopped)
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			l.mu.Lock()
			l.frame(now)
			l.mu.Unlock()
		case <-l.stop:
			l.mu.Lock()
			l.pending.Write(l.partial)
			l.partial = nil
			l.flush()
			l.mu.Unlock()
			return
		}
	}
}

// frame writes one frame, in one Write so that it does not flicker.
func (l *live) frame(now time.Time) {
	width := l.width()
	below := l.below(now, width)
	if l.pending.Len() == 0 && len(below) == 0 && len(l.drawn) == 0 {
		return
	}
	l.write(below, width)
}

// flush writes the lines that stay and takes the bars away.
func (l *live) flush() {
	if l.pending.Len() > 0 || len(l.drawn) > 0 {
		l.write(nil, l.width())
	}
}

// write replaces the lines below by the pending lines and those of below. The
// cursor is left at the end of the last line, so that nothing scrolls which
// need not.
func (l *live) write(below []string, width int) {
	var b strings.Builder
	if len(l.drawn) > 0 {
		b.WriteByte('\r')
		if up := rows(l.drawn, width) - 1; up > 0 {
			fmt.Fprintf(&b, cursorUp, up)
		}
		b.WriteString(eraseBelow)
	}
	b.Write(l.pending.Bytes())
	l.pending.Reset()
	b.WriteString(strings.Join(below, "\n"))
	l.drawn = l.drawn[:0]
	for _, line := range below {
		l.drawn = append(l.drawn, uniseg.StringWidth(line))
	}
	// Nothing can be done where stderr cannot be written.
	_, _ = io.WriteString(l.out, b.String())
}

// rows is the number of rows that lines of these widths take. Lines that fitted
// when they were drawn are wrapped by a terminal that became narrower.
func rows(widths []int, width int) int {
	n := 0
	for _, w := range widths {
		n += max(1, (w+width-1)/width)
	}
	return n
}

// below gives the bars and the total, each narrower than the terminal.
func (l *live) below(now time.Time, width int) []string {
	f := l.fold
	moved, total := f.moved()
	rate := l.speed.rate(now, moved)
	if len(f.running)+len(f.hashing) == 0 || now.Sub(l.started) < firstFrame {
		return nil
	}
	// Bars take what leaves room for the total and for the line above them.
	room := max(1, l.streams.Height()-2)
	var lines []string
	for _, b := range f.hashing {
		speed := b.speed.rate(now, b.has())
		if now.Sub(b.since) >= firstFrame && len(lines) < room {
			lines = append(lines, bar(hashingVerb+" "+Escape(b.name), b.has(), b.desc.Size, speed, width))
		}
	}
	for _, b := range f.running {
		speed := b.speed.rate(now, b.has())
		if now.Sub(b.since) < firstFrame || len(lines) == room {
			continue
		}
		lines = append(lines, bar(l.barName(b, width), b.has(), b.desc.Size, speed, width))
	}
	if len(f.running) == 0 {
		return lines
	}
	name := fmt.Sprintf("%s %d/%d", l.verbs.Start, f.done, f.known())
	return append(lines, bar(name, moved, total, rate, width))
}

// barName is what stands before a bar. Where there is little room the name
// says more than the digest.
func (l *live) barName(b *blob, width int) string {
	const enough = 70
	if width < enough {
		return Escape(b.name)
	}
	return blobName(b)
}

// bar is a line with a name, a bar and the figures behind it, as far as there
// is room. A size that is not known, or is nothing, has no bar.
func bar(name string, moved, size, rate int64, width int) string {
	line := column(name, min(max(8, width*2/5), 48))
	figures := []string{Size(moved)}
	if size > 0 {
		line += " " + gauge(moved, size, min(max(5, width/9), 24))
		figures[0] += "/" + Size(size)
	}
	if rate > 0 {
		figures = append(figures, Size(rate)+"/s")
	}
	for _, f := range figures {
		if uniseg.StringWidth(line)+1+len(f) >= width {
			break
		}
		line += " " + f
	}
	return clip(line, width-1)
}

// gauge draws "45% [===>....]". The bar is a new one each time: a bar that is
// kept cannot go back, cannot grow once it was full, and writes by itself.
func gauge(moved, size int64, width int) string {
	g := progressbar.NewOptions64(
		size,
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionSetWidth(width),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
	)
	// The error is that of a count over the size, which has() excludes.
	_ = g.Set64(moved)
	_ = g.RenderBlank()
	return strings.TrimRight(strings.TrimPrefix(g.String(), "\r"), " ")
}

func (l *live) width() int { return max(2, l.streams.Width()) }

// color colours the first word of a line.
func (l *live) color(c change, line string) string {
	if !l.streams.ErrColor() {
		return line
	}
	sgr := green
	switch {
	case c.step == failed:
		sgr = red
	case c.step == noted:
		sgr = yellow
	}
	word, rest, _ := strings.Cut(line, " ")
	return sgr + word + noColor + " " + rest
}
