package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// The tests TestCaseNN… hold the program against registries, networks and files
// that mean no good. Each has the number and the words of its case. They run
// the real program (this test binary under its name) at a desk of its own
// against scripted servers, and assert on what can be observed: exit code,
// files, what the servers were sent, bytes on the terminal, memory.

// caseMemory is what the program may take in a case. Under the race detector
// memory says nothing, and patience is longer: make test runs the cases without
// it as well.
const caseMemory = 64 << 20

// peakFile names the variable with the file that a program leaves its peak of
// memory in; see TestMain. The kernel's ru_maxrss is of no use: it counts
// what the test process had when it started the program.
const peakFile = "STET_TEST_PEAK"

// notePeak writes the peak of this process's memory in bytes, where the file
// is asked for and the system tells.
func notePeak() {
	file := os.Getenv(peakFile)
	if file == "" {
		return
	}
	status, _ := os.ReadFile("/proc/self/status")
	if m := highWater.FindSubmatch(status); m != nil {
		kib, _ := strconv.ParseInt(string(m[1]), 10, 64)
		_ = os.WriteFile(file, []byte(strconv.FormatInt(kib<<10, 10)), 0o600)
	}
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// desk is where a user works: a directory, a home, and the program.
type desk struct {
	t         *testing.T
	Dir, Home string
	Env       []string // beside PATH and HOME
	Stdin     string
	Memory    int64 // that the program may take
	bin, out  string
	runs      atomic.Int64
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, Memory: caseMemory, Dir: t.TempDir(), Home: t.TempDir(), out: t.TempDir(), bin: filepath.Join(installProgram(t), "stet")}
	return d
}

// write makes a file in the working directory and gives its path.
func (d *desk) write(name, content string) string {
	d.t.Helper()
	path := filepath.Join(d.Dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// read gives a file of the working directory, "" where there is none.
func (d *desk) read(name string) string {
	raw, err := os.ReadFile(filepath.Join(d.Dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.t.Fatal(err)
	}
	return string(raw)
}

// files lists what lies below the working directory, hidden files too;
// directories end with a slash.
func (d *desk) files() []string { return filesBelow(d.t, d.Dir) }

func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	found := []string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if e.IsDir() {
			rel += "/"
		}
		found = append(found, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// outcome is what a run of the program came to.
type outcome struct {
	t              *testing.T
	args           []string
	Code           int
	Stdout, Stderr string
	Peak           int64 // of its memory in bytes; 0 where it is not known
	Took           time.Duration
}

// running is a program that was started.
type running struct {
	*exec.Cmd
	d        *desk
	out, err bytes.Buffer
	peak     string
	begun    time.Time
	cancel   context.CancelFunc
	ended    chan error
}

// start starts the program; end waits for it. It is killed after patience.
func (d *desk) start(args ...string) *running {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	r := &running{d: d, cancel: cancel, begun: time.Now(), ended: make(chan error, 1)}
	r.peak = filepath.Join(d.out, fmt.Sprint("peak", d.runs.Add(1)))
	r.Cmd = exec.CommandContext(ctx, d.bin, args...)
	r.Dir, r.Stdin, r.Stdout, r.Stderr = d.Dir, strings.NewReader(d.Stdin), &r.out, &r.err
	r.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.Home, "GORACE=" + os.Getenv("GORACE"),
		"GOCOVERDIR=" + d.out, peakFile + "=" + r.peak,
	}, d.Env...)
	r.WaitDelay = time.Second
	if err := r.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() { r.ended <- r.Wait() }()
	return r
}

// end waits for the program. One that had to be killed fails the test.
func (r *running) end() outcome {
	r.d.t.Helper()
	<-r.ended
	r.cancel()
	o := outcome{
		t: r.d.t, args: r.Args[1:], Code: r.ProcessState.ExitCode(),
		Stdout: r.out.String(), Stderr: r.err.String(), Took: time.Since(r.begun),
	}
	if raw, err := os.ReadFile(r.peak); err == nil {
		o.Peak, _ = strconv.ParseInt(string(raw), 10, 64)
	}
	if o.Took >= patience {
		r.d.t.Fatalf("%s\nwent on for %v", o, patience)
	}
	if o.Code == 2 && strings.Contains(o.Stderr, "goroutine ") {
		r.d.t.Fatalf("%s\nit crashed", o)
	}
	if o.Peak > r.d.Memory && !raceDetector {
		r.d.t.Errorf("%s\ntook %d MiB of memory", o, o.Peak>>20)
	}
	return o
}

// quick makes a command give up at the first fault: those of most cases last.
func quick(args ...string) []string { return append(args, "--retry", "0") }

// stet runs the program to its end.
func (d *desk) stet(args ...string) outcome {
	d.t.Helper()
	return d.start(args...).end()
}

func (o outcome) String() string {
	return fmt.Sprintf("stet %s\nexit code %d after %v, peak %d MiB\n-- stdout\n%.4000s\n-- stderr\n%.4000s",
		strings.Join(o.args, " "), o.Code, o.Took.Round(time.Millisecond), o.Peak>>20, o.Stdout, o.Stderr)
}

// ok fails the test unless the program ended well.
func (o outcome) ok() outcome {
	o.t.Helper()
	if o.Code != 0 {
		o.t.Fatalf("%s\nwant exit code 0", o)
	}
	return o
}

// fails wants one of the exit codes, an error in three lines at the end of
// stderr, and nothing on stdout.
func (o outcome) fails(codes ...int) outcome {
	o.t.Helper()
	switch {
	case !slices.Contains(codes, o.Code):
		o.t.Fatalf("%s\nwant an exit code of %v", o, codes)
	case o.Stdout != "":
		o.t.Errorf("%s\nit failed and wrote to stdout", o)
	case !threeLines.MatchString(o.Stderr):
		o.t.Errorf("%s\nthe error is not three lines", o)
	}
	return o
}

// says wants texts on stdout or stderr.
func (o outcome) says(texts ...string) outcome {
	o.t.Helper()
	for _, text := range texts {
		if !strings.Contains(o.Stdout+o.Stderr, text) {
			o.t.Errorf("%s\nwant it to say %q", o, text)
		}
	}
	return o
}

// never wants none of the texts on stdout or stderr.
func (o outcome) never(texts ...string) outcome {
	o.t.Helper()
	for _, text := range texts {
		if strings.Contains(o.Stdout+o.Stderr, text) {
			o.t.Errorf("%s\nit should not say %q", o, text)
		}
	}
	return o
}

// heard is a request that a scripted server was sent.
type heard struct {
	Method, URI, Host, Path string
	Query                   url.Values
	Header                  http.Header
	Took                    atomic.Int64 // bytes of its body
	Gave                    atomic.Int64 // bytes of the answer's body that went out
}

func (h *heard) String() string { return h.Method + " " + h.URI }

// hostile is a scripted server, and what it was sent.
type hostile struct {
	t      *testing.T
	Host   string // 127.0.0.1:PORT
	Port   string
	URL    string
	CA     string // file with the certificate of one behind TLS
	Server *httptest.Server

	mu   sync.Mutex
	seen []*heard
}

// newHostile starts a server on plain http. The program takes http for
// localhost, which is Name.
func newHostile(t *testing.T, handler http.HandlerFunc) *hostile {
	return startHostile(t, handler, false)
}

// newHostileTLS starts one behind TLS. The certificate is for 127.0.0.1, which
// is Host, and --ca-file CA makes the program trust it.
func newHostileTLS(t *testing.T, handler http.HandlerFunc) *hostile {
	return startHostile(t, handler, true)
}

func startHostile(t *testing.T, handler http.HandlerFunc, secure bool) *hostile {
	t.Helper()
	h := &hostile{t: t}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := &heard{Method: r.Method, URI: r.RequestURI, Host: r.Host, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header.Clone()}
		h.mu.Lock()
		h.seen = append(h.seen, n)
		h.mu.Unlock()
		r.Body = &countedBody{r.Body, n}
		handler(&countedAnswer{w, n}, r)
	}))
	h.Server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		h.Server.StartTLS()
		h.CA = filepath.Join(t.TempDir(), "ca.pem")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Server.Certificate().Raw})
		if err := os.WriteFile(h.CA, block, 0o644); err != nil {
			t.Fatal(err)
		}
	} else {
		h.Server.Start()
	}
	t.Cleanup(func() {
		h.Server.CloseClientConnections()
		h.Server.Close()
	})
	h.URL, h.Host = h.Server.URL, h.Server.Listener.Addr().String()
	h.Port = h.Host[strings.LastIndexByte(h.Host, ':')+1:]
	return h
}

