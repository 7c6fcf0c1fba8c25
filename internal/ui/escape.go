package ui

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Escape makes text from outside fit for one line of a terminal or a log:
// control characters (C0, DEL, C1), controls of the writing direction and
// whatever else is not graphic are shown as \n, \t or \u202e, bytes that are
// no UTF-8 as \xff. Printable Unicode stays. It is for reading and not undone:
// a backslash stays a backslash.
func Escape(s string) string { return escape(s, "") }

// maxTold is how many bytes of a text are told, and tailTold how many of them are
// its end: an error quotes what an answer said, which may be as long as answers may.
const (
	maxTold  = 2000
	tailTold = 500
)

// Tell is Escape for what is told on stderr: a long text loses its middle.
func Tell(s string) string {
	if len(s) > maxTold {
		head, tail := s[:maxTold-tailTold], s[len(s)-tailTold:]
		s = strings.ToValidUTF8(head, "") + " … " + strings.ToValidUTF8(tail, "")
	}
	return Escape(s)
}

// EscapeLines is Escape for text of several lines: newlines and tabs stay.
func EscapeLines(s string) string { return escape(s, "\n\t") }

// escape leaves the characters in keep.
func escape(s, keep string) string {
	clean := func(r rune, size int) bool {
		return !(r == utf8.RuneError && size == 1) && (graphic(r) || strings.ContainsRune(keep, r))
	}
	var b strings.Builder
	done := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if !clean(r, size) {
			b.WriteString(s[done:i])
			done = i + size
			writeEscaped(&b, r, s[i:done])
		}
		i += size
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// writeEscaped writes r, which stands as raw in the text. The forms for runes
// are those of JSON, so that JSON which is escaped as text means the same.
func writeEscaped(b *strings.Builder, r rune, raw string) {
	switch {
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\t':
		b.WriteString(`\t`)
	case r == '\r':
		b.WriteString(`\r`)
	case r == utf8.RuneError && len(raw) == 1:
		fmt.Fprintf(b, `\x%02x`, raw[0])
	case r > 0xffff:
		high, low := utf16.EncodeRune(r)
		fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
	default:
		fmt.Fprintf(b, `\u%04x`, r)
	}
}

// graphic tells what may be printed as it is. The joiners of emoji and of
// Persian and Indic scripts are no letters, but text is wrong without them.
func graphic(r rune) bool {
	const zwnj, zwj = '\u200c', '\u200d'
	return unicode.IsGraphic(r) || r == zwnj || r == zwj
}

// control tells what a terminal obeys instead of showing it.
func control(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// escapeJSON writes the controls that encoding/json leaves in strings as
// \u escapes: the same document, which a terminal can be shown. Newlines and
// tabs outside strings stay; inside they are escaped already.
func escapeJSON(doc []byte) []byte {
	i := strings.IndexFunc(string(doc), obeyed)
	if i < 0 {
		return doc
	}
	out := append([]byte(nil), doc[:i]...)
	for _, r := range string(doc[i:]) {
		if obeyed(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

func obeyed(r rune) bool { return control(r) && r != '\n' && r != '\t' }
