package ui

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// ProbeResult is what a store can do. The keys of Abilities are those of
// store.Abilities, and each of them is there.
type ProbeResult struct {
	Reference string        `json:"reference"` // "host/repository", or the path of a layout
	As        string        `json:"as"`        // who the registry saw; "" for a layout
	Wrote     bool          `json:"wrote"`     // whether anything was sent to be stored
	Abilities store.Support `json:"abilities"`
	Left      List[string]  `json:"left"`  // what could not be deleted
	Notes     List[string]  `json:"notes"` // what else is worth knowing

	ref store.Ref
}

// NewProbeResult tells of the store of ref. What found does not have is unknown.
func NewProbeResult(ref store.Ref, found store.Support) ProbeResult {
	r := ProbeResult{Reference: ref.Display(), Abilities: store.Support{}, ref: ref}
	for _, a := range store.Abilities() {
		f, ok := found[a]
		if !ok {
			f.Evidence.Note = "asked of registries only"
		}
		r.Abilities[a] = f
	}
	return r
}

// Text writes a table of the abilities and what each answer rests on.
func (r ProbeResult) Text(out io.Writer) error {
	var l lines
	l.add(r.heading("Probed"))
	if err := l.write(out); err != nil {
		return err
	}
	var rows [][]string
	for _, a := range store.Abilities() {
		f := r.Abilities[a]
		rows = append(rows, []string{string(a), f.Answer.String(), f.Value, evidence(f.Evidence)})
	}
	if err := Table(out, []string{"ABILITY", "ANSWER", "VALUE", "EVIDENCE"}, rows); err != nil {
		return err
	}
	return r.rest(out)
}

func (r ProbeResult) heading(verb string) string {
	s := fmt.Sprintf("%s [%s] %s", verb, r.ref.Scheme, r.Reference)
	if r.As != "" {
		s += " as " + r.As
	}
	if r.ref.Scheme == store.SchemeRegistry && !r.Wrote {
		s += ", reading only"
	}
	return s
}

// rest is what the table has no place for.
func (r ProbeResult) rest(out io.Writer) error {
	var l lines
	for _, n := range r.Notes {
		l.add("Note:", n)
	}
	for _, left := range r.Left {
		l.add("Left in", r.Reference+":", left)
	}
	return l.write(out)
}

// evidence is the evidence in one line, such as
// "GET /v2/app/tags/list?n=1: 200, Link: </v2/…>; rel="next"".
func evidence(e store.Evidence) string {
	s := e.Request
	if e.Status != 0 {
		s += ": " + strings.TrimSpace(strconv.Itoa(e.Status)+" "+e.Code)
	}
	for _, more := range []string{e.Header, e.Note} {
		if more != "" && s != "" {
			s += ", "
		}
		s += more
	}
	return longDigests.ReplaceAllStringFunc(s, func(d string) string {
		alg, hex, _ := strings.Cut(d, ":")
		return alg + ":" + hex[:digestDigits] + "…"
	})
}

// digestDigits are as many digits of a digest as status lines show.
const digestDigits = 12

var longDigests = regexp.MustCompile(`sha(?:256|512):[0-9a-f]{64,128}`)

// ProbePair is two stores side by side, and what can be copied from the one to
// the other.
type ProbePair struct {
	From ProbeResult          `json:"from"`
	To   ProbeResult          `json:"to"`
	Copy List[store.Carriage] `json:"copy"`
}

// NewProbePair compares two stores.
func NewProbePair(from, to ProbeResult) ProbePair {
	return ProbePair{From: from, To: to, Copy: store.Carry(from.Abilities, to.Abilities)}
}

// Text writes both columns of answers, and what can be copied. What the answers
// rest on is in the JSON, and in a probe of one of them.
func (p ProbePair) Text(out io.Writer) error {
	var l lines
	l.add(p.From.heading("Probed A:"))
	l.add(p.To.heading("Probed B:"))
	if err := l.write(out); err != nil {
		return err
	}
	var rows [][]string
	for _, a := range store.Abilities() {
		rows = append(rows, []string{string(a), answer(p.From.Abilities[a]), answer(p.To.Abilities[a])})
	}
	if err := Table(out, []string{"ABILITY", "A", "B"}, rows); err != nil {
		return err
	}
	rows = nil
	for _, c := range p.Copy {
		rows = append(rows, []string{c.What, c.Answer.String(), c.Note})
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	if err := Table(out, []string{"COPY FROM A TO B", "ANSWER", "HOW"}, rows); err != nil {
		return err
	}
	if err := p.From.rest(out); err != nil {
		return err
	}
	return p.To.rest(out)
}

func answer(f store.Finding) string {
	if f.Value == "" {
		return f.Answer.String()
	}
	return f.Answer.String() + " (" + f.Value + ")"
}
