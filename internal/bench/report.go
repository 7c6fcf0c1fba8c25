package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Report is all that a run found: what -json writes, and what text, docs and plot
// are made of.
type Report struct {
	Machine  Machine
	Date     string
	Runs     int
	Quick    bool
	Overhead Overhead
	Rows     []Row
	Curves   []Curve `json:",omitempty"`
}

// Machine says where the figures come from.
type Machine struct {
	CPU      string
	Cores    int
	Memory   int64 // bytes
	OS       string
	Go       string
	Registry string
	Stet     string // the commit
	Disk     string // what the directory of the run lies on
}

// Row is one row: one work, by all clients.
type Row struct {
	ID, Title string
	RTT       float64 // milliseconds
	Rate      int64   `json:",omitempty"` // bytes per second and connection
	Registry  string  `json:",omitempty"` // if not that of the report
	Results   map[string]*Result
	Verdicts  []Verdict
	Took      float64 // seconds, with setting up
}

// Result is what one client did.
type Result struct {
	Note    string `json:",omitempty"` // why there are no samples
	Samples []Sample
	Median  Sample
}

func (r Row) result(peer string) *Result {
	if r.Results[peer] == nil {
		r.Results[peer] = &Result{}
	}
	return r.Results[peer]
}

// verdict is "met", or what is not.
func (r Row) verdict() string {
	var not []string
	for _, v := range r.Verdicts {
		if !v.Met {
			not = append(not, fmt.Sprintf("%s, is %s", v.Target, v.Measured))
		}
	}
	switch {
	case len(r.Verdicts) == 0:
		return ""
	case len(not) == 0:
		return "met"
	}
	return "not met: " + strings.Join(not, "; ")
}

// describe finds out about the machine.
func describe(registry, dir string) Machine {
	m := Machine{
		CPU: "unknown", Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		Registry: registry, Stet: output("git", "describe", "--always", "--dirty"), Disk: output("stat", "-f", "-c", "%T", dir),
	}
	if name := field("/proc/cpuinfo", "model name"); name != "" {
		m.CPU = name
	}
	var kib int64
	if n, _ := fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kib); n == 1 {
		m.Memory = kib << 10
	}
	if kernel := output("uname", "-sr"); kernel != "" {
		m.OS += ", " + kernel
	}
	return m
}

// output is the first line that a program prints, "" where it cannot run.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// field is the value of "name: value" in a file of /proc.
func field(path, name string) string {
	raw, _ := os.ReadFile(path)
	for line := range strings.Lines(string(raw)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (r *Report) writeJSON(path string) error {
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

func readReport(path string) (*Report, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	return r, json.Unmarshal(raw, r)
}

// text writes the report for a terminal: seconds, requests and round trips of
// each client, then the verdict.
func (r *Report) text(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ROW\t"+strings.ToUpper(strings.Join(peers(), "\t"))+"\tTARGET")
	for _, row := range r.Rows {
		fmt.Fprint(tw, row.ID)
		for _, peer := range peers() {
			fmt.Fprint(tw, "\t"+row.cell(peer))
		}
		fmt.Fprintln(tw, "\t"+row.verdict())
	}
	tw.Flush()
	fmt.Fprintln(w, "\nA cell is: seconds / requests / round trips on the critical path, where there is a round-trip time; peak memory.")
	for _, c := range r.Curves {
		c.text(w)
	}
}

// cell is what the tables say of a client in a row.
func (r Row) cell(peer string) string {
	p := r.result(peer)
	if len(p.Samples) == 0 {
		return p.Note
	}
	m := p.Median
	cell := fmt.Sprintf("%s / %d", short(m.Seconds), m.Requests)
	if r.RTT > 0 {
		cell += fmt.Sprintf(" / %d", m.Trips)
	}
	return cell + fmt.Sprintf(" %.0fM", float64(m.Peak)/1e6)
}

// short prints seconds with as many digits as they are worth.
func short(s float64) string {
	switch {
	case s < 0.1:
		return fmt.Sprintf("%.3f", s)
	case s < 10:
		return fmt.Sprintf("%.2f", s)
	}
	return fmt.Sprintf("%.1f", s)
}
