package ui

import (
	"strings"

	"github.com/docker/go-units"
	"github.com/rivo/uniseg"
)

// Size is a number of bytes for people, in powers of 1000 with three digits:
// "28.6MB". A size that is not known is "?".
func Size(n int64) string {
	if n < 0 {
		return "?"
	}
	return units.HumanSizeWithPrecision(float64(n), 3)
}

// clip cuts s to at most width columns, with an ellipsis where something is
// missing. It cuts between characters as people see them, which may be several
// runes and two columns wide.
func clip(s string, width int) string {
	if uniseg.StringWidth(s) <= width {
		return s
	}
	if width <= 0 {
		return ""
	}
	var b strings.Builder
	used := 0
	for g := uniseg.NewGraphemes(s); g.Next(); {
		if used += g.Width(); used > width-1 {
			break
		}
		b.WriteString(g.Str())
	}
	return b.String() + "…"
}

// column is s in exactly width columns.
func column(s string, width int) string {
	s = clip(s, width)
	return s + strings.Repeat(" ", max(0, width-uniseg.StringWidth(s)))
}
