package ui

import (
	"strings"
	"sync"

	"github.com/rivo/uniseg"
)

// screen is a small terminal: it knows what live writes, and keeps everything
// that scrolls off its top.
type screen struct {
	mu      sync.Mutex
	width   int
	rows    []string // cells as grapheme clusters are not needed: lines are only ever written whole
	row     int      // of the cursor
	wrapped int      // how often a line was longer than the terminal
	writes  int
	unknown []string // control sequences that it does not know
}

func newScreen(width int) *screen { return &screen{width: width, rows: []string{""}} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	text := string(p)
	for text != "" {
		switch {
		case text[0] == '\r':
			// What is written at the beginning of a row replaces it.
			text = text[1:]
			if !strings.HasPrefix(text, "\n") && !strings.HasPrefix(text, "\x1b") && text != "" {
				s.rows[s.row] = ""
			}
		case text[0] == '\n':
			text = text[1:]
			s.down()
		case strings.HasPrefix(text, "\x1b["):
			text = s.control(text[2:])
		default:
			var c string
			c, text, _, _ = uniseg.FirstGraphemeClusterInString(text, -1)
			if uniseg.StringWidth(s.rows[s.row]+c) > s.width {
				s.wrapped++
				s.down()
			}
			s.rows[s.row] += c
		}
	}
	return len(p), nil
}

func (s *screen) down() {
	if s.row++; s.row == len(s.rows) {
		s.rows = append(s.rows, "")
	}
}

// control obeys one control sequence and gives the text after it.
func (s *screen) control(text string) string {
	n, i := 0, 0
	for ; i < len(text) && text[i] >= '0' && text[i] <= '9'; i++ {
		n = n*10 + int(text[i]-'0')
	}
	switch text[i] {
	case 'A':
		s.row = max(0, s.row-max(1, n))
	case 'J':
		s.rows = s.rows[:s.row+1]
		s.rows[s.row] = ""
	case 'm':
	default:
		s.unknown = append(s.unknown, text[:i+1])
	}
	return text[i+1:]
}

// String is what the screen shows, without blanks at the ends of lines.
func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, row := range s.rows {
		b.WriteString(strings.TrimRight(row, " ") + "\n")
	}
	return b.String()
}
