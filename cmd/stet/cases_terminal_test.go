package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/stet-oci/stet/pkg/store"
)

// evil is text that would do something to a terminal, or make a line of its own
// in a log; raw is what must not be seen of it.
const evil = "ab\x1b]0;forged\x07\x1b[2J\x1b[1A\u009b31m\u202egpj\u2066\x7f\x00\b\rstet: forged\nstet: forged\u2028\u0085x"

var raw = []string{"\x1b]0;", "\x07", "\x1b[2J", "\u009b", "\u202e", "\u2066", "\x7f", "\x00", "\b", "\rstet: forged", "\nstet: forged", "\u2028", "\u0085"}

// onTerminal runs the program on a terminal, and gives what it wrote there.
func (d *desk) onTerminal(args ...string) string {
	d.t.Helper()
	cmd := exec.Command(d.bin, args...)
	cmd.Dir, cmd.Env = d.Dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.Home, "TERM=xterm"}, d.Env...)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 200})
	if err != nil {
		d.t.Skipf("there are no terminals here: %v", err)
	}
	defer terminal.Close()
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	var out bytes.Buffer
	if _, err := io.Copy(&out, terminal); err != nil && !errors.Is(err, syscall.EIO) { // EIO is the end
		d.t.Error(err)
	}
	_ = cmd.Wait()
	return out.String()
}

// tame runs a command on a pipe and on a terminal, and wants nothing raw on
// either. It gives what went through the pipe.
func (d *desk) tame(args ...string) outcome {
	d.t.Helper()
	o := d.stet(args...)
	o.never(raw...)
	if strings.Contains(o.Stdout+o.Stderr, "\x1b") {
		d.t.Errorf("%s\nan escape sequence on a pipe", o)
	}
	seen := strings.ReplaceAll(d.onTerminal(args...), "\r\n", "\n")
	for _, r := range raw {
		// A live display goes up, down and to the beginning of a line by itself.
		if strings.Contains(seen, r) {
			d.t.Errorf("stet %q: %q on the terminal: %q", args, r, seen)
		}
	}
	return o
}

