package interop

import (
	"slices"
	"time"
)

// want is what is expected of a cell.
type want struct {
	code    int
	again   float64       // how much of the big blob may move again, as a part of it
	timeout time.Duration // --timeout, where only that ends the command
}

// The exit codes that a fault may end in.
const (
	codeOK          = 0
	codeAuth        = 4
	codeMismatch    = 7
	codeUnavailable = 8
)

// Where an exchange can break, by what it carries.
var (
	noBody   = []point{asked, answered}
	tiny     = []point{asked, half, answered} // a body of a few bytes
	download = []point{asked, firstByte, half, late, lastByte}
	upload   = []point{asked, firstByte, half, late, lastByte, answered}
)

// points are the points of a stage. Stages that are not here are about what a
// command can do without.
var points = map[stage][]point{
	atToken: tiny, atHead: noBody, atList: tiny, atManifestGet: tiny, atBlobGet: download,
	atPostBody: tiny, atPost: noBody, atPatch: upload, atPut: upload, atSmallPut: tiny, atClosingPut: noBody, atManifestPut: tiny,
}

// stops are the stages of a command.
type stops struct {
	cmd command
	at  []stage
}

// matrixCells are the cells of the matrix: all of them for our own registry, and
// for another those that depend on how it takes what breaks.
func matrixCells(reg string, all []stops) []cell {
	var cells []cell
	for _, s := range all {
		for _, at := range s.at {
			if points[at] != nil && (reg == ours || slices.Contains(byRegistry, at)) {
				cells = append(cells, stageCells(reg, s.cmd, at)...)
			}
		}
	}
	if reg == ours {
		cells = append(cells, rangeCells()...)
	}
	return cells
}

// byRegistry are the stages that registries take in ways of their own.
var byRegistry = []stage{atBlobGet, atPost, atPatch, atPut, atClosingPut, atManifestPut}

// stageCells are those of one stage.
func stageCells(reg string, cmd command, at stage) []cell {
	var cells []cell
	add := func(when point, what kind, times int) {
		c := cell{cmd: cmd, fault: fault{at: at, when: when, what: what, times: times}}
		c.want = expect(reg, c)
		cells = append(cells, c)
	}
	for _, when := range points[at] {
		for _, what := range []kind{cut, reset, stall} {
			add(when, what, 1)
			document := when == half && slices.Contains([]stage{atToken, atList, atManifestGet}, at)
			if reg == ours && (when == asked || when == answered || document) && what != reset {
				add(when, what, forever)
			}
		}
	}
	for _, what := range []kind{status500, status503, later, laterDate, muchLater, expired} {
		if at == atToken && what == expired || reg != ours && what != status500 && what != expired {
			continue
		}
		add(asked, what, 1)
		if reg == ours && what != laterDate && what != muchLater {
			add(asked, what, forever)
		}
	}
	if at == atPatch || at == atPut {
		add(half, status500, 1)
		add(answered, status500, 1)
	}
	if at == atPatch || at == atPut || at == atBlobGet {
		add(half, slow, 1)
	}
	return cells
}

// rangeCells are about requests for a part of a blob: the rest of one that broke
// off, and parts that are fetched at a time. Of the latter the first is special,
// because its answer decides whether there are others.
func rangeCells() []cell {
	var cells []cell
	add := func(cmd command, when point, what kind, times, after int) {
		c := cell{cmd: cmd, fault: fault{atRange, when, what, times, after}}
		c.want = expect(ours, c)
		cells = append(cells, c)
	}
	for _, r := range []struct {
		cmd   command
		after int
	}{{pullRest, 0}, {pullParts, 0}, {pullParts, 3}} {
		for _, when := range download {
			if r.cmd == pullParts && r.after == 0 && when != half {
				continue // as in the others
			}
			for _, what := range []kind{cut, reset, stall} {
				add(r.cmd, when, what, 1, r.after)
			}
		}
		for _, what := range []kind{status500, status503, expired} {
			add(r.cmd, asked, what, 1, r.after)
		}
		for _, what := range []kind{wrongRange, wholeFor, otherPart, otherBytes} {
			add(r.cmd, whole, what, 1, r.after)
			add(r.cmd, whole, what, forever, r.after)
		}
	}
	// A byte for each request is progress, which only --timeout ends.
	drip := cell{cmd: pull, fault: fault{at: atBytes, when: firstByte, what: cut, times: forever}}
	drip.want = want{code: codeUnavailable, timeout: 3 * time.Second}
	return append(cells, drip)
}

// ours is the registry with all cells.
const ours = "serve"

// The parts of a blob that may move again: after a break; where nothing shows
// which bytes a part has, so that it is fetched anew from its beginning, and
// parts that were fetched ahead are given up with it; and where a slow receiver
// looks silent because a large buffer before it takes nothing for a while. Last,
// Distribution gives an upload up when it has more of it than its last answer
// said, which is so after each break (blobupload.go: "upload resumed at wrong
// offset").
const (
	againBreak = 0.15
	againWhole = 1.1
	againSlow  = 1.1
	againGone  = 1.1
)

// expect is what a fault may lead to.
func expect(reg string, c cell) want {
	f := c.fault
	upload := slices.Contains([]stage{atPatch, atPut, atSmallPut, atClosingPut}, f.at)
	lie := slices.Contains([]kind{wrongRange, wholeFor, otherPart}, f.what)
	switch {
	case f.what == otherBytes:
		return want{code: codeMismatch}
	case lie:
		return want{again: againWhole}
	case f.at == atList: // asked only to know whether to hash before sending
		return want{again: againBreak}
	case f.what == muchLater:
		return want{code: codeUnavailable}
	case f.what == slow:
		return want{again: againSlow}
	case reg != ours && upload && f.times != forever && f.when > asked:
		return want{again: againGone}
	case f.times != forever:
		return want{again: againBreak}
	case f.what == expired:
		return want{code: codeAuth}
	case f.when == answered && upload:
		return want{again: againBreak} // the registry has it, and says so when it is asked
	}
	return want{code: codeUnavailable}
}

// open are cells that do not hold yet, with the reason. Their problems are told
// and not counted; an entry whose cells all hold has to go.
var open = []struct {
	why string
	is  func(c *cell) bool
}{}

// openAt is the entry of a cell, or -1.
func openAt(c *cell) int {
	for i, o := range open {
		if o.is(c) {
			return i
		}
	}
	return -1
}
