package main

import (
	"fmt"
)

// target is what stet shall do in a row, measured with its program.
type target struct {
	text  string
	reach func(Row) (measured string, met bool)
}

// Verdict is a target and what became of it.
type Verdict struct {
	Target   string
	Measured string
	Met      bool
}

// judge holds a row against a target. Without the program's figures it is not met.
func (t target) judge(r Row) Verdict {
	if r.result(peerStet).Note != "" {
		return Verdict{t.text, r.result(peerStet).Note, false}
	}
	measured, met := t.reach(r)
	return Verdict{t.text, measured, met}
}

func seconds(max float64) target {
	return target{fmt.Sprintf("≤ %.2f s", max), func(r Row) (string, bool) {
		got := r.result(peerStet).Median.Seconds
		return fmt.Sprintf("%.3f s", got), got <= max
	}}
}

func trips(max int) target {
	return target{fmt.Sprintf("≤ %d round trips", max), func(r Row) (string, bool) {
		got := r.result(peerStet).Median.Trips
		return fmt.Sprint(got), got <= max
	}}
}

func requests(max int) target {
	return target{fmt.Sprintf("≤ %d requests", max), func(r Row) (string, bool) {
		got := r.result(peerStet).Median.Requests
		return fmt.Sprint(got), got <= max
	}}
}

// uploaded bounds what is sent: bodies, so that heads of requests are allowed for.
func uploaded(max int64) target {
	return target{"nothing uploaded", func(r Row) (string, bool) {
		got := r.result(peerStet).Median
		return fmt.Sprintf("%d bytes up in %d requests", got.Up, got.Requests), got.Up-int64(got.Requests)*headBytes <= max
	}}
}

// headBytes is more than the head of any of stet's requests has.
const headBytes = 700

// ratio bounds stet's time by that of another client in the same run.
func ratio(peer string, max float64, text string) target {
	return target{"≤ " + text, func(r Row) (string, bool) {
		theirs := r.result(peer)
		if len(theirs.Samples) == 0 {
			return "no figure of " + peer, false
		}
		got := r.result(peerStet).Median.Seconds / theirs.Median.Seconds
		return fmt.Sprintf("%.2f", got), got <= max
	}}
}

// ratioToBest bounds stet's time by that of the fastest other client.
func ratioToBest(max float64) target {
	return target{fmt.Sprintf("≤ %.2f of the best", max), func(r Row) (string, bool) {
		best := r.best()
		if best == "" {
			return "no figure of another", false
		}
		got := r.result(peerStet).Median.Seconds / r.result(best).Median.Seconds
		return fmt.Sprintf("%.2f of %s", got, best), got <= max
	}}
}

// memory bounds the peak, in MB as the table prints it.
func memory(max float64) target {
	return target{fmt.Sprintf("≤ %.0f MB", max), func(r Row) (string, bool) {
		got := float64(r.result(peerStet).Median.Peak) / 1e6
		return fmt.Sprintf("%.0f MB", got), got <= max
	}}
}

// best is the other client with the least time, "" where there is none.
func (r Row) best() (best string) {
	for _, peer := range []string{peerORAS, peerRegclient, peerGGCR} {
		p := r.result(peer)
		if len(p.Samples) > 0 && (best == "" || p.Median.Seconds < r.result(best).Median.Seconds) {
			best = peer
		}
	}
	return best
}
