package ui

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// What events amount to, where they do not come in the plainest order.
func TestFold(t *testing.T) {
	of := func(kind store.EventKind, d digest.Digest, name string, bytes int64) store.Event {
		e := store.Event{Kind: kind, Name: name, Bytes: bytes, Desc: store.Descriptor{Digest: d, Size: 10}}
		if kind == store.Done {
			e.How = store.Sent
		}
		return e
	}
	const planned, start, advance, done, failed = store.Planned, store.Start, store.Advance, store.Done, store.Failed
	for _, c := range []struct {
		name   string
		events []store.Event
		want   string // running blobs with their bytes, done/known, bytes/total
	}{
		{"nothing", nil, "0/0 0/0"},
		{"a blob", []store.Event{of(start, d1, "a", 0), of(advance, d1, "a", 4)}, "a:4 0/1 4/10"},
		{"planned and not begun", []store.Event{
			of(planned, d1, "a", 0), of(planned, "", "b", 0), of(planned, d1, "c", 0), of(start, d1, "a", 0), of(advance, d1, "a", 4),
		}, "a:4 0/3 4/30"},
		{"planned and there already", []store.Event{of(planned, d1, "a", 0), of(planned, d1, "b", 0), of(done, d1, "a", 0)}, "1/2 10/20"},
		{"two starts", []store.Event{of(start, d1, "a", 0), of(advance, d1, "a", 4), of(start, d1, "a", 0)}, "a:4 0/1 4/10"},
		{"one content under two names", []store.Event{
			of(start, d1, "a", 0), of(start, d1, "b", 0), of(advance, d1, "b", 3), of(done, d1, "b", 0),
		}, "a:0 1/2 10/20"},
		{"a name that changes", []store.Event{of(start, d1, "a", 0), of(advance, d1, "other", 4), of(done, d1, "", 0)}, "1/1 10/10"},
		{"digest known at the end", []store.Event{
			of(start, "", "a", 0), of(start, "", "b", 0), of(advance, "", "b", 5), of(done, d1, "b", 0),
		}, "a:0 1/2 10/20"},
		{"progress before its beginning", []store.Event{of(advance, d1, "a", 4)}, "0/0 0/0"},
		{"progress after the end", []store.Event{of(start, d1, "a", 0), of(done, d1, "a", 0), of(advance, d1, "a", -4)}, "1/1 10/10"},
		{"more than the size", []store.Event{of(start, d1, "a", 0), of(advance, d1, "a", 40)}, "a:10 0/1 10/10"},
		{"less than nothing", []store.Event{of(start, d1, "a", 0), of(advance, d1, "a", -40)}, "a:0 0/1 0/10"},
		{"a failure", []store.Event{of(start, d1, "a", 0), of(advance, d1, "a", 4), of(failed, d1, "a", 0)}, "0/0 0/0"},
		{"a failure and another try", []store.Event{of(start, d1, "a", 0), of(failed, d1, "a", 0), of(start, d1, "a", 0)}, "a:0 0/1 0/10"},
		{"present", []store.Event{{Kind: done, How: store.Present, Desc: store.Descriptor{Digest: d1, Size: 10}}}, "1/1 0/0"},
		{"no size", []store.Event{
			of(start, d1, "a", 0),
			{Kind: start, Name: "b", Desc: store.Descriptor{Size: store.UnknownSize}},
			{Kind: advance, Name: "b", Desc: store.Descriptor{Size: store.UnknownSize}, Bytes: 7},
		}, "a:0 b:7 0/2 7/-1"},
	} {
		f := newFold()
		for _, e := range c.events {
			f.apply(e, time.Time{})
		}
		if got := state(f); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func state(f *fold) string {
	s := ""
	for _, b := range f.running {
		s += fmt.Sprintf("%s:%d ", b.name, b.has())
	}
	moved, total := f.moved()
	return s + fmt.Sprintf("%d/%d %d/%d", f.done, f.known(), moved, total)
}

// A note is told once for each store and reason; a repeated try each time.
func TestNotesAreToldOnce(t *testing.T) {
	f := newFold()
	for i, c := range []struct {
		event store.Event
		line  string
	}{
		{store.Event{Kind: store.Fallback, Name: "a/x", Choice: "referrers-tag", Text: "404"}, "stet: a/x: referrers are kept under the tag schema: 404"},
		{store.Event{Kind: store.Fallback, Name: "a/x", Choice: "referrers-tag", Text: "404"}, ""},
		{store.Event{Kind: store.Fallback, Name: "b/x", Choice: "referrers-tag", Text: "404"}, "stet: b/x: referrers are kept under the tag schema: 404"},
		{store.Event{Kind: store.Fallback, Choice: "upload", Text: "202"}, "stet: uploaded instead of mounted: 202"},
		{store.Event{Kind: store.Fallback, Choice: "post-put", Text: "202"}, "stet: uploaded with two requests instead of one: 202"},
		{store.Event{Kind: store.Fallback, Choice: "hash-first", Text: "404"}, "stet: hashed before the upload instead of during it: 404"},
		{store.Event{Kind: store.Fallback, Choice: "chunks", Text: "413"}, "stet: uploaded in chunks: 413"},
		{store.Event{Kind: store.Fallback, Choice: "new\x1b", Text: "x"}, `stet: took another way, new\u001b: x`},
		{store.Event{Kind: store.Warning, Name: "a", Text: "old\n"}, `stet: a: warning: old\n`},
		{store.Event{Kind: store.Warning, Name: "a", Text: "old\n"}, ""},
		{store.Event{Kind: store.Retrying, Text: "503"}, "stet: trying again: 503"},
		{store.Event{Kind: store.Retrying, Text: "503"}, "stet: trying again: 503"},
		{store.Event{Kind: store.Tagged, Text: "v1"}, ""},
	} {
		if got := (teller{fold: f, program: "stet"}).line(f.apply(c.event, time.Time{})); got != c.line {
			t.Errorf("%d: %q, want %q", i, got, c.line)
		}
	}
}
