package remote

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/store"
)

func authOf(name string) string {
	return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte(name+":pw:"+name)) + `"}`
}

func named(name string) Credential { return Credential{Username: name, Password: "pw:" + name} }

func TestWhichCredential(t *testing.T) {
	dir := t.TempDir()
	docker, podman := filepath.Join(dir, "config.json"), filepath.Join(dir, "auth.json")
	writeFile(t, docker, `{"auths":{
		"https://index.docker.io/v1/":`+authOf("hub")+`,
		"https://old.example/v1/":`+authOf("old")+`,
		"reg.example:5000":`+authOf("port")+`,
		"both.example":`+authOf("docker")+`,
		"empty.example":{},
		"id.example":{"auth":"PHRva2VuPjo=","identitytoken":"refresh"},
		"bearer.example":{"registrytoken":"bearer"}}}`)
	writeFile(t, podman, `{"auths":{
		"reg.example/team/app":`+authOf("app")+`,
		"reg.example/team":`+authOf("team")+`,
		"reg.example":`+authOf("host")+`,
		"only.example/team":`+authOf("only")+`,
		"empty.example":`+authOf("filled")+`,
		"both.example":`+authOf("podman")+`}}`)
	f, err := LoadFiles(FilesOptions{
		Paths:      []string{docker, filepath.Join(dir, "none.json"), podman},
		AuthConfig: `{"auths":{"env.example":` + authOf("env") + `},"credsStore":"ignored"}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host, repo string
		want       Credential
	}{
		{"docker.io", "library/x", named("hub")},
		{"index.docker.io", "library/x", named("hub")},
		{"registry-1.docker.io", "", named("hub")},
		{"old.example", "x", named("old")},
		{"reg.example:5000", "team/app", named("port")},
		{"reg.example", "team/app", named("app")},
		{"reg.example", "team/app/sub", named("app")},
		{"reg.example", "team/application", named("team")},
		{"reg.example", "other", named("host")},
		{"reg.example", "", named("host")},
		{"REG.example", "", named("host")},
		{"only.example", "team/x", named("only")},
		{"only.example", "other", Credential{}},
		{"only.example", "", Credential{}},
		{"both.example", "x", named("docker")},
		{"empty.example", "x", named("filled")},
		{"env.example", "x", named("env")},
		{"id.example", "x", Credential{IdentityToken: "refresh"}},
		{"bearer.example", "x", Credential{RegistryToken: "bearer"}},
		{"unknown.example", "x", Credential{}},
	} {
		got, err := f.Get(t.Context(), c.host, c.repo)
		if err != nil || got != c.want {
			t.Errorf("%s/%s: %+v, %v; want %+v", c.host, c.repo, got, err, c.want)
		}
	}
}

func TestStoreKeepsTheRest(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real.json"), filepath.Join(dir, "config.json")
	const before = `{"zoo":{"b":1,"a":[1.50]},"auths":{"z.example":{"auth":"eDp5","email":"e@x","custom":{"k":1}},"https://a.example/v1/":{"auth":"eDp5"}},"HttpHeaders":{"X":"<&>"}}`
	writeFile(t, real, before)
	if err := os.Chmod(real, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.json", link); err != nil {
		t.Skip(err)
	}
	f, err := LoadFiles(FilesOptions{Paths: []string{link}})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"z.example", "a.example", "docker.io"} {
		if _, err := f.Store(t.Context(), key, named("new")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Store(t.Context(), "id.example/team", Credential{Username: "u", IdentityToken: "refresh"}); err != nil {
		t.Fatal(err)
	}
	auth := strings.Trim(authOf("new"), "{}")
	want := `{"zoo":{"b":1,"a":[1.50]},"auths":{"z.example":{"email":"e@x","custom":{"k":1},` + auth + `},"https://a.example/v1/":{` + auth +
		`},"https://index.docker.io/v1/":{` + auth + `},"id.example/team":{"auth":"dTo=","identitytoken":"refresh"}},"HttpHeaders":{"X":"<&>"}}`
	if diff := cmp.Diff(want, squeeze(readFile(t, link))); diff != "" {
		t.Error(diff)
	}
	again, err := LoadFiles(FilesOptions{Paths: []string{link}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := again.Get(t.Context(), "id.example", "team/x"); got != (Credential{Username: "u", IdentityToken: "refresh"}) {
		t.Errorf("read back %+v", got)
	}
	if err := f.Erase(t.Context(), "z.example"); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, link); strings.Contains(got, "z.example") || !strings.Contains(got, "a.example") {
		t.Errorf("erased the wrong entry: %s", got)
	}
	for _, key := range []string{"z.example", "a.example", "registry-1.docker.io", "id.example/team", "never.example"} {
		if err := f.Erase(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(`{"zoo":{"b":1,"a":[1.50]},"auths":{},"HttpHeaders":{"X":"<&>"}}`, squeeze(readFile(t, link))); diff != "" {
		t.Error(diff)
	}
	checkModes(t, dir, link, real)
}

func squeeze(s string) string {
	return strings.NewReplacer("\n", "", "\t", "", ": ", ":").Replace(s)
}

// checkModes wants a link that is still one, a file for its owner alone, and
// no temporary file.
func checkModes(t *testing.T, dir, link, real string) {
	t.Helper()
	if fi, err := os.Lstat(link); err != nil || fi.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
	if fi, err := os.Stat(real); err != nil || fi.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %v", fi.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestBadFileIsNotOverwritten(t *testing.T) {
	for name, content := range map[string]string{
		"no JSON":    `{"auths":{`,
		"array":      `[]`,
		"bad base64": `{"auths":{"a":{"auth":"%%%secret"}}}`,
	} {
		path := filepath.Join(t.TempDir(), "config.json")
		writeFile(t, path, `{}`)
		f, err := LoadFiles(FilesOptions{Paths: []string{path}})
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, content)
		_, err = f.Store(t.Context(), "reg.example", named("new"))
		if !errors.Is(err, store.ErrConfig) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: store: %v", name, err)
		}
		if err := f.Erase(t.Context(), "reg.example"); !errors.Is(err, store.ErrConfig) {
			t.Errorf("%s: erase: %v", name, err)
		}
		if _, err := LoadFiles(FilesOptions{Paths: []string{path}}); !errors.Is(err, store.ErrConfig) {
			t.Errorf("%s: load: %v", name, err)
		}
		if got := readFile(t, path); got != content {
			t.Errorf("%s: now %q", name, got)
		}
	}
}

func TestManyLoginsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config.json")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			f, err := LoadFiles(FilesOptions{Paths: []string{path}})
			if err == nil {
				_, err = f.Store(t.Context(), fmt.Sprintf("r%d.example", i), named("x"))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := LoadFiles(FilesOptions{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		if got, _ := f.Get(t.Context(), fmt.Sprintf("r%d.example", i), ""); got != named("x") {
			t.Errorf("login %d is lost", i)
		}
	}
}

// helperScript installs docker-credential-NAME, a shell script.
func helperScript(t *testing.T, name, script string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the helper is a shell script")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestHelper(t *testing.T) {
	dir := t.TempDir()
	helperScript(t, "fake", `
f=`+dir+`/kept
case $1 in
store) cat >$f ;;
get) read s; if [ -f $f ] && grep -q "\"$s\"" $f; then cat $f; else echo credentials not found in native keychain; exit 1; fi ;;
erase) rm -f $f ;;
esac`)
	path := filepath.Join(dir, "config.json")
	const config = `{"auths":{"reg.example":{"auth":"eDp5"}},"credHelpers":{"docker.io":"none"},"credsStore":"fake"}`
	writeFile(t, path, config)
	f, err := LoadFiles(FilesOptions{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	read := func() Credential {
		t.Helper()
		got, err := f.Get(t.Context(), "reg.example", "a")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := read(); got != (Credential{Username: "x", Password: "y"}) {
		t.Errorf("without the helper's: %+v", got)
	}
	for _, c := range []Credential{named("alice"), {IdentityToken: "refresh"}} {
		where, err := f.Store(t.Context(), "reg.example", c)
		if err != nil || where != "docker-credential-fake" {
			t.Fatal(where, err)
		}
		if got := read(); got != c {
			t.Errorf("got %+v, want %+v", got, c)
		}
	}
	if readFile(t, path) != config {
		t.Error("the file changed, which has a helper")
	}
	if err := f.Erase(t.Context(), "reg.example"); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Get(t.Context(), "reg.example", "a"); err != nil || strings.Contains(readFile(t, path), "eDp5") {
		t.Errorf("after erase: %+v, %v", got, err)
	}
	if _, err := f.Get(t.Context(), "docker.io", "a"); err == nil || !strings.Contains(err.Error(), "docker-credential-none") {
		t.Errorf("missing helper: %v", err)
	}
}

func TestBadHelper(t *testing.T) {
	for name, script := range map[string]string{
		"hangs":   "sleep 20 & sleep 20",
		"garbage": "echo '<html>'",
		"endless": "yes",
		"fails":   "echo locked; exit 3",
	} {
		t.Run(name, func(t *testing.T) {
			helperScript(t, "bad", script)
			path := filepath.Join(t.TempDir(), "config.json")
			writeFile(t, path, `{"credsStore":"bad"}`)
			f, err := LoadFiles(FilesOptions{Paths: []string{path}, HelperTimeout: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, err = f.Get(context.Background(), "reg.example", "a")
			if !errors.Is(err, store.ErrUnauthorized) || !strings.Contains(err.Error(), "docker-credential-bad") {
				t.Error(err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}
