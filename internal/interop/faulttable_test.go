package interop

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// matrixTable is the matrix as a table: a row for each command, stage and point,
// a column for each kind of fault. Each entry has the way it ended once, and
// where that was tried, for ever.
func matrixTable(cells []cell) string {
	var kinds []kind
	rows := map[string]map[kind]string{}
	var order []string
	for _, c := range cells {
		row := fmt.Sprintf("%s\t%s\t%s", c.cmd, c.stage(), c.fault.when)
		if rows[row] == nil {
			rows[row] = map[kind]string{}
			order = append(order, row)
		}
		if !slices.Contains(kinds, c.fault.what) {
			kinds = append(kinds, c.fault.what)
		}
		old := rows[row][c.fault.what]
		rows[row][c.fault.what] = strings.TrimPrefix(old+" / "+c.outcome(), " / ")
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\ncommand\tstage\tpoint")
	for _, k := range kinds {
		fmt.Fprintf(w, "\t%s", k)
	}
	fmt.Fprintln(w)
	for _, row := range order {
		fmt.Fprint(w, row)
		for _, k := range kinds {
			fmt.Fprintf(w, "\t%s", cmp.Or(rows[row][k], "."))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	return b.String() + `
ok: done, and +N% is what moved of the big blob beyond all of it; a number is the exit code; !: open.
The second, after /, is where the fault stays.
`
}

// outcome is a cell in a word.
func (c *cell) outcome() string {
	text := fmt.Sprint(c.code)
	if c.code == codeOK {
		text = "ok"
	}
	if part := c.again * 100 / c.size; c.code == codeOK && part > 0 {
		text += fmt.Sprintf(" +%d%%", part)
	}
	if c.open {
		text += "!"
	}
	return text
}
