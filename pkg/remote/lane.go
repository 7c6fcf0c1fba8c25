package remote

import (
	"slices"
	"time"
)

// The bounds of a lane where nobody pins them.
const (
	smallFirst = 8  // requests under way at once to begin with
	smallMost  = 64 // and at most
	largeFirst = 4  // the same of large transfers in one direction
	largeMost  = 16

	smallRound = 50 * time.Millisecond  // how long a round takes at least: answers come in bursts
	largeRound = 500 * time.Millisecond // the same where only bytes are counted
)

// The rules of climbing.
const (
	gain      = 0.5 // of a limit's growth has to show in the rate, or it was no use
	restFor   = 8   // rounds after growth that was no use
	unitBytes = 64 << 10
)

// lane bounds the requests of one kind to one origin. Its limit rises while the
// work done per second rises with it, and goes back where answers only come later
// instead. It falls by a quarter where the same limit does half as much as
// before, which is where answers take twice as long, and by half where the other
// side refuses or breaks off (AIMD). That is judged in rounds, and only in those
// in which the limit was felt.
//
// It knows no lock: its host has one.
type lane struct {
	first, most int
	counts      bool // answers, and not only bytes
	steep       bool // the limit doubles until that is no use; then it rises by a quarter

	limit int
	under int // under way now
	queue []*waiter

	// The round.
	begun   time.Time
	felt    bool    // the limit was reached
	answers int     // that came
	units   float64 // of work that was done

	// What rounds have shown.
	best float64 // units per second
	from int     // the limit before it rose; 0 where that was judged
	new  bool    // the limit, or the work: the first round is not like others
	rest int     // rounds until it rises again
	cut  time.Time
}

// waiter is a request that waits for its turn.
type waiter struct{ turn chan struct{} }

// newLane is a lane that adapts, or where pinned is above 0 one that stays at
// that unless it is refused.
func newLane(first, most, pinned int) lane {
	if pinned > 0 {
		first, most = pinned, pinned
	}
	return lane{first: first, most: most, limit: first}
}

func (l *lane) full() bool { return l.under >= l.limit }

// take counts a request in. A round begins anew after a rest, which says
// nothing of the rate.
func (l *lane) take(now time.Time) {
	if l.under == 0 && len(l.queue) == 0 {
		l.restart(now)
		l.new = true
	}
	l.under++
	l.felt = l.felt || l.full()
}

// forgo takes a waiter out of the queue, and says whether it was there.
func (l *lane) forgo(w *waiter) bool {
	i := slices.Index(l.queue, w)
	if i < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	return true
}

func (l *lane) restart(now time.Time) {
	l.begun, l.felt, l.answers, l.units = now, false, 0, 0
}

// work notes work that was done. Before that it judges the round if that is over:
// answers come in bursts, and a burst belongs into one round. A round of requests
// has as many answers as there may be at once, so that each took part in it.
func (l *lane) work(now time.Time, units float64) {
	elapsed, least := now.Sub(l.begun), largeRound
	if l.counts {
		least = smallRound
	}
	if elapsed >= least && (!l.counts || l.answers >= l.limit) {
		if l.felt && !l.new {
			l.new = l.judge(l.units / elapsed.Seconds())
		} else {
			l.new = false
		}
		l.restart(now)
		l.felt = l.full()
	}
	l.answers++
	l.units += units
}

// judge sets the limit of the next round by what this one has shown, and says
// whether it is another.
func (l *lane) judge(rate float64) bool {
	old := l.limit
	switch {
	case l.from > 0 && rate < l.best*(1+gain*float64(l.limit-l.from)/float64(l.from)):
		l.limit, l.from, l.steep, l.rest = l.from, 0, false, restFor
		return true
	case l.from == 0 && rate < l.best/2:
		l.limit, l.rest = max(min(l.first, l.limit), l.limit*3/4), restFor
	case l.rest > 0:
		l.rest--
	}
	l.best, l.from = rate, 0
	if l.rest > 0 || l.limit == l.most {
		return l.limit != old
	}
	l.from = l.limit
	step := max(1, l.limit/4) // less than that is lost in the noise
	if l.steep {
		step = l.limit
	}
	l.limit = min(l.limit+step, l.most)
	return true
}

// fall halves the limit after a refusal or a break of a request that was sent at
// a time when so many were under way. What was sent before the last fall was sent
// with the old limit, and says nothing of the new one.
func (l *lane) fall(now, sent time.Time, under int) {
	if sent.Before(l.cut) {
		return
	}
	l.limit = max(1, min(l.limit, max(under, l.first))/2)
	l.cut, l.steep, l.best, l.from, l.rest = now, false, 0, 0, 0
	l.restart(now)
}
