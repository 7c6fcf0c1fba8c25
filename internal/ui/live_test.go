package ui

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creack/pty"
	"github.com/rivo/uniseg"

	"github.com/stet-oci/stet/pkg/store"
)

// A real terminal: no line is wider than it is, and at the end there is nothing
// but the lines that stay.
func TestLiveOnATerminal(t *testing.T) {
	for _, width := range []int{80, 45} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			t.Parallel()
			master, tty, err := pty.Open()
			if err != nil {
				t.Skipf("no pseudo terminal here: %v", err)
			}
			defer master.Close()
			if err := pty.Setsize(master, &pty.Winsize{Cols: uint16(width), Rows: 8}); err != nil {
				t.Fatal(err)
			}
			scr := newScreen(width)
			copied := make(chan struct{})
			go func() {
				defer close(copied)
				_, _ = io.Copy(scr, master) // ends when the terminal is closed
			}()

			s := System(os.Stdin, tty, tty, env("TERM", "xterm-256color"))
			if !s.ErrTTY || s.Width() != width || s.Height() != 8 {
				t.Fatalf("terminal %t of %d×%d, want %d×8", s.ErrTTY, s.Width(), s.Height(), width)
			}
			sink, finish := Progress(ModeAuto, PushVerbs(), s)
			most := 0
			for i := range 12 {
				sink(store.Event{Kind: store.Start, Name: longName(i), Desc: store.Descriptor{Size: 1 << 20}})
			}
			for range 7 {
				for i := range 12 {
					sink(store.Event{Kind: store.Advance, Name: longName(i), Bytes: 100_000})
				}
				time.Sleep(100 * time.Millisecond)
				most = max(most, strings.Count(scr.String(), "\n"))
			}
			fmt.Fprintln(s.Err, "log: a line from elsewhere")
			for i := range 12 {
				sink(store.Event{Kind: store.Done, Name: longName(i), How: store.Sent})
			}
			finish()
			tty.Close()
			<-copied

			got := scr.String()
			if scr.wrapped > 0 {
				t.Errorf("%d lines were wider than %d columns", scr.wrapped, width)
			}
			if most != 7 { // 8 rows, one of them left for a line above
				t.Errorf("bars and total took %d rows of 8, want 7", most)
			}
			lines := strings.Split(strings.TrimSpace(got), "\n")
			if len(lines) != 13 || lines[0] != "log: a line from elsewhere" {
				t.Errorf("at the end:\n%s", got)
			}
			for _, line := range lines[1:] {
				if !strings.HasPrefix(line, "Uploaded  写真") {
					t.Errorf("left at the end: %q", line)
				}
			}
			if !strings.HasSuffix(got, "\n\n") {
				t.Error("the cursor is not at the beginning of a line")
			}
		})
	}
}

func longName(i int) string {
	return fmt.Sprintf("写真 %02d %s", i, strings.Repeat("a long directory/", 8))
}

// What takes less than the first frame has no bar.
func TestQuickWorkHasNoBars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, scr := terminal(80)
		sink, finish := Progress(ModeLive, PushVerbs(), s)
		for i := range 3 {
			e := store.Event{Kind: store.Start, Name: fmt.Sprint("f", i), Desc: store.Descriptor{Size: 5}}
			sink(e)
			time.Sleep(50 * time.Millisecond)
			e.Kind, e.How = store.Done, store.Sent
			sink(e)
			if strings.Contains(scr.String(), "[") {
				t.Errorf("a bar after %d blobs:\n%s", i, scr)
			}
		}
		finish()
		finish() // does no harm
		if got, want := scr.String(), "Uploaded  f0\nUploaded  f1\nUploaded  f2\n\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

// A fallback that is told late is told all the same.
func TestNoteAfterFinish(t *testing.T) {
	s, scr := terminal(80)
	sink, finish := Progress(ModeLive, PushVerbs(), s)
	finish()
	sink(store.Event{Kind: store.Fallback, Choice: "referrers-tag", Text: "404"})
	if got := scr.String(); !strings.HasPrefix(got, "stet: referrers are kept under the tag schema: 404\n") {
		t.Errorf("got %q", got)
	}
}

// A log line comes in pieces; bars never get between them.
func TestLogLinesStayWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, scr := terminal(80)
		sink, finish := Progress(ModeLive, PushVerbs(), s)
		sink(store.Event{Kind: store.Start, Name: "f", Desc: store.Descriptor{Size: 5}})
		for _, piece := range []string{"one ", "line\ntwo", " lines", "\nno end"} {
			fmt.Fprint(s.Err, piece)
			time.Sleep(200 * time.Millisecond)
			if got := scr.String(); piece == "line\ntwo" && strings.Contains(got, "two") {
				t.Errorf("half a line is shown:\n%s", got)
			}
		}
		finish()
		fmt.Fprint(s.Err, "\nafter\n")
		if got, want := scr.String(), "one line\ntwo lines\nno end\nafter\n\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

