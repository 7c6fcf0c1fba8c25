package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

// made is an artifact that a command called done.
type made struct {
	place     int    // of soak.places, or inLayout
	repo      string // or the directory of the layout
	tag       string // "" where only its digest names it
	digest    string
	files     map[string]digest.Digest
	size      int64
	subject   *made
	referrers []string // digests, under soak.mu
}

const inLayout = -1

// at is the reference of what was made, by the given host.
func (m *made) at(host string) string {
	ref := host + "/" + m.repo
	if m.place == inLayout {
		ref = "oci:" + m.repo
	}
	if m.tag != "" {
		return ref + ":" + m.tag
	}
	return ref + "@" + m.digest
}

// work is a command, and what comes of it when it is done.
type work struct {
	w      *worker
	name   string
	dir    string // where it runs; it goes when it is done
	args   []string
	out    string   // of a pull
	shared bool     // others pull into out, too
	from   *made    // what is pulled, copied, or is the subject
	makes  *made    // what is there afterwards
	want   []string // the referrers that a copy has to bring
}

// worker runs one command after the other.
type worker struct {
	s       *soak
	id, n   int
	rng     *rand.Rand
	dir     string
	proxies []*faultProxy // to each of soak.places
	faults  []*soakFaults
}

func newWorker(s *soak, id int) *worker {
	w := &worker{s: s, id: id, rng: rand.New(rand.NewPCG(s.seed, uint64(id))), dir: filepath.Join(s.dir, fmt.Sprint("worker", id))}
	for _, sub := range []string{"home", "tmp"} {
		if err := os.MkdirAll(filepath.Join(w.dir, sub), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	for i, at := range s.places {
		f := &soakFaults{rng: rand.New(rand.NewPCG(s.seed, uint64(100*id+i))), guarded: id%2 == 0, note: s.noteFault}
		p := newFaultProxy(s.t, at.host)
		p.set(func() { p.random, p.guarded = f.next, f.guarded })
		w.proxies, w.faults = append(w.proxies, p), append(w.faults, f)
	}
	return w
}

func (s *soak) noteFault(what kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[what]++
}

// calm ends the faults.
func (w *worker) calm() {
	for _, p := range w.proxies {
		p.set(func() { p.random = nil })
	}
}

// ref is the reference of what was made, through the worker's own proxy.
func (w *worker) ref(m *made) string {
	if m.place == inLayout {
		return m.at("")
	}
	return m.at(w.proxies[m.place].host)
}

func (w *worker) loop() {
	for !w.s.over() {
		k := w.next()
		if k == nil {
			continue
		}
		done := w.run(k, true)
		for range 2 { // a user who tries again
			if done || w.s.over() || w.rng.IntN(2) == 0 {
				break
			}
			done = w.run(k, true)
		}
		if !done {
			w.s.mu.Lock()
			w.s.undone = append(w.s.undone, k)
			w.s.mu.Unlock()
		}
	}
}

// next chooses a command.
func (w *worker) next() *work {
	w.n++
	k := &work{w: w, dir: filepath.Join(w.dir, fmt.Sprint("work", w.n))}
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		w.s.t.Error(err)
		return nil
	}
	var ok bool
	switch n := w.rng.IntN(20); {
	case n < 6:
		ok = w.push(k)
	case n < 12:
		ok = w.pull(k)
	case n < 17:
		ok = w.copy(k)
	default:
		ok = w.attach(k)
	}
	if !ok { // nothing is there yet
		_ = os.RemoveAll(k.dir)
		return nil
	}
	k.args = append(k.args, "--format", "json", "--retry", "3", "--retry-max-wait", "6s", "--stall-timeout", "3s")
	return k
}

// tag is one that nobody else makes.
func (w *worker) tag() string { return fmt.Sprintf("w%d-n%d", w.id, w.n) }

// target is a place for something new.
func (w *worker) target() *made {
	return &made{place: w.rng.IntN(len(w.s.places)), repo: fmt.Sprintf("soak/s%d-r%d", w.s.slot(), w.rng.IntN(2)), tag: w.tag()}
}

// write makes a file with content of its own.
func (k *work) write(name string, size int) {
	raw := make([]byte, size)
	for i := range raw {
		raw[i] = byte(k.w.rng.Uint32())
	}
	path := filepath.Join(k.dir, filepath.FromSlash(name))
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, raw, 0o644)
	}
	if err != nil {
		k.w.s.t.Error(err)
	}
	k.makes.files[name] = digest.FromBytes(raw)
	k.makes.size += int64(size)
}

