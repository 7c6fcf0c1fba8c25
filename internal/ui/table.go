package ui

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Table writes rows under a heading, in columns two spaces apart. Cells are
// escaped. Rows may have fewer cells than the heading; nil is no heading.
func Table(out io.Writer, heading []string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if heading != nil {
		rows = append([][]string{heading}, rows...)
	}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = Escape(cell)
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}
