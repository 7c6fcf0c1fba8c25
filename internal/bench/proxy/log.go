package proxy

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Request is one request that passed, and its answer.
type Request struct {
	Server       string // the name of the proxy
	Conn         int    // which connection, from 1
	Method, Path string
	Status       int
	Interim      int       // answers before the last, such as 100 Continue
	Up, Down     int64     // bytes with heads
	Start, End   time.Time // its head was read; its answer was sent
	Cut          bool      // somebody broke it off
}

// Connection is one connection that a client opened. A client that used it
// before Ready had to wait.
type Connection struct {
	Server        string
	Opened, Ready time.Time
}

// Log is what passed through one or more proxies.
type Log struct {
	mu    sync.Mutex
	conns []Connection
	reqs  []Request
}

func (l *Log) connected(server string, opened, ready time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, Connection{server, opened, ready})
	return len(l.conns)
}

func (l *Log) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reqs = append(l.reqs, r)
}

// Record is a part of a log: what one command did.
type Record struct {
	Connections []Connection
	Requests    []Request // by the time that they began
}

// Take gives what is in the log and empties it. The proxies that write to it
// have to be closed, or idle.
func (l *Log) Take() Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Record{l.conns, l.reqs}
	l.conns, l.reqs = nil, nil
	slices.SortStableFunc(r.Requests, func(a, b Request) int { return a.Start.Compare(b.Start) })
	return r
}

// Bytes are all bytes that passed, up and down.
func (r Record) Bytes() (up, down int64) {
	for _, q := range r.Requests {
		up, down = up+q.Up, down+q.Down
	}
	return up, down
}

// Trips is the number of round trips on the critical path: the most requests
// and openings of connections of which each began after the one before it had
// ended.
//
// Whatever really waited for another is in such a chain, so the number is never
// too small. Each link takes at least a round trip, so it is never more than the
// time that passed, divided by that: it is right to within what else took time.
// An interim answer is a link more.
func (r Record) Trips() int {
	type span struct {
		start, end time.Time
		weight     int
	}
	var spans []span
	for _, c := range r.Connections {
		spans = append(spans, span{c.Opened, c.Ready, 1})
	}
	for _, q := range r.Requests {
		spans = append(spans, span{q.Start, q.End, 1 + q.Interim})
	}
	slices.SortFunc(spans, func(a, b span) int { return a.end.Compare(b.end) })
	// best[i] is the heaviest chain among the first i spans by their ends.
	best := make([]int, len(spans)+1)
	for i, s := range spans {
		before, _ := slices.BinarySearchFunc(spans[:i], s.start, func(t span, start time.Time) int {
			if t.end.After(start) {
				return 1
			}
			return -1
		})
		best[i+1] = max(best[i], best[before]+s.weight)
	}
	return best[len(spans)]
}

// Unused are the connections that carried no request.
func (r Record) Unused() int {
	used := map[int]bool{}
	for _, q := range r.Requests {
		used[q.Conn] = true
	}
	return len(r.Connections) - len(used)
}

// Print writes the record as a table, times in milliseconds from the first
// connection on.
func (r Record) Print(w io.Writer) {
	if len(r.Connections) == 0 {
		fmt.Fprintln(w, "nothing passed")
		return
	}
	zero := r.Connections[0].Opened
	ms := func(t time.Time) float64 { return float64(t.Sub(zero).Microseconds()) / 1000 }
	for i, c := range r.Connections {
		fmt.Fprintf(w, "%8.1f %8.1f  %-6s c%-3d (connect)\n", ms(c.Opened), ms(c.Ready), c.Server, i+1)
	}
	for _, q := range r.Requests {
		note := ""
		if q.Interim > 0 {
			note = fmt.Sprintf("  +%d interim", q.Interim)
		}
		if q.Cut {
			note += "  cut"
		}
		fmt.Fprintf(w, "%8.1f %8.1f  %-6s c%-3d %-6s %d  up %-9d down %-9d %s%s\n",
			ms(q.Start), ms(q.End), q.Server, q.Conn, q.Method, q.Status, q.Up, q.Down, shorten(q.Path), note)
	}
	fmt.Fprintf(w, "%d requests, %d connections (%d unused), %d round trips on the critical path\n",
		len(r.Requests), len(r.Connections), r.Unused(), r.Trips())
}

// shorten leaves of digests and upload states what tells them apart.
func shorten(path string) string {
	path, query, _ := strings.Cut(path, "?")
	var keep []string
	for _, kv := range strings.Split(query, "&") {
		if k, v, _ := strings.Cut(kv, "="); k != "" {
			keep = append(keep, k+"="+v[:min(len(v), 20)])
		}
	}
	for part := range strings.SplitSeq(path, "/") {
		if alg, hex, ok := strings.Cut(part, ":"); ok && len(hex) > 12 {
			path = strings.Replace(path, part, alg+":"+hex[:8]+"…", 1)
		}
	}
	if len(keep) > 0 {
		path += "?" + strings.Join(keep, "&")
	}
	return path
}
