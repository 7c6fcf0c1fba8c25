package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/go-digest"
)

// checkPulled: what a pull called done is there, byte for byte. In a directory of
// its own nothing else is.
func (k *work) checkPulled() {
	t := k.w.s.t
	for name, want := range k.from.files {
		raw, err := os.ReadFile(filepath.Join(k.out, filepath.FromSlash(name)))
		if err != nil || digest.FromBytes(raw) != want {
			t.Errorf("stet %s: exit 0, and %s: %v, %d bytes that are not those", strings.Join(k.args, " "), name, err, len(raw))
		}
	}
	k.w.s.mu.Lock()
	k.w.s.files += len(k.from.files)
	k.w.s.mu.Unlock()
	if !k.shared {
		k.checkAlone()
	}
}

// checkAlone: nothing is in a directory but what was pulled.
func (k *work) checkAlone() {
	eachIn(k.w.s.t, k.out, func(name string, d fs.DirEntry) {
		if _, known := k.from.files[name]; !known && !d.IsDir() {
			k.w.s.t.Errorf("stet %s: exit 0, and beside its files there is %s", strings.Join(k.args, " "), name)
		}
		if d.IsDir() && strings.HasPrefix(path.Base(name), ".") {
			k.w.s.t.Errorf("stet %s: exit 0, and beside its files there is the directory %s", strings.Join(k.args, " "), name)
		}
	})
}

// partialFile is the name of a file that is not whole: of its final name and the
// digest, by which the next pull finds it. partialStage is a directory of one.
var (
	partialFile  = regexp.MustCompile(`^\.(.+)\.([0-9a-f]{12})[0-9a-f]{4}\.partial$`)
	partialStage = regexp.MustCompile(`^\.(.+)\.([0-9a-f]{12})[0-9a-f]{4}\.dir\.partial$`)
)

// checkFailed: a pull that failed has left nothing under a final name that is not
// whole, and beside them only what the next one finds. A stage may stay where
// it was killed.
func (k *work) checkFailed(e ended) {
	t := k.w.s.t
	eachIn(t, k.out, func(name string, d fs.DirEntry) {
		want, known := k.from.files[name]
		hidden := strings.HasPrefix(name, ".")
		part := partialFile.FindStringSubmatch(name)
		_, stage, _ := strings.Cut("/"+name, "/.")
		switch {
		case known && !hidden:
			raw, err := os.ReadFile(filepath.Join(k.out, filepath.FromSlash(name)))
			gone := k.shared && errors.Is(err, fs.ErrNotExist)
			if !gone && (err != nil || digest.FromBytes(raw) != want) {
				t.Errorf("stet %s: exit %d, and %s: %v, %d bytes that are not those", strings.Join(k.args, " "), e.code, name, err, len(raw))
			}
		case k.shared || e.code == -1 && partialStage.MatchString("."+strings.SplitN(stage, "/", 2)[0]):
		case d.IsDir() && !hidden:
		case part != nil && (part[1] == "packed" || k.from.files[part[1]].Encoded()[:12] == part[2]):
		default:
			t.Errorf("stet %s: exit %d, and it left %s, which no other run finds", strings.Join(k.args, " "), e.code, name)
		}
	})
}

// eachIn calls do for all that is below a directory, by its slashed name.
func eachIn(t *testing.T, dir string, do func(name string, d fs.DirEntry)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && p != dir {
			name, _ := filepath.Rel(dir, p)
			do(filepath.ToSlash(name), d)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// finish runs what is not done again, without faults, and all pulls into shared
// directories once more: then those have nothing but what was pulled.
func (s *soak) finish(workers []*worker) {
	todo := map[*worker][]*work{}
	for _, k := range s.undone {
		todo[k.w] = append(todo[k.w], k)
	}
	for slot, m := range s.commons {
		out := filepath.Join(s.dir, "shared", fmt.Sprint(slot))
		if _, err := os.Stat(out); m == nil || err != nil {
			continue
		}
		w := workers[slot%len(workers)]
		k := &work{w: w, name: "pull", dir: filepath.Join(w.dir, fmt.Sprint("last", slot)), out: out, from: m}
		if err := os.MkdirAll(k.dir, 0o755); err != nil {
			s.t.Error(err)
		}
		k.args = []string{"pull", "--format", "json", "-o", out, w.ref(m)}
		todo[w] = append(todo[w], k)
	}
	var group sync.WaitGroup
	for w, all := range todo {
		group.Go(func() {
			for _, k := range all {
				w.run(k, false)
			}
		})
	}
	group.Wait()
}

// parallel calls do for each of a list, four at a time.
func parallel[T any](list []T, do func(T)) {
	var group sync.WaitGroup
	places := make(chan struct{}, 4)
	for _, one := range list {
		group.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			do(one)
		})
	}
	group.Wait()
}

