package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// elsewhere are shell blocks of the docs that another test runs: make would
// run this test again.
var elsewhere = map[string]string{
	"make build\nexport PATH=\"$PWD/bin:$PATH\"\n": ".ci/run, through make demo",
	"make demo\n": ".ci/run",
	"make test\n": ".ci/run",
}

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// TestDocs runs every shell block of the docs, those of one page in one shell:
// what is written there works.
func TestDocs(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	bin := installProgram(t)
	for _, page := range append(pages, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var script strings.Builder
		for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
			if elsewhere[block[1]] == "" {
				script.WriteString(block[1])
			}
		}
		if script.Len() > 0 {
			t.Run(filepath.Base(page), func(t *testing.T) {
				t.Parallel()
				runShell(t, bin, script.String())
			})
		}
	}
}

// installProgram gives a directory with stet in it: this test binary under
// that name, which TestMain makes run the program.
func installProgram(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "stet")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	return dir
}

// runShell runs a script as sh -eu, and ends what it left running.
func runShell(t *testing.T, bin, script string) {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no sh here")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	script = "trap 'jobs -p >.jobs; kill $(cat .jobs); wait' EXIT\n" + strings.ReplaceAll(script, "localhost:5000", freeAddress(t))
	cmd := exec.CommandContext(ctx, "sh", "-eu")
	cmd.Stdin = strings.NewReader(script)
	cmd.Dir = t.TempDir()
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+home, "DOCKER_CONFIG="+home, "SOURCE_DATE_EPOCH=")
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\nThe script was\n%s", err, out, script)
	}
}

// freeAddress is a port of this machine that nobody listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "localhost:" + port
}
