package main

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

var update = flag.Bool("update", false, "write the golden pages anew")

// TestRefusals pushes an artifact manifest to every registry that stet can
// imitate. Who refuses it: exit code 6, no blob and no tag there afterwards,
// and one readable message, which stands in docs/refusals.md.
func TestRefusals(t *testing.T) {
	bin := installProgram(t)
	var table strings.Builder
	for _, im := range serve.Imitations() {
		code, stderr, left := pushArtifact(t, bin, im.Name)
		if code == 0 {
			fmt.Fprintf(&table, "| %s | takes it |\n", im.Name)
			continue
		}
		why := whyOf(stderr)
		if code != 6 || left != "" || !strings.Contains(why, store.MediaTypeArtifact) || !strings.Contains(why, "nothing was uploaded") {
			t.Errorf("%s: exit code %d, left %q, said\n%s", im.Name, code, left, stderr)
		}
		fmt.Fprintf(&table, "| %s | %s |\n", im.Name, strings.ReplaceAll(why, "|", `\|`))
	}
	const page, mark = "../../docs/refusals.md", "|---|---|\n"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text, old, _ := strings.Cut(string(raw), mark)
	if *update {
		if err := os.WriteFile(page, []byte(text+mark+table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(old, "\n"), strings.Split(table.String(), "\n")); diff != "" {
		t.Errorf("docs/refusals.md is not what is said now (-page +now); go test ./cmd/stet -run TestRefusals -update:\n%s", diff)
	}
}

// pushArtifact gives the exit code, stderr without the port, and what the
// registry has afterwards: blobs it was sent, and tags.
func pushArtifact(t *testing.T, bin, imitation string) (code int, stderr, left string) {
	t.Helper()
	quirks, err := serve.Imitate(imitation)
	if err != nil {
		t.Fatal(err)
	}
	quirks.RepoMustExist = false // in memory there is no repository to push to yet
	var mu sync.Mutex
	var sent []string
	handler := serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: quirks, OnRequest: func(method, uri string, _ int) {
		if strings.Contains(uri, "/blobs/") && method != "GET" && method != "HEAD" {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, method+" "+uri)
		}
	}})
	defer handler.Close()
	server := httptest.NewServer(handler)
	defer server.Close()
	host := strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello.txt"), []byte("hello\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "stet"), "push", "--progress", "none", "--manifest-kind", "artifact", host+"/app:v1", "hello.txt")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "DOCKER_CONFIG="+dir, "SOURCE_DATE_EPOCH=")
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return cmd.ProcessState.ExitCode(), strings.ReplaceAll(out.String(), host, "HOST"), strings.Join(sent, "\n")
}

// whyOf is the reason in an error of three lines.
func whyOf(stderr string) string {
	_, why, _ := strings.Cut(stderr, "  why: ")
	why, _, _ = strings.Cut(why, "\n")
	return why
}