// stet runs a command of the checks, which has to succeed.
func (s *soak) stet(args ...string) string {
	res := run{dir: s.dir}.within(s.t, 5*bounded, args...)
	if res.code != codeOK {
		s.t.Errorf("stet %s: exit %d\n%s%s", strings.Join(args, " "), res.code, res.stdout, res.stderr)
	}
	return res.stdout
}

// checkPlaces: each registry itself has all that was called done, under its tag
// and with its digest, and all of its repositories verify.
func (s *soak) checkPlaces() {
	repos := map[string]bool{}
	for _, m := range s.made {
		if m.place != inLayout {
			repos[s.places[m.place].host+"/"+m.repo] = true
		}
	}
	parallel(s.made, func(m *made) {
		if m.place == inLayout {
			return
		}
		host := s.places[m.place].host
		if got, err := manifestDigest(s.t.Context(), host, m); err != nil || got != m.digest {
			s.t.Errorf("%s was called done with %s, and is %s, %v", m.at(host), m.digest, got, err)
		}
	})
	parallel(slices.Sorted(maps.Keys(repos)), func(repo string) { s.stet("verify", "-r", repo) })
}

// manifestDigest asks a registry for a manifest and hashes it.
func manifestDigest(ctx context.Context, host string, m *made) (string, error) {
	ref := m.tag
	if ref == "" {
		ref = m.digest
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/v2/"+m.repo+"/manifests/"+ref, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return digest.FromBytes(raw).String(), err
}

// checkReferrers: what attach and cp -r called done is listed.
func (s *soak) checkReferrers() {
	want := map[string][]string{}
	for _, m := range s.made {
		if len(m.referrers) == 0 {
			continue
		}
		of := made{place: m.place, repo: m.repo, digest: m.digest}
		host := ""
		if m.place != inLayout {
			host = s.places[m.place].host
		}
		ref := of.at(host)
		want[ref] = append(want[ref], m.referrers...)
	}
	parallel(slices.Sorted(maps.Keys(want)), func(ref string) {
		var found struct{ Referrers []struct{ Digest string } }
		_ = json.Unmarshal([]byte(s.stet("discover", "--format", "json", ref)), &found)
		for _, d := range want[ref] {
			if !slices.ContainsFunc(found.Referrers, func(r struct{ Digest string }) bool { return r.Digest == d }) {
				s.t.Errorf("%s was attached to %s, and is not listed", d, ref)
			}
		}
	})
}

// checkLayouts: the layouts have what was called done. The next write leaves
// nothing of those who were killed.
func (s *soak) checkLayouts() {
	small := filepath.Join(s.dir, "small.txt")
	if err := os.WriteFile(small, []byte("the last\n"), 0o644); err != nil {
		s.t.Error(err)
	}
	dirs := map[string]bool{}
	for _, m := range s.made {
		if m.place != inLayout {
			continue
		}
		dirs[m.repo] = true
	}
	parallel(slices.Sorted(maps.Keys(dirs)), func(dir string) {
		s.stet("push", "oci:"+dir+":last", "small.txt")
		s.stet("verify", "-r", "oci:"+dir)
		checkWorkDirs(s.t, dir)
		tags := layoutTags(s.t, dir)
		for _, m := range s.made {
			if m.place == inLayout && m.repo == dir && m.tag != "" && tags[m.tag] != m.digest {
				s.t.Errorf("%s was called done with %s, and is %q", m.at(""), m.digest, tags[m.tag])
			}
		}
	})
}

// layoutTags reads index.json.
func layoutTags(t *testing.T, dir string) map[string]string {
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	var index struct {
		Manifests []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil {
		t.Error(err)
	}
	tags := map[string]string{}
	for _, m := range index.Manifests {
		if tag := m.Annotations["org.opencontainers.image.ref.name"]; tag != "" {
			tags[tag] = m.Digest
		}
	}
	return tags
}

// checkWorkDirs: below a directory with layouts there are layouts, and in their
// work directories the lock alone.
func checkWorkDirs(t *testing.T, dir string) {
	known := regexp.MustCompile(`^(oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}|\.stet/lock)$`)
	eachIn(t, dir, func(name string, d fs.DirEntry) {
		parts := strings.Split(name, "/")
		for i := range parts {
			if d.IsDir() || known.MatchString(strings.Join(parts[i:], "/")) {
				return
			}
		}
		t.Errorf("in the layouts of %s there is left %s", dir, name)
	})
}

// checkLeft: a worker's directory for temporary files is empty, and in its cache
// there is the file of blobs, and uploads that broke off: each a record under
// the name of its content, with its lock. After a week nobody comes for it.
func (w *worker) checkLeft() {
	t := w.s.t
	eachIn(t, filepath.Join(w.dir, "tmp"), func(name string, _ fs.DirEntry) {
		t.Errorf("in $TMPDIR there is left %s", name)
	})
	known := regexp.MustCompile(`^(\.cache(/stet(/uploads)?)?|\.cache/stet/blobs|\.cache/stet/uploads/[0-9a-f]{32}(\.lock|\.new)?)$`)
	eachIn(t, filepath.Join(w.dir, "home"), func(name string, d fs.DirEntry) {
		if !known.MatchString(name) {
			t.Errorf("in $HOME there is left %s", name)
		}
		if path.Ext(name) == "" && strings.Contains(name, "/uploads/") {
			raw, err := os.ReadFile(filepath.Join(w.dir, "home", filepath.FromSlash(name)))
			if err != nil || !json.Valid(raw) {
				t.Errorf("%s is no record of an upload: %v", name, err)
			}
		}
	})
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if e.Name() != "home" && e.Name() != "tmp" {
			t.Errorf("%s was not done in the end", e.Name())
		}
	}
}

// The windows of time whose memory is compared, and what luck may add.
const (
	soakGrowth = 1.1
	soakNoise  = 1 << 20
)

func (s *soak) window() time.Duration { return min(soakWindow, s.length/3) }

// checkMemory: the last commands have as much memory at their peak as the first,
// and serve over a directory as much as when it was warm.
func (s *soak) checkMemory() {
	w := s.window()
	for _, name := range slices.Sorted(maps.Keys(s.codes)) {
		first, last := most(s.peaks, name, 0, w), most(s.peaks, name, s.length-w, 2*s.length)
		s.t.Logf("peak of %-6s %5.1f MiB in the first %v, %5.1f in the last", name, mib(first), w, mib(last))
		if float64(last) > soakGrowth*float64(first)+soakNoise {
			s.t.Errorf("the peak of %s grew from %d to %d KiB", name, first>>10, last>>10)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.resident)) {
		first, last := mean(s.resident[name], w, 2*w), mean(s.resident[name], s.length-w, s.length)
		for at := s.length / 6; at < s.length; at += s.length / 6 { // how it grew, if it did
			s.t.Logf("%-16s %5.1f MiB around %v", name, mib(mean(s.resident[name], at-w/2, at+w/2)), at)
		}
		s.t.Logf("%-16s %5.1f MiB on average in %v after as long a time, %5.1f in the last", name, mib(first), w, mib(last))
		if strings.Contains(name, "directory") && float64(last) > soakGrowth*float64(first)+soakNoise {
			s.t.Errorf("the memory of %s grew from %d to %d KiB", name, first>>10, last>>10)
		}
	}
}

func most(all []sample, name string, from, to time.Duration) (n int64) {
	for _, p := range all {
		if p.name == name && p.at >= from && p.at < to {
			n = max(n, p.bytes)
		}
	}
	return n
}

func mean(all []sample, from, to time.Duration) int64 {
	var sum, n int64
	for _, p := range all {
		if p.at >= from && p.at < to {
			sum, n = sum+p.bytes, n+1
		}
	}
	return sum / max(n, 1)
}

// table is what happened, for who reads the log.
func (s *soak) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	codes := []int{codeOK, codeAuth, codeMismatch, codeUnavailable, 130, 143, -1}
	fmt.Fprintf(w, "\ncommand\texit 0\t4\t7\t8\t130\t143\tkilled\n")
	all := 0
	for _, name := range slices.Sorted(maps.Keys(s.codes)) {
		fmt.Fprint(w, name)
		for _, c := range codes {
			fmt.Fprintf(w, "\t%d", s.codes[name][c])
			all += s.codes[name][c]
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	fmt.Fprintln(&b)
	faults := 0
	for _, k := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(w, "%s\t%d\n", k, s.faults[k])
		faults += s.faults[k]
	}
	_ = w.Flush()
	referrers, layouts := 0, 0
	for _, m := range s.made {
		referrers += len(m.referrers)
		if m.place == inLayout {
			layouts++
		}
	}
	fmt.Fprintf(&b, "\n%d commands, %d faults; %d artifacts called done and proven, %d of them in layouts, %d referrers; %d files pulled and compared; %d MiB\n",
		all, faults, len(s.made), layouts, referrers, s.files, s.bytes>>20)
	return b.String()
}
