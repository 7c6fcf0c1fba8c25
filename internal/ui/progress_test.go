package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stet-oci/stet/pkg/store"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env is an environment.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// terminal is streams whose stderr is a screen.
func terminal(width int) (*Streams, *screen) {
	scr := newScreen(width)
	s := New(strings.NewReader(""), io.Discard, scr, env("TERM", "xterm"))
	s.ErrTTY = true
	s.Width = func() int { return width }
	return s, scr
}

// recorded reads a stream of events.
func recorded(t *testing.T, name string) []store.Event {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return events(t, raw)
}

func events(t *testing.T, raw []byte) []store.Event {
	t.Helper()
	var all []store.Event
	for dec := json.NewDecoder(bytes.NewReader(raw)); ; {
		var e store.Event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

// golden compares got with a file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func verbs(name string) Verbs {
	return map[string]Verbs{"push": PushVerbs(), "pull": PullVerbs(), "copy": CopyVerbs()}[name]
}

func TestReplay(t *testing.T) {
	for _, name := range []string{"push", "pull", "copy"} {
		all := recorded(t, name)
		t.Run(name+"/plain", func(t *testing.T) {
			var out bytes.Buffer
			sink, finish := Progress(ModePlain, verbs(name), New(nil, nil, &out, env()))
			for _, e := range all {
				sink(e)
			}
			finish()
			golden(t, name+".plain", out.String())
		})
		t.Run(name+"/json", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				sink, finish := Progress(ModeJSON, verbs(name), New(nil, nil, &out, env()))
				for _, e := range all {
					time.Sleep(90 * time.Millisecond)
					sink(e)
				}
				finish()
				golden(t, name+".json", out.String())
			})
		})
		for _, width := range []int{80, 45} {
			t.Run(fmt.Sprintf("%s/live%d", name, width), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { replayLive(t, name, width, all) })
			})
		}
	}
}

// replayLive writes the screen after each event, where it is another one.
func replayLive(t *testing.T, name string, width int, all []store.Event) {
	s, scr := terminal(width)
	sink, finish := Progress(ModeAuto, verbs(name), s)
	var story strings.Builder
	last := scr.String()
	show := func(title string) {
		if now := scr.String(); now != last {
			fmt.Fprintf(&story, "--- %s\n%s", title, now)
			last = now
		}
	}
	for i, e := range all {
		sink(e)
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		show(fmt.Sprintf("%d %s", i+1, e.Kind))
	}
	finish()
	show("finish")
	if scr.unknown != nil {
		t.Errorf("control sequences that are not known: %q", scr.unknown)
	}
	golden(t, fmt.Sprintf("%s.live%d", name, width), story.String())
}

// A recorded stream has the sums of the events that it was made from.
func TestJSONStreamReplays(t *testing.T) {
	all := recorded(t, "push")
	var out, direct, again bytes.Buffer
	sink, finish := Progress(ModeJSON, PushVerbs(), New(nil, nil, &out, env()))
	for _, e := range all {
		sink(e)
	}
	finish()
	replayed := events(t, out.Bytes())
	if len(replayed) >= len(all) {
		t.Errorf("%d events became %d lines: Advance is not held back", len(all), len(replayed))
	}
	sum := func(all []store.Event) (n int64) {
		for _, e := range all {
			n += e.Bytes
		}
		return n
	}
	if sum(replayed) != sum(all) {
		t.Errorf("%d bytes, want %d", sum(replayed), sum(all))
	}
	for out, all := range map[*bytes.Buffer][]store.Event{&direct: all, &again: replayed} {
		sink, _ := Progress(ModePlain, PushVerbs(), New(nil, nil, out, env()))
		for _, e := range all {
			sink(e)
		}
	}
	if d := cmp.Diff(direct.String(), again.String()); d != "" {
		t.Errorf("plain lines of a replay differ:\n%s", d)
	}
}

func TestJSONThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		sink, finish := Progress(ModeJSON, PushVerbs(), New(nil, nil, &out, env()))
		for range 100 { // one second
			sink(store.Event{Kind: store.Advance, Name: "f", Bytes: 1})
			time.Sleep(10 * time.Millisecond)
		}
		finish()
		if n := strings.Count(out.String(), "\n"); n > 6 {
			t.Errorf("%d lines in a second, want 5 and the last", n)
		}
	})
}

func TestModeNeedsATerminal(t *testing.T) {
	for _, c := range []struct {
		mode Mode
		tty  bool
		env  func(string) string
		want Mode
	}{
		{ModeAuto, true, env("TERM", "xterm"), ModeLive},
		{ModeAuto, false, env("TERM", "xterm"), ModePlain},
		{ModeAuto, true, env("TERM", "dumb"), ModePlain},
		{ModeAuto, true, env("TERM", "xterm", "CI", "true"), ModePlain},
		{ModeLive, true, env("TERM", "xterm", "CI", "true"), ModeLive},
		{ModeLive, false, env(), ModePlain},
		{ModeLive, true, env("TERM", "dumb"), ModePlain},
		{ModePlain, true, env(), ModePlain},
		{ModeJSON, true, env(), ModeJSON},
		{ModeNone, true, env(), ModeNone},
	} {
		s := New(nil, nil, nil, c.env)
		s.ErrTTY = c.tty
		if got := s.able(c.mode); got != c.want {
			t.Errorf("%s, terminal %t: %s, want %s", c.mode, c.tty, got, c.want)
		}
	}
}

func TestParseMode(t *testing.T) {
	for _, m := range Modes() {
		if got, err := ParseMode(string(m)); err != nil || got != m {
			t.Errorf("%s: %s, %v", m, got, err)
		}
	}
	if _, err := ParseMode("fancy"); !errors.Is(err, store.ErrUsage) {
		t.Errorf("fancy: %v", err)
	}
}

// A fallback is told in every mode (P4: nothing is lost in silence).
func TestNoneTellsNotesAlone(t *testing.T) {
	var out bytes.Buffer
	sink, finish := Progress(ModeNone, PushVerbs(), New(nil, nil, &out, env()))
	for _, e := range recorded(t, "push") {
		sink(e)
	}
	finish()
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "stet: ") {
			t.Errorf("shown: %s", line)
		}
	}
	if !strings.Contains(out.String(), "tag schema") {
		t.Errorf("the fallback was not told: %q", out.String())
	}
}

// What many goroutines tell and log comes out whole, and once.
func TestManyGoroutines(t *testing.T) {
	for _, mode := range []Mode{ModeLive, ModePlain, ModeJSON} {
		s, scr := terminal(60)
		sink, finish := Progress(mode, PushVerbs(), s)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				name := fmt.Sprintf("file-%d", i)
				e := store.Event{Kind: store.Start, Name: name, Desc: store.Descriptor{Size: 2000}}
				sink(e)
				for range 200 {
					e.Kind, e.Bytes = store.Advance, 10
					sink(e)
				}
				fmt.Fprintf(s.Err, "log %s\n", name)
				sink(store.Event{Kind: store.Done, Name: name, How: store.Sent})
			})
		}
		wg.Wait()
		finish()
		got := scr.String()
		for i := range 8 {
			if n := strings.Count(got, fmt.Sprintf("log file-%d\n", i)); n != 1 {
				t.Errorf("%s: %d log lines of file-%d in:\n%s", mode, n, i, got)
			}
			if n := strings.Count(got, fmt.Sprintf("Uploaded  file-%d\n", i)); n != 1 && mode != ModeJSON {
				t.Errorf("%s: %d lines of the end of file-%d in:\n%s", mode, n, i, got)
			}
		}
	}
}
