package main

import (
	"fmt"
	"strings"
)

// preface says how the figures came to be. The rest of the page is figures.
const preface = `# Performance

Made by ` + "`make bench`" + `; the reasons under the tables come from internal/bench/notes.md.

Each client does the same work on the same registry through the same proxy, in turn, each time in a new process: stet as
the program that users run, the others as Go libraries in a worker that does what their own command lines do. "stet
library" is stet's packages in that same worker. The proxy runs on loopback. Where a row has a round-trip time it adds
50 ms to each request, and once more to each new connection. A figure is the median of the runs. What is pushed again is
pushed by the user who pushed it first: the program stet then has its cache of what is where, which the libraries have not.

Where registries and files lie counts: on a disk the registry waits for it with each write, 10 ms and more, and all clients
with it. ` + "`make bench DIR=/dev/shm/bench`" + ` leaves that out, and measures the clients; the table below says which it was.

*Round trips* are those on the critical path: the most requests and openings of connections of which each began after
the one before it had ended. "–": the library has no code for this work.

![times beside the fastest other client, and curves](performance.svg)

`

// markdown is the report as a page. notes are reasons by row: sections that
// begin with "## ID".
func (r *Report) markdown(notes string) string {
	var b strings.Builder
	b.WriteString(preface)
	r.machine(&b)
	reasons := sections(notes)
	b.WriteString("## The table\n\nSeconds / requests / round trips.\n\n")
	r.times(&b)
	b.WriteString("\n## Ratios, memory, CPU, bytes\n\nstet's program beside the fastest other client in the row; peak memory in MB, CPU in seconds.\n\n")
	r.costs(&b)
	b.WriteString("\n## What is not met, and why\n\n")
	r.unmetReasons(&b, reasons)
	if len(r.Curves) > 0 {
		fmt.Fprintf(&b, "\n## Growth\n\nstet's program over loopback. An exponent of 1 is growth as that of the work; above %.2f it is said.\n", steep)
		for _, c := range r.Curves {
			c.markdown(&b, reasons["curve "+c.ID])
		}
	}
	return b.String()
}

func (r *Report) machine(b *strings.Builder) {
	m := r.Machine
	kind := fmt.Sprintf("%d runs", r.Runs)
	if r.Quick {
		kind += ", quick: less work than the rows' targets are meant for"
	}
	o := r.Overhead
	for _, line := range [][2]string{
		{"when", r.Date + ", " + kind},
		{"stet", m.Stet},
		{"machine", fmt.Sprintf("%s, %d cores, %.0f GB", m.CPU, m.Cores, float64(m.Memory)/1e9)},
		{"system", m.OS + ", " + m.Go + ", files on " + m.Disk},
		{"registry", m.Registry},
		{"the proxy itself", fmt.Sprintf("%.0f µs a small request (%.0f without it), %.0f MB/s (%.0f without it)",
			o.ProxyMicros, o.DirectMicros, float64(o.Bytes)/1e6/o.ProxySeconds, float64(o.Bytes)/1e6/o.DirectSeconds)},
	} {
		if b.Len() == len(preface) {
			b.WriteString("| | |\n|---|---|\n")
		}
		fmt.Fprintf(b, "| %s | %s |\n", line[0], line[1])
	}
	b.WriteString("\n")
}

func (r *Report) times(b *strings.Builder) {
	others := peers()[1:]
	fmt.Fprintf(b, "| work | %s | %s | target | |\n|---|%s---|---|---|\n", strings.Join(reversed(others), " | "), peerStet, strings.Repeat("---|", len(others)))
	for _, row := range r.Rows {
		fmt.Fprintf(b, "| %s |", row.Title)
		for _, peer := range append(reversed(others), peerStet) {
			fmt.Fprintf(b, " %s |", row.figure(peer))
		}
		var targets []string
		for _, v := range row.Verdicts {
			targets = append(targets, v.Target)
		}
		verdict := "met"
		switch v := row.verdict(); {
		case v == "":
			verdict = ""
		case v != "met":
			verdict = "**not met**"
		}
		fmt.Fprintf(b, " %s | %s |\n", strings.Join(targets, ", "), verdict)
	}
}

// reversed puts stet's library last, beside its program.
func reversed(peers []string) []string {
	return append(append([]string{}, peers[1:]...), peers[0])
}

func (r Row) figure(peer string) string {
	p := r.result(peer)
	if len(p.Samples) == 0 {
		return p.Note
	}
	text := fmt.Sprintf("%s / %d", short(p.Median.Seconds), p.Median.Requests)
	if r.RTT > 0 {
		text += fmt.Sprintf(" / %d", p.Median.Trips)
	}
	return text
}

func (r *Report) costs(b *strings.Builder) {
	b.WriteString("| work | time | beside | peak | theirs | CPU | theirs | MB up | MB down |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		s, best := row.result(peerStet), row.best()
		if len(s.Samples) == 0 || best == "" {
			fmt.Fprintf(b, "| %s | %s | %s | | | | | | |\n", row.Title, s.Note, best)
			continue
		}
		t := row.result(best).Median
		fmt.Fprintf(b, "| %s | %.2f | %s | %.0f | %.0f | %s | %s | %.2f | %.2f |\n", row.Title, s.Median.Seconds/t.Seconds, best,
			float64(s.Median.Peak)/1e6, float64(t.Peak)/1e6, short(s.Median.CPU), short(t.CPU), float64(s.Median.Up)/1e6, float64(s.Median.Down)/1e6)
	}
}

// unmetReasons lists the targets that are not met, each with the reason that
// somebody wrote down.
func (r *Report) unmetReasons(b *strings.Builder, reasons map[string]string) {
	all := true
	for _, row := range r.Rows {
		if v := row.verdict(); v == "" || v == "met" {
			continue
		}
		all = false
		reason := reasons[row.ID]
		if reason == "" {
			reason = "*The reason is not written down yet.*"
		}
		fmt.Fprintf(b, "**%s** (%s): %s\n\n", row.Title, row.verdict(), reason)
	}
	if all {
		b.WriteString("Every target is met.\n")
	}
}

func (c Curve) markdown(b *strings.Builder, reason string) {
	fmt.Fprintf(b, "\n### %s\n\n| %s | seconds | MB | requests | exponents: time | memory | requests |\n|---|---|---|---|---|---|---|\n", c.Title, c.Unit)
	for i, p := range c.Points {
		fmt.Fprintf(b, "| %d | %s | %.1f | %d |", p.N, short(p.Seconds), float64(p.Peak)/1e6, p.Requests)
		for _, f := range figures() {
			switch {
			case i == 0:
				b.WriteString(" |")
			case c.exponent(i, f.of) > steep:
				fmt.Fprintf(b, " **%.2f** |", c.exponent(i, f.of))
			default:
				fmt.Fprintf(b, " %.2f |", c.exponent(i, f.of))
			}
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(b, "\n%s.\n", strings.ToUpper(c.growth()[:1])+c.growth()[1:])
	for _, more := range []string{c.Note, reason} {
		if more != "" {
			fmt.Fprintf(b, "%s\n", more)
		}
	}
}

// sections are the texts under the headings "## ID" of a page, by ID.
func sections(page string) map[string]string {
	found := map[string]string{}
	for i, part := range strings.Split("\n"+page, "\n## ") {
		if id, text, ok := strings.Cut(part, "\n"); ok && i > 0 {
			found[strings.TrimSpace(id)] = strings.TrimSpace(text)
		}
	}
	return found
}