// shared is a buffer for a writer and a reader in two goroutines.
type shared struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// take gives what was written since the last time.
func (s *shared) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.b.Reset()
	return s.b.String()
}

// A terminal that becomes narrower wraps the bars that stand on it; all of
// their rows are taken away.
func TestNarrowerTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out shared
		var width atomic.Int64
		width.Store(80)
		s := New(nil, nil, &out, env())
		s.ErrTTY = true
		s.Width = func() int { return int(width.Load()) }
		sink, finish := Progress(ModeLive, PushVerbs(), s)
		sink(store.Event{Kind: store.Start, Name: strings.Repeat("f", 90), Desc: store.Descriptor{Size: 5}})
		time.Sleep(450 * time.Millisecond)
		synctest.Wait()
		if got := out.take(); !strings.HasSuffix(got, "5B") {
			t.Fatalf("no bar: %q", got)
		}
		width.Store(30) // a bar and a total of 55 columns: two rows each
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := out.take(); !strings.HasPrefix(got, "\r\x1b[3A\x1b[J") {
			t.Errorf("the frame after it begins with %.20q", got)
		}
		finish()
	})
}

func TestColoursOfStatusLines(t *testing.T) {
	var out strings.Builder
	s := New(nil, nil, &out, env("FORCE_COLOR", "1"))
	s.ErrTTY = true
	sink, finish := Progress(ModeLive, PushVerbs(), s)
	sink(store.Event{Kind: store.Done, Name: "f", How: store.Sent})
	sink(store.Event{Kind: store.Failed, Name: "g", Text: "cut"})
	finish()
	if got, want := out.String(), "\x1b[32mUploaded\x1b[0m  f\n\x1b[31mFailed\x1b[0m    g: cut\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBarsOfAnySize(t *testing.T) {
	for _, width := range []int{2, 10, 45, 80, 300} {
		for _, c := range [][2]int64{{0, 0}, {0, 10}, {10, 10}, {5, -1}, {1 << 40, 1 << 42}} {
			if w := uniseg.StringWidth(bar("写真 a name", c[0], c[1], 1e9, width)); w >= width {
				t.Errorf("a bar of %d of %d bytes has %d columns, the terminal %d", c[0], c[1], w, width)
			}
		}
	}
}

// A rate is that of the last seconds: a stalled transfer is seen to stall.
func TestRateForgets(t *testing.T) {
	var m meter
	start := time.Unix(0, 0)
	at := func(seconds int, moved int64) int64 {
		return m.rate(start.Add(time.Duration(seconds)*time.Second), moved)
	}
	if got := at(0, 0); got != 0 {
		t.Errorf("at once: %d", got)
	}
	if got := at(2, 2000); got != 1000 {
		t.Errorf("after two seconds: %d, want 1000", got)
	}
	for i := range 10 {
		at(3+i, 2000)
	}
	if got := at(13, 2000); got != 0 {
		t.Errorf("after ten seconds without a byte: %d, want 0", got)
	}
	if got := at(14, 0); got != 0 {
		t.Errorf("after a retry: %d, want 0", got)
	}
}

// Content that is hashed before anything moves has a bar, and no place in the
// total; its end leaves nothing behind.
func TestHashingIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, scr := terminal(80)
		sink, finish := Progress(ModeLive, PushVerbs(), s)
		e := store.Event{Kind: store.Hashing, Name: "big.bin", Desc: store.Descriptor{Size: 100}}
		sink(e)
		time.Sleep(400 * time.Millisecond)
		e.Bytes = 45
		sink(e)
		time.Sleep(200 * time.Millisecond)
		if got := scr.String(); !strings.Contains(got, "Hashing big.bin") || !strings.Contains(got, " 45% ") || strings.Contains(got, "Uploading") {
			t.Errorf("while it is hashed there is\n%s", got)
		}
		sink(store.Event{Kind: store.Hashed, Name: "big.bin", Desc: e.Desc})
		sink(store.Event{Kind: store.Done, Name: "big.bin", Desc: store.Descriptor{Digest: d1, Size: 100}, How: store.Present})
		time.Sleep(200 * time.Millisecond)
		finish()
		if got := scr.String(); strings.Contains(got, "Hashing") || !strings.HasPrefix(got, "Exists ") {
			t.Errorf("at the end there is\n%s", got)
		}
	})
}
