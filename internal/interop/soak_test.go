package interop

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The soak: so many processes at a time, and what all of them may put into the
// registries together.
const (
	soakWorkers = 8
	soakBytes   = 1 << 30
	soakWindow  = time.Minute      // whose memory is compared: the first and the last
	soakSlot    = 20 * time.Second // after it others of repositories, layouts and directories are used
)

// soak is what the workers share.
type soak struct {
	t      *testing.T
	seed   uint64
	dir    string
	length time.Duration
	start  time.Time
	places []place

	mu       sync.Mutex
	made     []*made
	undone   []*work
	commons  map[int]*made // by slot, as is
	contests map[int]*made
	codes    map[string]map[int]int // commands by their exit code
	faults   map[kind]int
	bytes    int64
	files    int // that were pulled and compared
	peaks    []sample
	resident map[string][]sample // of the processes of serve
}

// place is a registry of the soak.
type place struct {
	name, host string
	tagSchema  bool // it has no referrers API
}

// sample is a measurement of memory in bytes.
type sample struct {
	at    time.Duration
	name  string
	bytes int64
}

// TestSoak runs eight processes at a time of push, pull, cp and attach for as
// long as STET_SOAK says, with random faults at every stage; some are killed.
// What a command called done is there in the end, proven, and nothing lies about
// that no later run finds. STET_SOAK_SEED=N repeats the choices of a run, though
// not how its processes meet.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("STET_SOAK"))
	if err != nil {
		t.Skip("it takes its time: make soak")
	}
	seed := rand.Uint64()
	if text := os.Getenv("STET_SOAK_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%v; STET_SOAK_SEED=%d", length, seed)
	takeInterrupts(t)
	layouts := filepath.Join(t.TempDir(), "served")
	memory, directory := serveProcess(t), serveProcess(t, layouts)
	s := &soak{
		t: t, seed: seed, dir: t.TempDir(), length: length, start: time.Now(),
		commons: map[int]*made{}, contests: map[int]*made{}, codes: map[string]map[int]int{}, faults: map[kind]int{}, resident: map[string][]sample{},
		places: []place{
			{name: "serve, memory", host: memory.host},
			{name: "serve, directory", host: directory.host},
			{name: "docker-registry", host: startDebian(t), tagSchema: true},
		},
	}
	watched := make(chan struct{})
	go s.watch(map[string]int{"serve, memory": memory.pid, "serve, directory": directory.pid}, watched)
	workers := make([]*worker, soakWorkers)
	var group sync.WaitGroup
	for i := range workers {
		workers[i] = newWorker(s, i)
		group.Go(workers[i].loop)
	}
	group.Wait()
	close(watched)
	t.Logf("%d commands are run again, without faults", len(s.undone))
	for _, w := range workers {
		w.calm()
	}
	s.finish(workers)
	s.checkPlaces()
	s.checkReferrers()
	s.checkLayouts()
	for _, w := range workers {
		w.checkLeft()
	}
	open := 0
	eachIn(t, layouts, func(name string, _ fs.DirEntry) {
		if strings.HasPrefix(filepath.Base(name), "ingest-") {
			open++
		}
	})
	t.Logf("serve over a directory holds %d uploads open that nobody ended", open)
	memory.stop()
	directory.stop()
	checkWorkDirs(t, layouts)
	s.checkMemory()
	t.Log(s.table())
}

// takeInterrupts gives processes that are started a SIGINT that ends them from their
// first moment on: in the background of a shell they would not hear it before
// they ask for it.
func takeInterrupts(t *testing.T) {
	if !signal.Ignored(os.Interrupt) {
		return
	}
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, os.Interrupt)
	t.Cleanup(func() { signal.Stop(heard) })
}

// slot is a number that changes as time goes on.
func (s *soak) slot() int { return int(time.Since(s.start) / soakSlot) }

func (s *soak) over() bool { return time.Since(s.start) > s.length }

// watch samples the memory of processes until done.
func (s *soak) watch(pids map[string]int, done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		for name, pid := range pids {
			raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, rss, _ := strings.Cut(string(raw), "\nVmRSS:")
			var kib int64
			if n, _ := fmt.Sscan(rss, &kib); n == 1 {
				s.mu.Lock()
				s.resident[name] = append(s.resident[name], sample{time.Since(s.start), name, kib << 10})
				s.mu.Unlock()
			}
		}
	}
}

// pick gives something that a command called done: mostly one of the last, on
// which others are at work too.
func (s *soak) pick(rng *rand.Rand, fits func(*made) bool) *made {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := 0
	if rng.IntN(4) > 0 {
		from = max(0, len(s.made)-40)
	}
	for range 20 {
		if len(s.made) == 0 {
			break
		}
		if m := s.made[from+rng.IntN(len(s.made)-from)]; fits(m) {
			return m
		}
	}
	return nil
}

// large says whether a large file fits into what the registries may get.
func (s *soak) large() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	part := float64(time.Since(s.start)) / float64(s.length)
	return float64(s.bytes) < soakBytes/10+part*soakBytes*9/10
}
