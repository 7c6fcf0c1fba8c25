package ui

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/rivo/uniseg"
)

var wideRows = [][]string{
	{"v1", "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "28.6MB", "image", "application/vnd.example.thing.v1+json"},
	{"latest-and-greatest", "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "-", "artifact"},
}

// On a terminal no row of a table wraps, and a digest is what status lines show
// of it; there is nothing of that where the table fits.
func TestTableOnATerminal(t *testing.T) {
	for _, width := range []int{200, 80, 45} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			out := onTerminal(t, width, func(out io.Writer) error {
				return Table(out, []string{"Tag", "Digest", "Size", "Kind", "Type"}, wideRows)
			})
			for line := range strings.Lines(out) {
				if w := uniseg.StringWidth(strings.TrimRight(line, "\r\n")); w > width {
					t.Errorf("a row is %d wide:\n%s", w, out)
				}
			}
			for text, want := range map[string]bool{
				wideRows[0][1]:  width == 200,
				" 2cf24dba5fb0": width == 80,
				"v1 ":           true,
				"28.6MB":        true,
				"…":             width < 200,
			} {
				if strings.Contains(out, text) != want {
					t.Errorf("%q is in it: %t, want %t\n%s", text, !want, want, out)
				}
			}
		})
	}
	if wideRows[0][1][:7] != "sha256:" {
		t.Error("the rows of the caller were changed")
	}
}

// Without a terminal every cell is whole.
func TestTableOnAPipe(t *testing.T) {
	var out bytes.Buffer
	s := New(nil, &out, io.Discard, os.Getenv)
	if err := Table(s.Out, nil, wideRows); err != nil {
		t.Fatal(err)
	}
	for _, cell := range wideRows[0] {
		if !strings.Contains(out.String(), cell) {
			t.Errorf("%q is cut:\n%s", cell, out.String())
		}
	}
}

// onTerminal gives what is written to a terminal of some width.
func onTerminal(t *testing.T, width int, write func(io.Writer) error) string {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	defer master.Close()
	if err := pty.Setsize(master, &pty.Winsize{Cols: uint16(width), Rows: 24}); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		raw, _ := io.ReadAll(master) // ends with an error when the terminal is closed
		read <- string(raw)
	}()
	if err := write(System(os.Stdin, tty, tty, os.Getenv).Out); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	return <-read
}
