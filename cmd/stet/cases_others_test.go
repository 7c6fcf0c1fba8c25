package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Beyond the cases: another account on this machine, which may write into the
// directory that is pulled into, such as /tmp.

// partialOf is the name under which data.bin comes.
func partialOf(content string) string { return partialName("data.bin", digest.FromString(content)) }

// partialName is the name under which content comes for a file.
func partialName(base string, d digest.Digest) string {
	name := "." + base + "." + d.Encoded()[:12]
	return name + digest.FromString(name).Encoded()[:4] + ".partial"
}

// A partial file that another account laid there is not filled: that account
// would own the file in the end, and could change it after it was proven.
func TestBeyondPartialOfAnother(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can make a file of another account")
	}
	for _, c := range []struct{ name, args string }{{"pull", "pull"}, {"blob fetch", "blob fetch -o data.bin"}} {
		h := newHostile(t, shelved().ServeHTTP)
		d := newDesk(t)
		trap := d.write(partialOf(content), content[:1000])
		if err := os.Chown(trap, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(trap, 0o666); err != nil {
			t.Fatal(err)
		}
		held, err := os.OpenFile(trap, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		ref := h.Name() + "/app:v1"
		if c.name != "pull" {
			ref = h.Name() + "/app@" + digest.FromString(content).String()
		}
		d.stet(append(strings.Fields(c.args), ref)...).ok()
		_, _ = held.WriteAt([]byte("changed afterwards"), 0)
		held.Close()
		if d.read("data.bin") != content {
			t.Errorf("%s: the other account changed the file after it was proven", c.name)
		}
		info, err := os.Stat(filepath.Join(d.Dir, "data.bin"))
		if err != nil {
			t.Fatal(err)
		}
		checkOwner(t, info)
	}
}

// A partial file that is another name of some file of the user's is not filled.
func TestBeyondPartialIsHardLink(t *testing.T) {
	t.Parallel()
	h := newHostile(t, shelved().ServeHTTP)
	d := newDesk(t)
	mine := d.write("mine.txt", strings.Repeat("mine\n", 100000)) // longer than the content: it would be emptied
	if err := os.Link(mine, filepath.Join(d.Dir, partialOf(content))); err != nil {
		t.Skip(err)
	}
	d.stet("pull", h.Name()+"/app:v1").ok()
	if d.read("mine.txt") != strings.Repeat("mine\n", 100000) {
		t.Error("mine.txt was written")
	}
	if d.read("data.bin") != content {
		t.Error("data.bin is not whole")
	}
}
