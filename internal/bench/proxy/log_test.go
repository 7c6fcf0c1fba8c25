package proxy

import (
	"strings"
	"testing"
	"time"
)

// at is a time in a made-up log.
func at(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }

func conn(from, to int) Connection { return Connection{Opened: at(from), Ready: at(to)} }

func req(conn, from, to int) Request {
	return Request{Conn: conn, Start: at(from), End: at(to), Method: "GET", Path: "/v2/"}
}

// The critical path is the longest chain of what did not overlap.
func TestTrips(t *testing.T) {
	for name, c := range map[string]struct {
		rec  Record
		want int
	}{
		"nothing":                  {Record{}, 0},
		"a connection and request": {Record{[]Connection{conn(0, 50)}, []Request{req(1, 50, 101)}}, 2},
		"one after the other":      {Record{[]Connection{conn(0, 50)}, []Request{req(1, 50, 101), req(1, 101, 155)}}, 3},
		"in parallel": {
			Record{[]Connection{conn(0, 50), conn(1, 51)}, []Request{req(1, 50, 101), req(2, 51, 104)}}, 2,
		},
		"a connection in good time costs nothing": {
			Record{[]Connection{conn(0, 50), conn(50, 100)}, []Request{req(1, 50, 101), req(1, 102, 153), req(2, 102, 153)}}, 3,
		},
		"a connection too late costs a trip": {
			Record{[]Connection{conn(0, 50), conn(102, 152)}, []Request{req(1, 50, 101), req(1, 102, 154), req(2, 152, 203)}}, 4,
		},
		"a long request beside short ones": {
			Record{[]Connection{conn(0, 50), conn(0, 50)}, []Request{req(1, 50, 300), req(2, 50, 101), req(2, 101, 152), req(1, 300, 351)}}, 4,
		},
		"an interim answer is a trip": {
			Record{[]Connection{conn(0, 50)}, []Request{{Conn: 1, Start: at(50), End: at(160), Interim: 1}}}, 3,
		},
	} {
		if got := c.rec.Trips(); got != c.want {
			t.Errorf("%s: %d round trips, want %d", name, got, c.want)
		}
	}
}

// A printed record tells of connections and of requests, without whole digests.
func TestPrint(t *testing.T) {
	q := req(1, 50, 101)
	q.Path = "/v2/a/blobs/uploads/?digest=sha256:0123456789abcdef0123456789abcdef"
	q.Status = 202
	rec := Record{[]Connection{conn(0, 50), conn(60, 110)}, []Request{q}}
	var b strings.Builder
	rec.Print(&b)
	for _, want := range []string{"(connect)", " 202 ", "1 requests, 2 connections (1 unused), 2 round trips"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "0123456789abcdef") {
		t.Errorf("a whole digest:\n%s", b.String())
	}
}