func (w *worker) push(k *work) bool {
	k.name, k.makes = "push", w.target()
	k.makes.files = map[string]digest.Digest{}
	k.args = []string{"push", w.ref(k.makes)}
	for i := range 1 + w.rng.IntN(3) {
		name := fmt.Sprintf("file%d.bin", i)
		switch n := w.rng.IntN(20); {
		case n < 2 && w.s.large():
			k.write(name, 1<<20+w.rng.IntN(6<<20))
		case n < 6 && w.s.large():
			k.write(name, 50_000+w.rng.IntN(300_000))
		default:
			k.write(name, w.rng.IntN(20_000))
		}
		k.args = append(k.args, name)
	}
	if w.rng.IntN(4) == 0 {
		for i := range 3 {
			k.write(fmt.Sprintf("packed/part%d/text.txt", i), 1000)
		}
		k.args = append(k.args, "packed")
	}
	return true
}

func (w *worker) pull(k *work) bool {
	k.name, k.out = "pull", filepath.Join(k.dir, "out")
	if slot := w.s.slot(); w.rng.IntN(3) == 0 {
		k.from, k.shared = w.s.common(slot), true
		k.out = filepath.Join(w.s.dir, "shared", fmt.Sprint(slot))
	} else {
		k.from = w.s.pick(w.rng, func(*made) bool { return true })
	}
	if k.from == nil {
		return false
	}
	k.args = []string{"pull", "-o", k.out, w.ref(k.from)}
	return true
}

// common is what everybody pulls at a time, into one directory.
func (s *soak) common(slot int) *made {
	return s.shared(s.commons, slot, func(m *made) bool { return m.place != inLayout && m.subject == nil })
}

// contended is what everybody attaches to at a time, where a list is written by all.
func (s *soak) contended(slot int) *made {
	return s.shared(s.contests, slot, func(m *made) bool {
		return m.place != inLayout && m.subject == nil && s.places[m.place].tagSchema
	})
}

// shared gives what was chosen for a time among the last artifacts, and chooses.
func (s *soak) shared(chosen map[int]*made, slot int, fits func(*made) bool) *made {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.made) - 1; chosen[slot] == nil && i >= 0; i-- {
		if fits(s.made[i]) {
			chosen[slot] = s.made[i]
		}
	}
	return chosen[slot]
}

func (w *worker) copy(k *work) bool {
	k.name = "cp"
	k.from = w.s.pick(w.rng, func(m *made) bool { return m.subject == nil })
	if k.from == nil {
		return false
	}
	k.makes = w.target()
	if k.from.size < 400_000 && k.from.place != inLayout && w.rng.IntN(3) == 0 {
		k.makes.place, k.makes.repo = inLayout, filepath.Join(w.s.dir, "layouts", fmt.Sprint(w.s.slot()))
	}
	if k.from.size > 400_000 && !w.s.large() {
		return false
	}
	k.makes.files, k.makes.size = k.from.files, k.from.size
	k.args = []string{"cp", w.ref(k.from), w.ref(k.makes)}
	if w.rng.IntN(2) == 0 {
		k.args = append(k.args, "-r")
	}
	return true
}

func (w *worker) attach(k *work) bool {
	k.name = "attach"
	if w.rng.IntN(2) == 0 {
		k.from = w.s.contended(w.s.slot())
	} else {
		k.from = w.s.pick(w.rng, func(m *made) bool { return m.subject == nil })
	}
	if k.from == nil {
		return false
	}
	k.makes = &made{place: k.from.place, repo: k.from.repo, subject: k.from, files: map[string]digest.Digest{}}
	k.write("note.txt", 500)
	k.args = []string{"attach", "--artifact-type", "application/vnd.example.note", w.ref(k.from), "note.txt"}
	return true
}

// ended is what became of a command.
type ended struct {
	stdout, stderr string
	code           int // -1 where a signal ended it
	signal         os.Signal
}

// run runs a command and says whether it is done.
func (w *worker) run(k *work, faults bool) bool {
	for i, p := range w.proxies {
		p.set(func() {
			p.log, p.early = nil, nil
			w.faults[i].lied, w.faults[i].tokens = false, false
		})
	}
	s := w.s
	s.mu.Lock()
	if slices.Contains(k.args, "-r") {
		k.want = slices.Clone(k.from.referrers)
	}
	s.mu.Unlock()
	e := w.exec(k, faults)
	w.judge(k, e, faults)
	if e.code == codeOK {
		w.succeeded(k, e)
		return true
	}
	if k.out != "" {
		k.checkFailed(e)
	}
	return false
}