// Case 85: controls in titles, errors, tags, repositories, annotations, headers:
// never raw, terminal or pipe.
func TestCase85Controls(t *testing.T) {
	t.Parallel()
	s := newShelf()
	layer := s.file(evil, "content of a file\n")
	layer.MediaType = "text/" + evil
	plain := s.file("plain.txt", "plain\n")
	plain.MediaType = evil
	plain.Annotations[evil] = evil
	s.artifact([]store.Descriptor{layer}, "titles")
	s.artifact([]store.Descriptor{plain}, "types")
	about := s.manifest(imageType, asJSON(map[string]any{
		"schemaVersion": 2, "mediaType": imageType, "artifactType": evil, "config": store.EmptyJSON(), "layers": []store.Descriptor{layer, plain},
		"annotations": map[string]string{evil: evil, "org.opencontainers.image.created": evil},
	}), "about")
	about.ArtifactType, about.Annotations = evil, map[string]string{evil: evil}
	s.index([]store.Descriptor{about}, "index")
	s.manifest(evil, "{}", "kind")
	message := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			io.WriteString(w, asJSON(map[string]any{"errors": []map[string]any{{"code": evil, "message": evil, "detail": map[string]string{evil: evil}}}}))
		}
	}
	text := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, evil)
	}
	challenge := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Www-Authenticate", "Bearer realm=\"https://a.example/\u202e\u009b31m\",error=\"\u202eforged\u009b\"")
		w.WriteHeader(http.StatusUnauthorized)
	}
	header := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(name, "text/x\u202e\u009b31m; "+strings.Repeat("x", 10))
			if strings.HasPrefix(name, "Location") {
				w.Header().Set(name, "http://localhost:1/\u202e\u009b31m")
				w.WriteHeader(http.StatusTemporaryRedirect)
				return
			}
			io.WriteString(w, imageOf())
		}
	}
	h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		for path, answer := range map[string]http.HandlerFunc{
			"/v2/deny/": message(403), "/v2/fault/": message(500), "/v2/text/": text, "/v2/challenge/": challenge,
			"/v2/type/": header("Content-Type"), "/v2/digest/": header("Docker-Content-Digest"), "/v2/moved/": header("Location"),
		} {
			if strings.HasPrefix(r.URL.Path, path) {
				answer(w, r)
				return
			}
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			io.WriteString(w, asJSON(map[string]any{"name": evil, "tags": []string{"v1", evil}}))
		case r.URL.Path == "/v2/_catalog":
			io.WriteString(w, asJSON(map[string]any{"repositories": []string{"app", evil}}))
		case strings.Contains(r.URL.Path, "/referrers/"):
			w.Header().Set("Content-Type", indexType)
			if strings.HasSuffix(r.URL.Path, about.Digest.String()) {
				io.WriteString(w, indexOf())
				return
			}
			io.WriteString(w, indexOf(about))
		default:
			s.ServeHTTP(w, r)
		}
	})
	at := h.Name()
	for _, args := range [][]string{
		{"pull", at + "/app:titles"},
		{"pull", "-o", "types", at + "/app:types"},
		{"pull", "--debug", at + "/app:titles"},
		{"pull", "--allow-path-traversal", at + "/app:titles"},
		{"pull", "--progress", "plain", at + "/app:about"},
		{"cp", at + "/app:titles", "oci:lay:titles"},
		{"cp", at + "/app:about", "oci:lay:about"},
		{"cp", "-r", at + "/app:types", "oci:lay:types"},
		{"discover", at + "/app:types"},
		{"discover", "--format", "table", at + "/app:types"},
		{"discover", "--format", "mermaid", at + "/app:types"},
		{"discover", "--format", "dot", at + "/app:types"},
		{"discover", "-v", at + "/app:types"},
		{"discover", at + "/app:index"},
		{"verify", at + "/app:titles"},
		{"verify", "-r", at + "/app:types"},
		{"diff", at + "/app:titles", at + "/app:types"},
		{"diff", at + "/app:about", at + "/app:types"},
		{"manifest", "validate", at + "/app:about"},
		{"manifest", "fetch", "-o", "m.json", at + "/app:kind"},
		{"pull", at + "/app:kind"},
		{"repo", "tags", at + "/app"},
		{"repo", "tags", "--details", at + "/app"},
		{"repo", "ls", at},
		{"repo", "ls", at + "/"},
		{"cp", "--all-tags", at + "/app", "oci:all"},
		{"resolve", at + "/deny:v1"},
		{"pull", at + "/fault:v1"},
		{"pull", at + "/text:v1"},
		{"resolve", at + "/challenge:v1"},
		{"manifest", "fetch", at + "/type:v1"},
		{"resolve", at + "/digest:v1"},
		{"manifest", "fetch", at + "/moved:v1"},
		{"probe", at + "/deny"},
		{"probe", at + "/app"},
		{"pull", "--format", "go-template={{range .files}}{{.mediaType}}{{end}}", "-o", "t", at + "/app:types"},
		{"convert", "--to", "image", at + "/app:about", "--dry-run"},
		{"blob", "fetch", "--descriptor", at + "/app@" + layer.Digest.String()},
		{"backup", "-o", "b.tar", at + "/app:titles"},
		{"pull", evil},
		{"pull", at + "/app:" + evil},
		{"push", at + "/app:v1", evil},
		{evil},
		{"pull", "--" + evil},
	} {
		t.Run(fmt.Sprintf("%.60q", strings.ReplaceAll(strings.Join(args, " "), at, "HOST")), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			if strings.Contains(strings.Join(args, ""), "\x00") {
				for i := range args { // no argument of a process has one
					args[i] = strings.ReplaceAll(args[i], "\x00", "")
				}
			}
			if args[0] != evil && len(args[0]) < 10 && args[0] != "manifest" && args[0] != "diff" && args[0] != "verify" && args[0] != "probe" && args[0] != "repo" && args[0] != "convert" && args[0] != "blob" {
				args = append(args, "--retry", "0")
			}
			d.tame(args...)
		})
	}
	// Files of the working directory are from outside as well.
	d := newDesk(t)
	name := strings.NewReplacer("\x00", "", "/", "").Replace(evil)
	d.write(name, "x")
	to := newHostile(t, newRegistry(t).ServeHTTP)
	d.tame("push", to.Name()+"/app:v1", name)
	d.tame("push", "--dry-run", to.Name()+"/app:v1", ".")
}

