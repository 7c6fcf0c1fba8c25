package interop

import (
	"slices"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/serve"
)

// TestUntag removes a tag from each registry, and from each that serve imitates:
// either the tag is gone and all else is there, or the exit code is 6, and it
// says that the registry cannot, and all is there.
func TestUntag(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		if gone := untag(t, reg.start(t)); gone == reg.limits.NoTagDelete {
			t.Errorf("untagged: %t; its limits say the contrary", gone)
		}
	})
	t.Run("docker-registry-2.8 without deletion", func(t *testing.T) {
		t.Setenv("REGISTRY_STORAGE_DELETE_ENABLED", "false")
		if untag(t, startDebian(t)) {
			t.Error("it is untagged")
		}
	})
	for _, im := range serve.Imitations() {
		t.Run("imitation of "+im.Name, func(t *testing.T) {
			t.Parallel()
			quirks, err := serve.Imitate(im.Name)
			if err != nil {
				t.Fatal(err)
			}
			quirks.RepoMustExist = false
			untag(t, startQuirky(t, quirks))
		})
	}
}

func untag(t *testing.T, host string) (gone bool) {
	t.Helper()
	at := run{dir: t.TempDir()}
	write(t, at.dir, map[string]string{"hello.txt": "hello\n"})
	at.ok(t, "push", host+"/app:v1,v2", "hello.txt")
	want := digestOf(t, host+"/app:v1")
	res := at.do(t, "untag", host+"/app:v1")
	switch {
	case res.code == 0 && strings.Contains(res.stdout, "Digest: "+want):
		at.fails(t, 5, "resolve", host+"/app:v1")
		gone = true
	case res.code == 6 && res.stdout == "" && strings.Contains(res.stderr, "cannot remove a tag alone"):
		if got := digestOf(t, host+"/app:v1"); got != want {
			t.Errorf("v1 is %s, was %s", got, want)
		}
	default:
		t.Errorf("exit %d\n%s%s", res.code, res.stdout, res.stderr)
	}
	for _, ref := range []string{":v2", "@" + want} {
		if got := digestOf(t, host+"/app"+ref); got != want {
			t.Errorf("%s is %s, was %s", ref, got, want)
		}
	}
	return gone
}

// TestListings asks each registry for repositories, tags, their details, and what
// refers to an artifact.
func TestListings(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host := reg.start(t)
		at := run{dir: t.TempDir()}
		write(t, at.dir, map[string]string{"hello.txt": "hello\n"})
		at.ok(t, "push", host+"/team/app:v1.10.0,v1.9.0,latest", "hello.txt")
		at.ok(t, "push", host+"/other:v1", "hello.txt")
		at.ok(t, "attach", "--artifact-type", "application/vnd.example.note", "-a", "k=v", host+"/team/app:latest")

		if reg.name == "olareg" {
			at.fails(t, 6, "repo", "ls", host) // it has no catalog
		} else if got := strings.Fields(at.ok(t, "repo", "ls", host)); !slices.Contains(got, "other") || !slices.Contains(got, "team/app") || len(got) != 2 {
			t.Errorf("repositories %q", got)
		} else if got := at.ok(t, "repo", "ls", host+"/team"); got != "app\n" {
			t.Errorf("under team %q", got)
		}
		for _, c := range []struct{ want, args string }{
			{"v1.9.0 v1.10.0 latest", "repo tags --sort semver --exclude-digest-tags " + host + "/team/app"},
			{"latest v1.10.0 v1.9.0", "repo tags --sort name --exclude-digest-tags " + host + "/team/app:latest"},
			{"v1.9.0", "repo tags --sort name --exclude-digest-tags --last v1.10.0 " + host + "/team/app"},
		} {
			if got := strings.Join(strings.Fields(at.ok(t, strings.Fields(c.args)...)), " "); got != c.want {
				t.Errorf("%s: %q, want %q", c.args, got, c.want)
			}
		}
		details := at.ok(t, "repo", "tags", "--details", host+"/team/app")
		if n := strings.Count(details, digestOf(t, host+"/team/app:latest")); n != 3 {
			t.Errorf("%d tags of it, want 3\n%s", n, details)
		}
		tree := at.ok(t, "discover", host+"/team/app:latest")
		if !strings.Contains(tree, "application/vnd.example.note") || !strings.Contains(tree, `k: "v"`) {
			t.Errorf("the tree is\n%s", tree)
		}
	})
}