// Name is the address that the program takes for one on plain http.
func (h *hostile) Name() string { return "localhost:" + h.Port }

// heard lists what came, of a method and below a path where they are given.
func (h *hostile) heard(method, path string) []*heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*heard
	for _, n := range h.seen {
		if (method == "" || n.Method == method) && strings.HasPrefix(n.Path, path) {
			list = append(list, n)
		}
	}
	return list
}

// atMost wants no more than n requests.
func (h *hostile) atMost(n int) {
	h.t.Helper()
	if all := h.heard("", ""); len(all) > n {
		h.t.Errorf("%d requests, want at most %d: %.2000v", len(all), n, all)
	}
}

// gave is how many bytes of bodies went out in all.
func (h *hostile) gave() (sum int64) {
	for _, n := range h.heard("", "") {
		sum += n.Gave.Load()
	}
	return sum
}

// without wants that no request had a header, or a text in any place.
func (h *hostile) without(headerOrText ...string) {
	h.t.Helper()
	for _, n := range h.heard("", "") {
		for _, what := range headerOrText {
			if n.Header.Values(what) != nil || strings.Contains(n.URI+fmt.Sprint(n.Header), what) {
				h.t.Errorf("%s had %s: %v", n, what, n.Header)
			}
		}
	}
}

type countedBody struct {
	io.ReadCloser
	of *heard
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.of.Took.Add(int64(n))
	return n, err
}

type countedAnswer struct {
	http.ResponseWriter
	of *heard
}

func (a *countedAnswer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.of.Gave.Add(int64(n))
	return n, err
}

// Unwrap is for http.ResponseController, which flushes and hijacks.
func (a *countedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Flush sends what was written.
func (a *countedAnswer) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }

// newRegistry is a registry in memory that takes everything, to stand behind a
// scripted handler.
func newRegistry(t *testing.T) http.Handler {
	h := serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: serve.Quirks{}})
	t.Cleanup(func() { h.Close() })
	return h
}

// The media types of the cases.
const (
	imageType  = store.MediaTypeImage
	indexType  = store.MediaTypeIndex
	octetsType = "application/octet-stream"
)