// Case 86: Warning header: once on stderr, no other effect. Many and long ones
// do not flood.
func TestCase86Warning(t *testing.T) {
	t.Parallel()
	s := shelved()
	warned := func(value func(n int) []string) *hostile {
		var n atomic.Int64
		return newHostile(t, func(w http.ResponseWriter, r *http.Request) {
			for _, v := range value(int(n.Add(1))) {
				w.Header().Add("Warning", v)
			}
			s.ServeHTTP(w, r)
		})
	}
	d := newDesk(t)
	h := warned(func(int) []string { return []string{`299 - "the end is near"`} })
	o := d.stet(quick("pull", "--concurrency", "1", h.Name()+"/app:v1")...).ok()
	if strings.Count(o.Stderr, "the end is near") != 1 || strings.Contains(o.Stdout, "the end is near") {
		t.Errorf("%s\nwant the warning once, on stderr", o)
	}
	d.whole()
	o = d.stet(quick("resolve", h.Name()+"/app:v1")...).ok()
	if strings.Count(o.Stderr, "the end is near") != 1 || strings.Contains(o.Stdout, "the end is near") {
		t.Errorf("%s\nwant the warning once, on stderr", o)
	}
	// What is no warning of this protocol is none (distribution-spec "Warnings").
	h = warned(func(int) []string {
		return []string{`110 - "stale"`, `299 other "x"`, "299", `299 - "`, `299 - no quotes`}
	})
	d.stet(quick("resolve", h.Name()+"/app:v1")...).ok().never("stale")
	for name, value := range map[string]func(int) []string{
		"controls": func(int) []string { return []string{"299 - \"a\u202eb\u009b31m\\\"c\""} },
		"long":     func(int) []string { return []string{`299 - "` + strings.Repeat("long ", 40000) + `"`} },
		"many": func(n int) (all []string) {
			for i := range 2000 {
				all = append(all, fmt.Sprintf(`299 - "warning %d of answer %d"`, i, n))
			}
			return all
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			o := d.stet(quick("pull", "--concurrency", "1", warned(value).Name()+"/app:v1")...).ok().never(raw...)
			if len(o.Stderr) > 32<<10 {
				t.Errorf("%d bytes on stderr", len(o.Stderr))
			}
			d.whole()
		})
	}
	// Another one with each of many answers.
	var pages atomic.Int64
	tags := tagPages(func(last string) (string, string) {
		count := pages.Add(1)
		return fmt.Sprintf(`{"tags":["t%04d"]}`, count), map[bool]string{true: fmt.Sprintf("/v2/app/tags/list?last=%d", count)}[count < 500]
	})
	h = newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Warning", fmt.Sprintf(`299 - "answer %s"`, r.URL.RawQuery))
		tags(w, r)
	})
	o = d.stet(quick("repo", "tags", h.Name()+"/app")...).ok()
	if n := strings.Count(o.Stderr, "\n"); n > 100 || strings.Count(o.Stdout, "\n") != 500 {
		t.Errorf("%d lines on stderr, %d tags", n, strings.Count(o.Stdout, "\n"))
	}
}

// Case 87: stdout cannot be written: exit ≠ 0.
func TestCase87Stdout(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	h := newHostile(t, newRegistry(t).ServeHTTP)
	d := newDesk(t)
	d.subject(h)
	ref := h.Name() + "/app:v1"
	for _, args := range [][]string{
		{"resolve", ref},
		{"repo", "tags", h.Name() + "/app"},
		{"repo", "ls", h.Name()},
		{"manifest", "fetch", ref},
		{"manifest", "fetch-config", ref},
		{"discover", ref},
		{"pull", ref},
		{"pull", "-o", "-", ref},
		{"pull", "--format", "json", ref},
		{"push", h.Name() + "/app:v2", "a.txt"},
		{"push", "--format", "json", h.Name() + "/app:v3", "a.txt"},
		{"push", "--dry-run", h.Name() + "/app:v4", "a.txt"},
		{"cp", ref, "oci:lay:v1"},
		{"tag", ref, "v9"},
		{"verify", ref},
		{"probe", h.Name() + "/app"},
		{"diff", ref, ref},
		{"manifest", "validate", ref},
		{"version"},
		{"completion", "bash"},
		{"help"},
		{"pull", "--help"},
		{"attach", "--artifact-type", "a/b", ref, "a.txt"},
		{"backup", "-o", "b.tar", ref},
		{"convert", "--to", "image", "--dry-run", ref},
	} {
		// One that is closed cannot be told from /dev/null, which Go puts there.
		t.Run(strings.Join(args[:1], " ")+fmt.Sprint(len(args)), func(t *testing.T) {
			at := newDesk(t)
			at.write("a.txt", "a\n")
			at.wrap(`exec "$STET" "$@" >/dev/full`)
			at.stet(args...).fails(1).says("no space left on device")
		})
	}
	// Who reads a pipe no more is no reason to go on, nor to say that all is well.
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	defer writer.Close()
	cmd := exec.Command(d.bin, "repo", "tags", h.Name()+"/app")
	cmd.Stdout, cmd.Env = writer, []string{"HOME=" + d.Home}
	if err := cmd.Run(); err == nil {
		t.Error("writing to a pipe that nobody reads went well")
	}
}
