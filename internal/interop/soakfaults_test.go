package interop

import "math/rand/v2"

// How often faults strike: of a thousand requests so many are broken, of those
// for a part of a blob, which are few, so many more, and so many begin a time in
// which nothing goes.
const (
	soakStruck = 50
	soakParts  = 250
	soakOutage = 2
)

// soakFaults makes the faults of one worker's way to one registry. It is called
// by its proxy, one call at a time.
type soakFaults struct {
	rng     *rand.Rand
	guarded bool
	note    func(kind)
	outage  *fault // while times is left
	lied    bool   // wrong bytes under the right header were sent, since this was set to false
	tokens  bool   // signing in was refused, the same
}

func (f *soakFaults) next(at stage) *fault {
	var made *fault
	switch n := f.rng.IntN(1000); {
	case f.outage != nil && f.outage.times > 0:
		f.outage.times--
		made = &fault{at: at, when: asked, what: f.outage.what}
	case n < soakOutage:
		what := []kind{cut, reset, status500, status503, later}[f.rng.IntN(5)]
		f.outage = &fault{what: what, times: 3 + f.rng.IntN(20)}
		return nil
	case n < soakOutage+soakStruck, at == atRange && n < soakParts:
		made = f.one(at)
	}
	if made != nil {
		f.note(made.what)
		f.lied = f.lied || made.what == otherBytes
		f.tokens = f.tokens || made.what == expired || at == atToken
	}
	return made
}

// one chooses among what can happen at a stage.
func (f *soakFaults) one(at stage) *fault {
	broken := []kind{cut, reset, stall}
	refused := []kind{status500, status503, later, laterDate, muchLater}
	lies := []kind{wrongRange, wholeFor, otherPart, otherBytes}
	if f.guarded && at != atToken {
		refused = append(refused, expired)
	}
	where := points[at]
	switch at {
	case atRange:
		where = download
	case atHead, atOther:
		where = noBody
	}
	choose := func(of []kind) kind { return of[f.rng.IntN(len(of))] }
	switch n := f.rng.IntN(10); {
	case at == atRange && n < 2:
		return &fault{at: at, when: whole, what: choose(lies)}
	case (at == atBlobGet || at == atPatch || at == atPut) && n < 3:
		return &fault{at: at, when: half, what: slow}
	case n < 5:
		return &fault{at: at, when: asked, what: choose(refused)}
	}
	return &fault{at: at, when: where[f.rng.IntN(len(where))], what: choose(broken)}
}
