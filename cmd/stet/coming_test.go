package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// comingRow is a row of docs/coming-from-oras.md.
type comingRow struct {
	name     string   // a command, or a flag with its dashes
	commands []string // of a flag; nil is everywhere
	verdict  string
	how      string
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// comingRows reads the two tables of the page: commands, which have three
// columns, and flags, which have four.
func comingRows(t *testing.T) (commands, flags []comingRow) {
	t.Helper()
	for _, line := range pageLines(t, "../../docs/coming-from-oras.md") {
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		names := codeSpan.FindAllStringSubmatch(cells[0], -1)
		if !strings.HasPrefix(line, "|") || len(names) == 0 || len(cells) == 2 { // two columns are about habits
			continue
		}
		row := comingRow{verdict: cells[len(cells)-2], how: cells[len(cells)-1]}
		for _, name := range names {
			row.name = name[1]
			switch {
			case len(cells) == 3:
				commands = append(commands, row)
				continue
			case len(cells) != 4:
				t.Fatalf("a row of %d cells: %s", len(cells), line)
			case cells[1] != "everywhere":
				row.commands = nil
				for _, c := range codeSpan.FindAllStringSubmatch(cells[1], -1) {
					row.commands = append(row.commands, c[1])
				}
			}
			flags = append(flags, row)
		}
	}
	return commands, flags
}

func pageLines(t *testing.T, page string) []string {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(raw), "\n")
}

// orasFlags are the flags of ORAS by command.
func orasFlags(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, line := range pageLines(t, "testdata/oras-1.3.3.flags") {
		if command, flags, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			all[command] = strings.Fields(flags)
		}
	}
	return all
}

// TestComingFromORAS holds docs/coming-from-oras.md against the program: each
// command and flag of ORAS stands in one row, and what is called same or better
// is what --help knows.
func TestComingFromORAS(t *testing.T) {
	commands, flags := comingRows(t)
	want, bin := orasFlags(t), filepath.Join(installProgram(t), "stet")
	for _, command := range slices.Sorted(maps.Keys(want)) {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			verdict := theRow(t, commands, command, "").verdict
			help, err := exec.Command(bin, append(strings.Fields(command), "--help")...).CombinedOutput()
			known := err == nil && strings.Contains(string(help), "stet "+command)
			if checkVerdict(t, verdict); known != (verdict != "left out") {
				t.Fatalf("the page says %q, and the program:\n%s", verdict, help)
			}
			c := &orasCommand{bin: bin, name: command, help: string(help)}
			for _, flag := range want[command] {
				c.check(t, flag, theRow(t, flags, flagRow(command, flag), command))
			}
		})
	}
}

// flagRow is the flag as the page has it: those of cp stand there without the
// side.
func flagRow(command, flag string) string {
	if command == "cp" {
		flag = strings.TrimPrefix(strings.TrimPrefix(flag, "from-"), "to-")
	}
	return "--" + flag
}

func checkVerdict(t *testing.T, verdict string) {
	t.Helper()
	if !slices.Contains([]string{"same", "better", "left out"}, verdict) {
		t.Errorf("the verdict %q is none of same, better, left out", verdict)
	}
}

// theRow finds the one row of a command, or of a flag of a command.
func theRow(t *testing.T, rows []comingRow, name, command string) comingRow {
	t.Helper()
	var general, exact []comingRow
	for _, r := range rows {
		switch {
		case r.name != name:
		case slices.Contains(r.commands, command):
			exact = append(exact, r)
		case r.commands == nil:
			general = append(general, r)
		}
	}
	if len(exact) == 0 {
		exact = general
	}
	if len(exact) != 1 {
		t.Fatalf("%s %s stands in %d rows of the page", command, name, len(exact))
	}
	return exact[0]
}

// value is what a flag is given to see that it is known.
func value(flag, help string) string {
	line := regexp.MustCompile(`--` + flag + `( [A-Z"]| stringArray| strings| int)`).FindString(help)
	switch {
	case flag == "concurrency" || flag == "depth" || flag == "size":
		return "=1"
	case line != "" || flag == "output": // which is hidden in discover
		return "=x"
	}
	return ""
}

// orasCommand is a command of ORAS as the program has it.
type orasCommand struct{ bin, name, help string }

func (c *orasCommand) check(t *testing.T, flag string, row comingRow) {
	t.Helper()
	checkVerdict(t, row.verdict)
	if row.verdict != "same" && row.how == "" {
		t.Errorf("%s --%s is %s: it is not said how or why", c.name, flag, row.verdict)
	}
	arg := "--" + flag + value(flag, c.help)
	out, err := exec.Command(c.bin, append(strings.Fields(c.name), arg, "--help")...).CombinedOutput()
	if known := err == nil; known != (row.verdict != "left out") {
		t.Errorf("%s %s: the page says %q, and the program:\n%s", c.name, arg, row.verdict, out)
	}
	shown := regexp.MustCompile(`--` + flag + `\b`).MatchString(c.help)
	if hidden := strings.Contains(row.how, "hidden"); row.verdict != "left out" && shown == hidden {
		t.Errorf("%s --%s: the help shows it: %v, the page calls it hidden: %v", c.name, flag, shown, hidden)
	}
}

// TestComingFromOthers: every command line on the page for users of other
// clients is one that the program knows.
func TestComingFromOthers(t *testing.T) {
	bin, n := filepath.Join(installProgram(t), "stet"), 0
	for _, line := range pageLines(t, "../../docs/coming-from-others.md") {
		for _, span := range codeSpan.FindAllStringSubmatch(line, -1) {
			words := strings.Fields(span[1])
			if words[0] != "stet" {
				continue
			}
			n++
			t.Run(span[1], func(t *testing.T) {
				t.Parallel()
				out, err := exec.Command(bin, append(words[1:], "--help")...).CombinedOutput()
				if usage := fmt.Sprintf("stet %s", words[1]); err != nil || !strings.Contains(string(out), usage) {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
	if n < 30 {
		t.Errorf("the page has %d command lines of ours", n)
	}
}
