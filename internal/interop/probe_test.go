package interop

import (
	"bytes"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

// probed is what a probe that writes finds of each registry, where that is not
// what follows the distribution-spec; a value stands after ":".
func probed() map[string]map[store.Ability]string {
	distribution := map[store.Ability]string{
		"referrers-api": "no", "referrers-filter": "no", "oci-subject": "no", "sha512": "no", "single-post": "no",
		"multi-tag": "no", "artifact-manifests": "no", "oras-artifact-manifests": "no",
	}
	old := maps.Clone(distribution)
	old["chunk-order"], old["tag-delete"], old["tag-paging"] = "no", "no", "no"
	return map[string]map[store.Ability]string{
		"serve":               {},
		"distribution-v3":     distribution,
		"docker-registry-2.8": old,
		"olareg":              {"artifact-manifests": "no", "oras-artifact-manifests": "no", "catalog": "no"},
		"go-containerregistry": {
			"mount":       "no", // it has no need: all repositories see all blobs
			"oci-subject": "no", "referrers-filter": "no", "multi-tag": "no", "tag-paging": "no",
			"upload-resume": "no", "upload-cancel": "no",
		},
		"ociregistry": {"sha512": "no", "multi-tag": "no", "chunked": "yes:8192", "upload-cancel": "no"},
	}
}

// TestProbe: what stet finds of registries is what was seen of them by hand, and
// they hold afterwards what they held before.
func TestProbe(t *testing.T) {
	each(t, func(t *testing.T, reg registry) {
		host := reg.start(t)
		dir := t.TempDir()
		write(t, dir, map[string]string{"a.txt": "a file", "b.txt": "another"})
		run{dir: dir}.ok(t, "push", "--progress", "none", host+"/app:v1", "a.txt")
		run{dir: dir}.ok(t, "push", "--progress", "none", host+"/other:v1", "b.txt")
		before := contents(t, host)

		var log bytes.Buffer
		ref := store.Ref{Scheme: store.SchemeRegistry, Host: host, Repo: "app"}
		report, err := remote.Probe(t.Context(), ref, remote.Options{Trace: &log}, remote.ProbeOptions{Write: true, MountFrom: "other"})
		if err != nil {
			t.Fatal(err)
		}
		column := probed()[reg.name]
		for _, a := range store.Abilities() {
			want, deviates := column[a]
			switch {
			case deviates:
			case a == store.AbilityAuth:
				want = "no:none"
			case a == store.AbilityMountAnywhere:
				want = "no"
			case a == store.AbilityMaxManifest:
				want = "yes:4194304"
			case a == store.AbilityHTTP2, a == store.AbilityWarnings:
				want = "unknown"
			default:
				want = "yes"
			}
			f := report.Support[a]
			if got := strings.TrimSuffix(f.Answer.String()+":"+f.Value, ":"); got != want {
				t.Errorf("%s is %s, want %s: %+v", a, got, want, f.Evidence)
			}
		}
		if diff := slices.Compare(before, contents(t, host)); diff != 0 {
			t.Errorf("before: %q\nafter:  %q", before, contents(t, host))
		}
		for _, left := range report.Left {
			if !strings.HasPrefix(left, "an upload") {
				t.Errorf("left: %s", left)
			}
		}
		kept := []store.Ref{ref}
		if reg.oneHome { // the blobs of the other are seen here as well
			kept = append(kept, store.Ref{Scheme: store.SchemeRegistry, Host: host, Repo: "other"})
		}
		nothingOf(t, log.String(), kept...)
	})
}

// contents are all repositories with their tags, and the digests of these. A
// registry without a catalog is asked for those that are known.
func contents(t *testing.T, host string) []string {
	t.Helper()
	reg, err := remote.OpenRegistry(host, remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	repos, err := store.Collect(reg.Repositories(t.Context(), ""))
	if err != nil {
		repos = []string{"app", "other"}
	}
	var all []string
	for _, name := range repos {
		s, err := reg.Repository(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for tag, err := range s.Tags(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			d, err := s.Resolve(t.Context(), tag)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, name+":"+tag+"@"+d.Digest.String())
		}
	}
	slices.Sort(all)
	return all
}

var digestInLog = regexp.MustCompile(`sha(256|512)(:|%3A)[0-9a-f]{64,128}`)

// nothingOf asserts that of all digests in a log of requests none is in the first
// repository, but for those of the artifacts v1 of them all.
func nothingOf(t *testing.T, log string, refs ...store.Ref) {
	t.Helper()
	var kept []digest.Digest
	var stores []store.Store
	for _, ref := range refs {
		s, err := remote.Open(ref, remote.Options{Retries: -1})
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Manifest(t.Context(), "v1")
		if err != nil {
			t.Fatal(err)
		}
		o, err := store.ParseOutline(m)
		if err != nil {
			t.Fatal(err)
		}
		kept, stores = append(kept, m.Digest), append(stores, s)
		for _, b := range o.Blobs() {
			kept = append(kept, b.Digest)
		}
	}
	s := stores[0]
	seen := 0
	for _, name := range digestInLog.FindAllString(log, -1) {
		d := digest.Digest(strings.Replace(name, "%3A", ":", 1))
		if slices.Contains(kept, d) {
			continue
		}
		seen++
		kept = append(kept, d)
		if _, err := s.Resolve(t.Context(), d.String()); err == nil {
			t.Errorf("manifest %s is still there", d)
		}
		// Only "not found" says that it is gone, or 400 for a digest that the registry
		// cannot read: Distribution answers 500 to a link that leads nowhere.
		_, err := s.Blob(t.Context(), store.Descriptor{Digest: d, Size: store.UnknownSize})
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrRefused) {
			t.Errorf("blob %s is still there: %v", d, err)
		}
	}
	if seen < 10 {
		t.Errorf("only %d digests in the log of a probe", seen)
	}
}
