package main

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stet-oci/stet/pkg/store"
)

// quick are flags of commands whose faults last: no waiting, no progress lines.
func quick(args ...string) []string { return append(args, "--retry", "0", "--progress", "none") }

// Case 1: blob bytes flipped: exit ≠ 0. Case 2: the same, residue: nothing but
// verified bytes under the final name.
func TestCase01And02PullFlippedBlob(t *testing.T) {
	t.Parallel()
	s := newShelf()
	good := s.file("good.txt", "good\n")
	bad := s.file("bad.txt", "some content\n")
	s.artifact([]store.Descriptor{good, bad}, "v1")
	s.set("/v2/app/blobs/"+bad.Digest.String(), item{octetsType, []byte("some c0ntent\n"), bad.Digest.String()})
	h := newHostile(t, func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) })
	d := newDesk(t)
	d.stet(quick("pull", h.Name()+"/app:v1")...).fails(7)
	if d.read("bad.txt") != "" || slices.Contains(d.files(), "bad.txt") {
		t.Errorf("bad bytes are there: %q", d.files())
	}
	if got := d.read("good.txt"); got != "" && got != "good\n" {
		t.Errorf("good.txt is %q", got)
	}
}
