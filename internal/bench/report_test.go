package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// made is a report of made-up figures: one row that is met, one that is not, and
// a curve that is steep in its second half.
func made() *Report {
	sample := func(s float64, requests, trips int) *Result {
		m := Sample{Seconds: s, Requests: requests, Trips: trips, Peak: 14e6}
		return &Result{Samples: []Sample{m}, Median: m}
	}
	r := &Report{Date: "2026-01-02", Runs: 5, Machine: Machine{CPU: "Abacus"}}
	for _, seconds := range []float64{0.2, 0.4} {
		row := Row{ID: "push", Title: "push <3> files", RTT: 50, Results: map[string]*Result{
			peerStet: sample(seconds, 9, 4), peerORAS: sample(0.5, 14, 8), peerGGCR: {Note: "–"},
		}}
		for _, t := range append(inTime(0.25), ratio(peerORAS, 0.5, "half of ORAS"), ratioToBest(0.85)) {
			row.Verdicts = append(row.Verdicts, t.judge(row))
		}
		r.Rows = append(r.Rows, row)
	}
	r.Curves = []Curve{{ID: "tag", Title: "tags", Unit: "tags", Points: []Point{
		{1, Sample{Seconds: 0.1, Peak: 1e7, Requests: 2}},
		{10, Sample{Seconds: 0.2, Peak: 1e7, Requests: 11}},
		{100, Sample{Seconds: 5, Peak: 1e7, Requests: 101}},
	}}}
	return r
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

// What is met and what is not stands in the table, with the figure.
func TestText(t *testing.T) {
	var b strings.Builder
	made().text(&b)
	contains(t, b.String(), "0.20 / 9 / 4 14M", "0.50 / 14 / 8 14M", "met", "not met: ≤ 0.25 s, is 0.400 s; ≤ half of ORAS, is 0.80",
		"time grows with the power of 1.40 from 10 to 100 tags", "–")
}

// The page has the tables, the reasons that were written down, and says where
// one is missing.
func TestMarkdown(t *testing.T) {
	r := made()
	page := r.markdown("# Notes\n\n## push\n\nThe moon was full.\n\n## curve tag\n\nTags are heavy.\n")
	contains(t, page, "| push <3> files | 0.50 / 14 / 8 |", "| **not met** |", "| met |", "The moon was full.", "Tags are heavy.", "**1.40**", "Abacus", "2026-01-02, 5 runs")
	contains(t, r.markdown(""), "The reason is not written down yet.")
}

// The plot is well-formed and has a bar for each client that took part.
func TestPlot(t *testing.T) {
	plot := made().plot()
	d := xml.NewDecoder(strings.NewReader(plot))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(plot, colour(peerStet)+`"/>`); n < 3 {
		t.Errorf("%d bars of stet, want one for each row and the legend", n)
	}
}

// A report that was written is read back the same.
func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	if err := made().writeJSON(path); err != nil {
		t.Fatal(err)
	}
	r, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.markdown("x"), made().markdown("x"); got != want {
		t.Errorf("another page after reading back:\n%s\nwant\n%s", got, want)
	}
}

// The median is that of each figure on its own.
func TestMedian(t *testing.T) {
	m := median([]Sample{{Seconds: 3, Requests: 7}, {Seconds: 1, Requests: 9}, {Seconds: 2, Requests: 8}})
	if m.Seconds != 2 || m.Requests != 8 {
		t.Errorf("%+v", m)
	}
	if m := median([]Sample{{Seconds: 1}, {Seconds: 3}}); m.Seconds != 2 {
		t.Errorf("of two: %v", m.Seconds)
	}
}

// A row that is not there is an error, and no row less.
func TestChoose(t *testing.T) {
	id := func(r row) string { return r.id }
	all := rows(sizes{})
	if got, err := choose(all, "tag,push", id); err != nil || len(got) != 2 || got[0].id != "tag" {
		t.Errorf("%v %v", got, err)
	}
	if _, err := choose(all, "push,posh", id); err == nil || !strings.Contains(err.Error(), `"posh"`) {
		t.Errorf("%v", err)
	}
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.id] {
			t.Errorf("two rows are called %q", r.id)
		}
		seen[r.id] = true
	}
}

// The notes are about rows and curves that there are.
func TestNotes(t *testing.T) {
	raw, err := os.ReadFile("notes.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, r := range rows(sizes{}) {
		known[r.id] = true
	}
	for _, c := range curves(false) {
		known["curve "+c.id] = true
	}
	for id := range sections(string(raw)) {
		if !known[id] {
			t.Errorf("notes.md has a section about %q, which is neither a row nor a curve", id)
		}
	}
}
