package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stet-oci/stet/internal/cli"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
)

func TestMain(m *testing.M) {
	program := func() {
		code := cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr, os.Getenv)
		notePeak()
		os.Exit(code)
	}
	// A program built with the race detector waits a second before it ends; the
	// scripts run hundreds of them.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	testscript.Main(m, map[string]func(){"stet": program, "oras": program})
}

// TestScripts runs testdata/*.txtar: what a user types, and what comes of it.
// Beside testscript's own commands there are
//
//	registry NAME [imitate=R] [QUIRK...]  a registry in this process; $NAME is its address
//	registry NAME user=U password=P    the same, behind Basic authentication
//	registry NAME tokens user=U password=P  the same, with a token service
//	registry NAME tls=FILE             the same, behind TLS; FILE becomes its certificate
//	fault NAME KIND [UPSTREAM [FILE]]  a registry that is out of order; see faults
//	requests NAME [METHOD] [<=]N       NAME was sent N requests since the last call; METHOD may be
//	                                   followed by the beginning of a path: GET/token
//	exits CODE PROGRAM ARGS...         the program ends with this exit code, and an error is told
//	                                   in three lines on stderr, with nothing on stdout
//	answers CODE PROGRAM ARGS...       the program prints its result and ends with this exit code,
//	                                   which is part of the answer: no error is told on stderr
//	stops SIGNAL CODE FAULT PROGRAM... the program gets the signal when FAULT has stalled it, and
//	                                   ends within two seconds with the code
//	let NAME FILE                      $NAME is the content of a file or stdout, trimmed
//	proves DIGEST FILE                 the file has this digest
//	holds DIR [NAME...]                the directory has these entries, hidden ones aside
//	valid DIR                          the directory is an OCI layout whose blobs are what they are called
//	modes FILE MODE                    the permission bits of a file
//	keys FILE LIST                     a JSON document has these keys and no others; see checkKeys
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("SOURCE_DATE_EPOCH", "")
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("CI", "")
			env.Values["registries"] = map[string]*registry{}
			return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"registry": startRegistry,
			"fault":    startFault,
			"requests": checkRequests,
			"exits":    checkExit,
			"answers":  checkAnswer,
			"stops":    checkStop,
			"let":      let,
			"proves":   checkDigest,
			"holds":    checkEntries,
			"valid":    checkLayout,
			"modes":    checkMode,
			"keys":     checkKeys,
		},
		Condition: condition,
	})
}

// TestScriptsFail: each command has a script with a use of it that fails.
func TestScriptsFail(t *testing.T) {
	pages, err := filepath.Glob("../../docs/commands/stet_*.md")
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages of commands, %v", len(pages), err)
	}
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range scripts {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw...)
	}
	for _, page := range pages {
		page = strings.TrimSuffix(page, ".md")
		if below, _ := filepath.Glob(page + "_*.md"); len(below) > 0 {
			continue
		}
		command := strings.ReplaceAll(filepath.Base(page), "_", " ")
		fails := regexp.MustCompile(`(?m)^(! exec|exits [1-9]\d*|answers [1-9]\d*) ` + command + `\b`)
		if !fails.Match(all) {
			t.Errorf("no script has a use of %s that fails", command)
		}
	}
}

// registry is one that a script talks to, with the requests it was sent.
type registry struct {
	mu      sync.Mutex
	seen    []string      // "METHOD path status"
	stalled chan struct{} // of a fault
}

func (r *registry) note(method, uri string, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, fmt.Sprintf("%s %s %d", method, uri, status))
}

func (r *registry) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: registry NAME [imitate=REGISTRY] [QUIRK...] [user=U password=P]")
	}
	name, user, password, ca, tokens := args[0], "", "", "", false
	var quirks []string
	q := serve.Quirks{}
	for _, a := range args[1:] {
		switch key, value, _ := strings.Cut(a, "="); key {
		case "imitate":
			var err error
			q, err = serve.Imitate(value)
			ts.Check(err)
		case "user":
			user = value
		case "password":
			password = value
		case "tls":
			ca = value
		case "tokens":
			tokens = true
		default:
			quirks = append(quirks, a)
		}
	}
	for _, name := range quirks {
		ts.Check(q.Set(name))
	}
	r := &registry{}
	opts := serve.Options{Quirks: q, OnRequest: r.note}
	switch users := map[string]string{user: password}; {
	case tokens:
		opts.Bearer = &serve.Bearer{Users: users}
	case user != "":
		opts.Basic = users
	}
	handler := serve.New(local.NewMemoryRegistry(), opts)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	if ca != "" {
		listener = secured(ts, listener, ts.MkAbs(ca))
	}
	go server.Serve(listener)
	ts.Defer(func() {
		server.Close()
		handler.Close()
	})
	publish(ts, name, listener, r)
	if ca != "" {
		ts.Setenv(name, listener.Addr().String()) // an IP address: the certificate is for that
	}
}

// secured puts TLS before l, with the certificate of net/http/httptest, which
// is written to a file.
func secured(ts *testscript.TestScript, l net.Listener, ca string) net.Listener {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	ts.Check(os.WriteFile(ca, block, 0o666))
	return tls.NewListener(l, &tls.Config{Certificates: s.TLS.Certificates})
}

