package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stet-oci/stet/internal/cli"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
)

func TestMain(m *testing.M) {
	program := func() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr, os.Getenv)) }
	testscript.Main(m, map[string]func(){"stet": program, "oras": program})
}

// TestScripts runs testdata/*.txtar: what a user types, and what comes of it.
// Beside testscript's own commands there are
//
//	registry NAME [QUIRK...]           a registry in this process; $NAME is its address
//	registry NAME user=U password=P    the same, behind Basic authentication
//	requests NAME [METHOD] N           NAME was sent exactly N requests since the last call
//	exits CODE PROGRAM ARGS...         the program ends with this exit code
//	modes FILE MODE                    the permission bits of a file
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("SOURCE_DATE_EPOCH", "")
			env.Setenv("CI", "")
			env.Values["registries"] = map[string]*registry{}
			return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"registry": startRegistry,
			"requests": checkRequests,
			"exits":    checkExit,
			"modes":    checkMode,
		},
	})
}

// registry is one that a script talks to, with the requests it was sent.
type registry struct {
	mu   sync.Mutex
	seen []string // "METHOD path status"
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
		ts.Fatalf("usage: registry NAME [QUIRK...] [user=U password=P]")
	}
	name, user, password := args[0], "", ""
	var quirks []string
	for _, a := range args[1:] {
		switch key, value, _ := strings.Cut(a, "="); key {
		case "user":
			user = value
		case "password":
			password = value
		default:
			quirks = append(quirks, a)
		}
	}
	q, err := serve.ParseQuirks(quirks...)
	ts.Check(err)
	r := &registry{}
	opts := serve.Options{Quirks: q, OnRequest: r.note}
	if user != "" {
		opts.Basic = map[string]string{user: password}
	}
	handler := serve.New(local.NewMemoryRegistry(), opts)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	ts.Defer(func() {
		server.Close()
		handler.Close()
	})
	_, port, err := net.SplitHostPort(listener.Addr().String())
	ts.Check(err)
	ts.Setenv(name, "localhost:"+port)
	ts.Value("registries").(map[string]*registry)[name] = r
}

func checkRequests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: requests NAME [METHOD] N")
	}
	r := ts.Value("registries").(map[string]*registry)[args[0]]
	if r == nil {
		ts.Fatalf("there is no registry %s", args[0])
	}
	seen := r.take()
	count := 0
	for _, s := range seen {
		if len(args) == 2 || strings.HasPrefix(s, args[1]+" ") {
			count++
		}
	}
	want, err := strconv.Atoi(args[len(args)-1])
	ts.Check(err)
	if count != want {
		ts.Fatalf("%d requests, want %d:\n%s", count, want, strings.Join(seen, "\n"))
	}
}

// checkExit runs a program and compares its exit code. Output stays readable by
// stdout and stderr.
func checkExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s ended with %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
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
