package interop

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// Sixteen processes at once do the same to one place.
const sixteen = 16

// rounds is how often: what is lost is lost seldom.
func rounds() int {
	if required() {
		return 10
	}
	return 2
}

// atOnce runs stet for each of sixteen, all at once, and fails the test where
// one of them does not succeed.
func (r run) atOnce(t *testing.T, args func(i int) []string) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range sixteen {
		cmd := r.command(t.Context(), t, args(i)...)
		wg.Go(func() {
			// Without watching its memory, which takes the time of the others.
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v\n%s", i, err, out)
			}
		})
	}
	wg.Wait()
}

// TestSixteenAttach: sixteen processes attach to one subject of a registry that
// has no referrers API, where each has to write the list that all of them write.
// Nothing is lost.
func TestSixteenAttach(t *testing.T) {
	host, dir := startDebian(t), t.TempDir()
	at := run{dir: dir}
	files := map[string]string{}
	for i := range sixteen {
		files[fmt.Sprint(i)] = fmt.Sprint("note ", i)
	}
	write(t, dir, files)
	for round := range rounds() {
		name := fmt.Sprintf("app:v%d", round)
		write(t, dir, map[string]string{"subject": name})
		at.ok(t, "push", host+"/"+name, "subject")
		subject := digestOf(t, host+"/"+name)
		at.atOnce(t, func(i int) []string {
			return []string{"attach", "--artifact-type", fmt.Sprintf("application/vnd.example.n%d", i), host + "/" + name, fmt.Sprint(i)}
		})
		s := openRepo(t, host, "app")
		// What is listed, and what the tag itself has.
		listed, err := store.Collect(s.Referrers(t.Context(), digest.Digest(subject), ""))
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Manifest(t.Context(), strings.Replace(subject, ":", "-", 1))
		if err != nil {
			t.Fatal(err)
		}
		o, err := store.ParseOutline(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range [][]store.Descriptor{listed, o.Manifests} {
			var types []string
			for _, d := range list {
				types = append(types, d.ArtifactType)
				if _, err := s.Manifest(t.Context(), d.Digest.String()); err != nil {
					t.Errorf("round %d: %s is listed: %v", round, d.Digest, err)
				}
			}
			slices.Sort(types)
			if n := len(slices.Compact(types)); n != sixteen || len(list) != sixteen {
				t.Errorf("round %d: %d of %d referrers are listed", round, n, sixteen)
			}
		}
	}
}

// TestSixteenCopies: sixteen processes copy an artifact each into one layout, or
// one archive. All tags are there afterwards, and everything under them.
func TestSixteenCopies(t *testing.T) {
	host, dir := startServe(t), t.TempDir()
	at := run{dir: dir}
	write(t, dir, map[string]string{"shared": strings.Repeat("in all of them ", 1000)})
	for i := range sixteen {
		own := fmt.Sprint("own", i)
		write(t, dir, map[string]string{own: strings.Repeat(own, 1000)})
		at.ok(t, "push", fmt.Sprintf("%s/app:tag%d", host, i), "shared", own)
	}
	for scheme, open := range map[string]func(string) (store.Store, error){
		"oci": func(path string) (store.Store, error) { return local.OpenLayout(path, local.LayoutOptions{}) },
		"tar": func(path string) (store.Store, error) { return local.OpenArchive(path, local.LayoutOptions{}) },
	} {
		t.Run(scheme, func(t *testing.T) {
			for round := range rounds() {
				path := fmt.Sprintf("%s-%d", scheme, round)
				at.atOnce(t, func(i int) []string {
					return []string{"cp", fmt.Sprintf("%s/app:tag%d", host, i), fmt.Sprintf("%s:%s:tag%d", scheme, path, i)}
				})
				s, err := open(filepath.Join(dir, path))
				if err != nil {
					t.Fatal(err)
				}
				proveTags(t, store.Verify(s))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// proveTags reads everything under the sixteen tags.
func proveTags(t *testing.T, s store.Store) {
	t.Helper()
	for i := range sixteen {
		m, err := s.Manifest(t.Context(), fmt.Sprint("tag", i))
		if err != nil {
			t.Error(err)
			continue
		}
		o, err := store.ParseOutline(m)
		if err != nil {
			t.Fatal(err)
		}
		readBlobs(t, s, o)
	}
	tags, err := store.Collect(s.Tags(t.Context(), ""))
	if err != nil || len(tags) != sixteen {
		t.Errorf("%d tags, %v", len(tags), err)
	}
}