// publish makes a registry known to the script by its name.
func publish(ts *testscript.TestScript, name string, l net.Listener, r *registry) {
	ts.Defer(func() { l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Setenv(name, "localhost:"+port)
	ts.Value("registries").(map[string]*registry)[name] = r
}

func named(ts *testscript.TestScript, name string) *registry {
	r := ts.Value("registries").(map[string]*registry)[name]
	if r == nil {
		ts.Fatalf("there is no registry %s", name)
	}
	return r
}

func checkRequests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: requests NAME [METHOD] [<=]N")
	}
	seen := named(ts, args[0]).take()
	method, path, _ := strings.Cut(args[1], "/")
	count := 0
	for _, s := range seen {
		if len(args) == 2 || strings.HasPrefix(s, method+" /"+path) {
			count++
		}
	}
	limit, atMost := strings.CutPrefix(args[len(args)-1], "<=")
	want, err := strconv.Atoi(limit)
	ts.Check(err)
	if count != want && !(atMost && count < want) {
		ts.Fatalf("%d requests, want %s:\n%s", count, args[len(args)-1], strings.Join(seen, "\n"))
	}
}

// threeLines is how an error is told, at the end of stderr.
var threeLines = regexp.MustCompile(`(?:^|\n)\S+: (?:cannot|wrong usage of) .+\n  why: .+\n  do:  .+\n$`)

// checkExit runs a program and compares its exit code. Output stays readable by
// stdout and stderr.
func checkExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	endsWith(ts, args)
	if args[0] == "0" {
		return
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("it failed and wrote to stdout: %s", out)
	}
	if out := ts.ReadFile("stderr"); !threeLines.MatchString(out) {
		ts.Fatalf("the error is not three lines:\n%s", out)
	}
}

// endsWith runs args[1:] and compares the exit code with args[0].
func endsWith(ts *testscript.TestScript, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s ended with %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// checkAnswer runs a program whose exit code is part of its answer.
func checkAnswer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: answers CODE PROGRAM ARGS...")
	}
	endsWith(ts, args)
	if ts.ReadFile("stdout") == "" {
		ts.Fatalf("it answered nothing on stdout")
	}
	if out := ts.ReadFile("stderr"); threeLines.MatchString(out) {
		ts.Fatalf("it told an error as well:\n%s", out)
	}
}

// checkStop sends a signal in the middle of a transfer. The program's stderr is
// in the file stopped.
func checkStop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: stops SIGNAL CODE FAULT PROGRAM ARGS...")
	}
	signals := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": os.Kill}
	path, err := exec.LookPath(args[3]) // testscript put the programs into the PATH of this process
	ts.Check(err)
	cmd := exec.Command(path, args[4:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "SOURCE_DATE_EPOCH=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-named(ts, args[2]).stalled:
		time.Sleep(100 * time.Millisecond) // what was sent before has to arrive
	case <-ended:
		ts.Fatalf("it ended before it was stalled:\n%s", out.String())
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		ts.Fatalf("it was never stalled")
	}
	ts.Check(cmd.Process.Signal(signals[args[0]]))
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		cmd.Process.Kill()
		ts.Fatalf("it went on for two seconds after the signal")
	}
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("it ended with %s, want %s:\n%s", got, args[1], out.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("stopped"), out.Bytes(), 0o666))
}

func let(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: let NAME FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func checkDigest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: proves DIGEST FILE")
	}
	if got := digest.FromString(ts.ReadFile(args[1])); got.String() != args[0] {
		ts.Fatalf("%s has the digest %s, want %s", args[1], got, args[0])
	}
}

func checkEntries(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: holds DIR [NAME...]")
	}
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	if err != nil && !os.IsNotExist(err) {
		ts.Check(err)
	}
	got, want := []string{}, append([]string{}, args[1:]...)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			got = append(got, e.Name())
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		ts.Fatalf("%s has %q, want %q", args[0], got, want)
	}
}

// checkLayout holds a directory against image-spec image-layout.md.
func checkLayout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: valid DIR")
	}
	dir := ts.MkAbs(args[0])
	var index struct {
		SchemaVersion int               `json:"schemaVersion"`
		Manifests     []json.RawMessage `json:"manifests"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(dir, "index.json"))), &index))
	if index.SchemaVersion != 2 || index.Manifests == nil {
		ts.Fatalf("index.json is not an index")
	}
	if !strings.Contains(ts.ReadFile(filepath.Join(dir, "oci-layout")), `"imageLayoutVersion"`) {
		ts.Fatalf("oci-layout does not say the version")
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "[!.]*"))
	ts.Check(err)
	for _, file := range blobs {
		if got := digest.FromString(ts.ReadFile(file)).Encoded(); got != filepath.Base(file) {
			ts.Fatalf("%s has the digest %s", file, got)
		}
	}
}

// condition knows [root] and [namespaces]: an own mount namespace is allowed,
// and so a small file system of one's own.
func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Getuid() == 0, nil
	case "namespaces":
		return exec.Command("unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt").Run() == nil, nil
	}
	return false, fmt.Errorf("there is no condition %q", name)
}

func checkMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: modes FILE MODE")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has the mode %s, want %s", args[0], got, args[1])
	}
}
