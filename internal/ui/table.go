package ui

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"
	"github.com/rivo/uniseg"
)

// gap is the space between two columns, and narrowest what a column keeps when
// others need room.
const (
	gap       = 2
	narrowest = 6
)

// Table writes rows under a heading, in columns two spaces apart. Cells are
// escaped. Rows may have fewer cells than the heading; nil is no heading.
//
// On a terminal that is narrower than the table, digests have twelve digits, and
// what is still too wide is cut: a table whose rows wrap is none. Anywhere else
// every cell is whole.
func Table(out io.Writer, heading []string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, gap, ' ', 0)
	var all [][]string
	if heading != nil {
		all = append(all, heading)
	}
	all = append(all, rows...)
	for i, row := range all {
		cells := make([]string, len(row))
		for j, cell := range row {
			cells[j] = Escape(cell)
		}
		all[i] = cells
	}
	if screen, ok := out.(*firstError); ok && screen.columns != nil {
		fit(all, screen.columns())
	}
	for _, row := range all {
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// fit makes the rows no wider than width, as far as that goes.
func fit(rows [][]string, width int) {
	if over(widths(rows), width) <= 0 {
		return
	}
	for _, row := range rows {
		for i, cell := range row {
			if d := digest.Digest(cell); d.Validate() == nil {
				row[i] = short(d)
			}
		}
	}
	columns := widths(rows)
	for over(columns, width) > 0 {
		widest := slices.Index(columns, slices.Max(columns))
		if columns[widest] <= narrowest {
			break
		}
		columns[widest]--
	}
	for _, row := range rows {
		for i, cell := range row {
			row[i] = clip(cell, columns[i])
		}
	}
}

// widths are those of the widest cell in each column.
func widths(rows [][]string) (columns []int) {
	for _, row := range rows {
		for i, cell := range row {
			if i == len(columns) {
				columns = append(columns, 0)
			}
			columns[i] = max(columns[i], uniseg.StringWidth(cell))
		}
	}
	return columns
}

// over is how much too wide columns are.
func over(columns []int, width int) int {
	sum := -width
	for i, c := range columns {
		sum += c
		if i > 0 {
			sum += gap
		}
	}
	return sum
}