// exec runs the program, and at random kills it.
func (w *worker) exec(k *work, faults bool) ended {
	ctx, stop := context.WithTimeout(w.s.t.Context(), bounded)
	defer stop()
	cmd := exec.CommandContext(ctx, stet, k.args...)
	cmd.Dir = k.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(w.dir, "home"), "TMPDIR=" + filepath.Join(w.dir, "tmp")}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // says where it stands
	cmd.WaitDelay = settle * 100
	began := time.Since(w.s.start)
	if err := cmd.Start(); err != nil {
		w.s.t.Error(err)
		return ended{code: -1}
	}
	peak := watchPeak(cmd.Process.Pid)
	e := ended{}
	var sent atomic.Int64
	if faults && w.rng.IntN(12) == 0 {
		e.signal = []os.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT}[w.rng.IntN(4)]
		timer := time.AfterFunc(time.Duration(5+w.rng.IntN(600))*time.Millisecond, func() {
			sent.Store(time.Now().UnixNano())
			_ = cmd.Process.Signal(e.signal)
		})
		defer timer.Stop()
	}
	_ = cmd.Wait() // what came of it is in the exit code
	used := peak()
	if at := sent.Load(); at == 0 {
		e.signal = nil
	} else if late := time.Since(time.Unix(0, at)); late > maxLinger {
		w.s.t.Errorf("stet %s went on for %v after the signal %v, to exit %d\n%s", strings.Join(k.args, " "), late, e.signal, cmd.ProcessState.ExitCode(), stderr.String())
	}
	e.stdout, e.stderr, e.code = stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
	if ctx.Err() != nil {
		w.s.t.Errorf("stet %s did not end within %v", strings.Join(k.args, " "), bounded)
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if faults && e.code != -1 {
		w.s.peaks = append(w.s.peaks, sample{began, k.name, used})
	}
	if w.s.codes[k.name] == nil {
		w.s.codes[k.name] = map[int]int{}
	}
	w.s.codes[k.name][e.code]++
	return e
}

// maxLinger is how long a command may go on after a signal: the 2 s that are
// promised, and what a busy machine adds.
const maxLinger = 4 * time.Second

// threeLines is how the output of a failure ends.
var threeLines = regexp.MustCompile(`(^|\n)stet: [^\n]+\n  why: [^\n]+\n  do:  [^\n]+\n$`)

// judge compares how a command ended with what may happen.
func (w *worker) judge(k *work, e ended, faults bool) {
	var log []string
	var lied, tokens bool
	for i, p := range w.proxies {
		p.set(func() {
			lied, tokens = lied || w.faults[i].lied, tokens || w.faults[i].tokens
			log = append(log, p.log...)
			if len(p.early) > 0 {
				w.s.t.Errorf("%v: stet %s put a manifest before the blobs %s; exit %d\n%s\n%s", time.Since(w.s.start), strings.Join(k.args, " "), p.early, e.code, e.stderr, strings.Join(p.log, "\n"))
			}
		})
	}
	right := e.code == codeOK
	switch e.code {
	case codeUnavailable:
		right = faults
	case codeAuth:
		right = faults && tokens
	case codeMismatch:
		right = faults && lied
	case -1:
		right = e.signal == syscall.SIGKILL || e.signal == syscall.SIGTERM || e.signal == syscall.SIGINT
	case 128 + int(syscall.SIGINT):
		right = e.signal == syscall.SIGINT
	case 128 + int(syscall.SIGTERM):
		right = e.signal == syscall.SIGTERM
	}
	told := e.code != codeAuth && e.code != codeMismatch && e.code != codeUnavailable || threeLines.MatchString(e.stderr)
	rude := strings.Contains(e.stderr, "panic:") || strings.Contains(e.stderr, "goroutine ") || strings.Contains(e.stderr, "report it")
	if !right || !told || rude || e.stdout != "" && !json.Valid([]byte(e.stdout)) && e.code != -1 {
		w.s.t.Errorf("%v: stet %s: exit %d, signal %v\n%s%s\n%s", time.Since(w.s.start).Round(time.Millisecond), strings.Join(k.args, " "), e.code, e.signal,
			e.stdout, e.stderr, strings.Join(log[max(0, len(log)-60):], "\n"))
	}
}

// succeeded notes what a command called done.
func (w *worker) succeeded(k *work, e ended) {
	var said struct{ Digest string }
	_ = json.Unmarshal([]byte(e.stdout), &said)
	s := w.s
	if said.Digest == "" || k.name == "cp" && said.Digest != k.from.digest {
		s.t.Errorf("stet %s says %q", strings.Join(k.args, " "), e.stdout)
		return
	}
	if k.name == "pull" {
		k.checkPulled()
	}
	if err := os.RemoveAll(k.dir); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.makes == nil {
		return
	}
	k.makes.digest = said.Digest
	if k.name == "attach" {
		k.from.referrers = append(k.from.referrers, said.Digest)
	}
	k.makes.referrers = append(k.makes.referrers, k.want...)
	s.made = append(s.made, k.makes)
	s.bytes += k.makes.size
}
