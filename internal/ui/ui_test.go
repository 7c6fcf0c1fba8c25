package ui

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Colours of a stream follow the environment, and then its terminal.
func TestColours(t *testing.T) {
	for _, c := range []struct {
		env            func(string) string
		pipe, terminal bool
	}{
		{env(), false, true},
		{env("TERM", "dumb"), false, false},
		{env("NO_COLOR", "1"), false, false},
		{env("NO_COLOR", "1", "FORCE_COLOR", "1"), false, false},
		{env("FORCE_COLOR", "1"), true, true},
		{env("CLICOLOR_FORCE", "1", "CLICOLOR", "0"), true, true},
		{env("CLICOLOR_FORCE", "0"), false, true},
		{env("CLICOLOR", "0"), false, false},
		{env("CLICOLOR", "1"), false, true},
	} {
		s := New(nil, nil, nil, c.env)
		s.ErrTTY = true
		if s.OutColor() != c.pipe || s.ErrColor() != c.terminal {
			t.Errorf("NO_COLOR=%s FORCE_COLOR=%s CLICOLOR_FORCE=%s CLICOLOR=%s TERM=%s: pipe %t, terminal %t",
				c.env("NO_COLOR"), c.env("FORCE_COLOR"), c.env("CLICOLOR_FORCE"), c.env("CLICOLOR"), c.env("TERM"),
				s.OutColor(), s.ErrColor())
		}
	}
}

// full is a disk without room, which has room again later.
type full struct{ errs []error }

func (f *full) Write(p []byte) (int, error) {
	err := f.errs[0]
	f.errs = f.errs[1:]
	return len(p), err
}

func TestOutErrIsTheFirst(t *testing.T) {
	first := errors.New("no space left")
	s := New(nil, &full{[]error{nil, first, errors.New("second"), nil}}, nil, env())
	for i := range 4 {
		fmt.Fprintln(s.Out, i)
		if want := i > 0; (s.OutErr() != nil) != want {
			t.Errorf("write %d: %v", i, s.OutErr())
		}
	}
	if !errors.Is(s.OutErr(), first) {
		t.Errorf("got %v", s.OutErr())
	}
	if err := (&Streams{Out: io.Discard}).OutErr(); err != nil {
		t.Errorf("streams made by hand: %v", err)
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":          "",
		"plain.txt": "plain.txt",
		"Grüße, 写真, 👩‍💻, می\u200cخواهم": "Grüße, 写真, 👩‍💻, می\u200cخواهم",
		"a\nb\tc\rd":                      `a\nb\tc\rd`,
		"\x1b[2J\a\x00":                   `\u001b[2J\u0007\u0000`,
		"del\x7f c1\u009b":                `del\u007f c1\u009b`,
		"\u202egpj.exe\u2066\u200f\u061c": `\u202egpj.exe\u2066\u200f\u061c`,
		"bad \xff\xc3 end\xe2":            `bad \xff\xc3 end\xe2`,
		"\ufffd is a character":           "\ufffd is a character",
		"a\u2028b\U000e0041":              `a\u2028b\udb40\udc41`,
		`C:\new`:                          `C:\new`,
	} {
		if got := Escape(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got, want := EscapeLines("a\n\tb\x1b"), "a\n\tb\\u001b"; got != want {
		t.Errorf("lines: %q, want %q", got, want)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a\x1b[31m\u009b\u202e\xff")
	f.Add("写真\n\t\U000e0001")
	f.Fuzz(func(t *testing.T, s string) {
		got := Escape(s)
		if !utf8.ValidString(got) {
			t.Errorf("%q gives invalid UTF-8: %q", s, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Errorf("%q gives %q with %U", s, got, r)
			}
		}
		if again := Escape(got); again != got {
			t.Errorf("%q gives %q, and then %q", s, got, again)
		}
	})
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 999: "999B", 1000: "1kB", 28_600_000: "28.6MB", 5 << 30: "5.37GB", -1: "?",
	} {
		if got := Size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	err := Table(&out, []string{"TAG", "DIGEST"}, [][]string{{"v1", "sha256:abc"}, {"evil\t\x1b[0m", "x"}, {"alone"}})
	want := strings.Join([]string{
		"TAG              DIGEST",
		"v1               sha256:abc",
		`evil\t\u001b[0m  x`,
		"alone",
		"",
	}, "\n")
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out.String(), want)
	}
}
