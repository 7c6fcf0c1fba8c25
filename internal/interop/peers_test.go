package interop

import (
	"path/filepath"
	"testing"
)

// peer is another client, as a Go library. What it pushes is one file,
// theirs.txt; what it reads it proves, down to the last byte.
type peer interface {
	// push makes an artifact at ref and gives its digest.
	push(t *testing.T, ref string) string
	// read reads all of the artifact at ref, which has two layers and the
	// empty config, and asserts that its digest is want.
	read(t *testing.T, ref, want string)
}

func peers() map[string]peer {
	return map[string]peer{"go-containerregistry": ggcrPeer{}, "oras-go": orasPeer{}, "regclient": regclientPeer{}}
}

// TestPeers: what another client pushed is copied and pulled, and what stet
// pushed is read by it, over each registry.
func TestPeers(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host := reg.start(t)
		for name, p := range peers() {
			t.Run(name, func(t *testing.T) {
				thereAndBack(t, p, host+"/"+name)
			})
		}
	})
}

func thereAndBack(t *testing.T, p peer, base string) {
	dir := t.TempDir()
	at := run{dir: dir}
	want := p.push(t, base+"/theirs:v1")
	at.ok(t, "cp", base+"/theirs:v1", base+"/copy:v1")
	if got := digestOf(t, base+"/copy:v1"); got != want {
		t.Errorf("the copy is %s, want %s", got, want)
	}
	at.ok(t, "pull", "-o", "out", base+"/copy:v1")
	if got := read(t, filepath.Join(dir, "out", "theirs.txt")); got != "theirs\n" {
		t.Errorf("pulled %q", got)
	}

	write(t, dir, map[string]string{"ours.txt": "ours\n", "ours/a.txt": "a"})
	at.ok(t, "push", base+"/ours:v1", "ours.txt:text/plain", "ours")
	p.read(t, base+"/ours:v1", digestOf(t, base+"/ours:v1"))
}
