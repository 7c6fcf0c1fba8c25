// Package ui is all that stet shows: results on stdout, events on stderr. It
// knows values and events, not commands: what is shown when is decided in
// internal/cli, and what happened is never decided here.
//
// The rules of the user interface:
//
//   - stdout has the result and nothing else; stderr has the story: status
//     lines, bars, warnings, questions, errors.
//   - Text that came from outside (titles, annotations, tags, repositories,
//     errors, headers) goes through [Escape] before it is printed, on a
//     terminal and on a pipe alike. Bytes that were asked for (blob fetch,
//     manifest fetch) are the exception: they leave as they are.
//   - A line that is not a status line begins with the program's name and a
//     colon, in small letters, without a full stop.
//   - Status lines have the wording of ORAS, so that people and scripts know
//     them: a verb, twelve digits of the digest, a name.
//   - Cursor movements and colours go to terminals only. Everywhere else a
//     line, once written, stands.
//   - A fallback or a warning is told once, in every mode; JSON results
//     carry them as well.
//   - JSON keys are those of ORAS where ORAS has the value. A list is never null.
package ui

import (
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// Size of a terminal that does not tell its own.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

// Streams is what a command talks to: its three streams, its environment, and
// what is known of the terminals behind them. New and System build it; a flag
// such as --no-tty changes OutTTY and ErrTTY afterwards.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Env      func(string) string // an environment variable, "" if it is not set

	Program        string // the name by which the program was called
	OutTTY, ErrTTY bool   // the stream is a terminal

	// Width and Height are the size of the terminal behind Err, in columns
	// and rows. They are asked again for each frame, as windows change.
	Width, Height func() int

	out *firstError
	err *console
}

// New gives streams that are no terminals.
func New(in io.Reader, out, err io.Writer, env func(string) string) *Streams {
	s := &Streams{
		In:      in,
		Env:     env,
		Program: "stet",
		Width:   func() int { return defaultWidth },
		Height:  func() int { return defaultHeight },
		out:     &firstError{w: out},
		err:     &console{w: err},
	}
	s.Out, s.Err = s.out, s.err
	return s
}

// System gives the streams of a process.
func System(stdin, stdout, stderr *os.File, getenv func(string) string) *Streams {
	s := New(stdin, stdout, stderr, getenv)
	s.OutTTY = term.IsTerminal(int(stdout.Fd()))
	s.ErrTTY = term.IsTerminal(int(stderr.Fd()))
	size := func() (int, int) {
		w, h, err := term.GetSize(int(stderr.Fd()))
		if err != nil || w <= 0 || h <= 0 {
			return defaultWidth, defaultHeight
		}
		return w, h
	}
	if s.OutTTY {
		s.out.columns = func() int {
			w, _, err := term.GetSize(int(stdout.Fd()))
			if err != nil || w <= 0 {
				return defaultWidth
			}
			return w
		}
	}
	s.Width = func() int { w, _ := size(); return w }
	s.Height = func() int { _, h := size(); return h }
	return s
}

// OutErr is the first error of a write to Out. A command whose result could not
// be written has failed, whatever else went well.
func (s *Streams) OutErr() error {
	if s.out == nil {
		return nil
	}
	return s.out.first()
}

// OutColor says whether Out takes colours.
func (s *Streams) OutColor() bool { return colored(s.Env, s.OutTTY) }

// ErrColor says whether Err takes colours; it is decided apart from Out.
func (s *Streams) ErrColor() bool { return colored(s.Env, s.ErrTTY) }

// colored follows no-color.org and bixense.com/clicolors: what switches colours
// off wins over what forces them on, and a terminal decides the rest.
func colored(env func(string) string, tty bool) bool {
	forced := func(name string) bool { v := env(name); return v != "" && v != "0" }
	switch {
	case env("NO_COLOR") != "":
		return false
	case forced("CLICOLOR_FORCE"), forced("FORCE_COLOR"):
		return true
	case env("CLICOLOR") == "0":
		return false
	}
	return tty && env("TERM") != "dumb"
}

// firstError writes through and remembers the first error.
type firstError struct {
	w io.Writer
	// columns is how wide the terminal behind w is; nil where there is none.
	columns func() int
	mu      sync.Mutex
	err     error
}

func (f *firstError) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err == nil {
			f.err = err
		}
	}
	return n, err
}

func (f *firstError) first() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// console is a stderr that may have bars at its end: while it does, what is
// written goes above them.
type console struct {
	w    io.Writer
	mu   sync.Mutex
	bars *live // nil while none are drawn
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bars != nil {
		c.bars.log(p)
		return len(p), nil
	}
	return c.w.Write(p)
}

// draw sends what is written from now on through bars; nil ends that.
func (c *console) draw(bars *live) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bars = bars
}
