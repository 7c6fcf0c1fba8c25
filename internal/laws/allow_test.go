package laws

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const allowFile = "internal/laws/allow.txt"

// allowance is one line of allow.txt.
type allowance struct {
	key    string // path or path:name
	what   string // var, clock, lines or params
	limit  int    // of lines and params
	reason string
}

// allowances reads `PATH[:NAME] LIMIT REASON`; LIMIT is a number of lines, a
// number of parameters with the word params attached (7params), var or clock.
func (t *tree) allowances() ([]allowance, []finding) {
	var all []allowance
	var bad []finding
	n := 0
	for line := range strings.Lines(string(t.other[allowFile])) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, rest, _ := strings.Cut(line, " ")
		limit, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
		a := allowance{key: key, what: limit, reason: strings.TrimSpace(reason)}
		if limit != "var" && limit != "clock" {
			a.what = "lines"
			num, isParams := strings.CutSuffix(limit, "params")
			if isParams {
				a.what = "params"
			}
			a.limit, _ = strconv.Atoi(num)
		}
		if a.limit == 0 && (a.what == "lines" || a.what == "params") || len(strings.Fields(a.reason)) < 3 {
			bad = append(bad, finding{at: fmt.Sprintf("%s:%d", allowFile, n), text: "does not read `PATH[:NAME] LIMIT REASON`, with a reason of some words"})
			continue
		}
		all = append(all, a)
	}
	return all, bad
}

// covers says whether the line allows the finding.
func (a allowance) covers(f finding) bool {
	return f.key != "" && a.key == f.key && a.what == f.what && f.size <= a.limit
}

// permit takes away what allow.txt allows.
func (t *tree) permit(found []finding) []finding {
	all, _ := t.allowances()
	return slices.DeleteFunc(found, func(f finding) bool {
		return slices.ContainsFunc(all, func(a allowance) bool { return a.covers(f) })
	})
}

// allowed is the law on allow.txt itself: it can be read, and each line is needed.
func allowed(t *tree) []finding {
	all, bad := t.allowances()
	found := slices.Concat(sizes(t), variables(t), clock(t))
	for _, a := range all {
		if !slices.ContainsFunc(found, a.covers) {
			bad = append(bad, finding{at: a.key, text: "has a line in " + allowFile + " that allows nothing any more; delete the line"})
		}
	}
	return bad
}

func TestAllowList(t *testing.T) { hold(t, "allowlist", allowed) }
