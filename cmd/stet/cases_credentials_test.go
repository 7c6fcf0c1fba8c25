package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stet-oci/stet/pkg/remote"
)

// config writes docker's file of the desk's user and gives its path.
func (d *desk) config(content string, mode os.FileMode) string {
	d.t.Helper()
	path := filepath.Join(d.Home, ".docker", "config.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func slurp(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Case 46: credentials file: mode, unknown keys, corrupt: 0600; kept; not
// overwritten.
func TestCase46CredentialsFile(t *testing.T) {
	t.Parallel()
	h := newHostile(t, behindBasic(newShelf().ServeHTTP))
	login := []string{"login", "-u", user, "--password-stdin", h.Name()}

	t.Run("new", func(t *testing.T) {
		d := newDesk(t)
		d.Stdin = password + "\n"
		d.stet(login...).ok().never(password)
		info, err := os.Stat(filepath.Join(d.Home, ".docker", "config.json"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	})
	t.Run("kept", func(t *testing.T) {
		d := newDesk(t)
		d.Stdin = password + "\n"
		path := d.config(`{"psFormat":"x","auths":{"other.example":{"auth":"eDp5","email":"e@x"}},"future":{"a":[1.50,"<&>"]}}`, 0o644)
		d.stet(login...).ok()
		var got map[string]json.RawMessage
		if err := json.Unmarshal([]byte(slurp(t, path)), &got); err != nil {
			t.Fatal(err)
		}
		var auths map[string]map[string]string
		if err := json.Unmarshal(got["auths"], &auths); err != nil {
			t.Fatal(err)
		}
		whole := strings.Join(strings.Fields(slurp(t, path)), "")
		if string(got["psFormat"]) != `"x"` || !strings.Contains(whole, `"future":{"a":[1.50,"<&>"]}`) || auths["other.example"]["email"] != "e@x" {
			t.Errorf("lost something: %s", whole)
		}
		if want := strings.TrimPrefix(basicOf, "Basic "); auths[h.Name()]["auth"] != want {
			t.Errorf("the login is not there: %s", whole)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file may be read by others: %v, %v", info.Mode(), err)
		}
		d.stet("logout", h.Name()).ok()
		if whole := slurp(t, path); strings.Contains(whole, h.Name()) || !strings.Contains(whole, "e@x") {
			t.Errorf("after logout: %s", whole)
		}
	})
	for name, corrupt := range map[string]string{
		"no JSON":       `{"auths":{"a":{"auth":"eDp5"}}`,
		"an array":      `[]`,
		"twice":         `{"auths":{"a":{"auth":"eDp5"}},"auths":{}}`,
		"in other case": `{"auths":{"a":{"auth":"eDp5"}},"Auths":{"b":{"auth":"eDp5"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.Stdin = password + "\n"
			path := d.config(corrupt, 0o600)
			d.stet(login...).fails(1).says(path).never("eDp5", password)
			d.stet("logout", h.Name()).fails(1).says(path)
			if got := slurp(t, path); got != corrupt {
				t.Errorf("overwritten: %s", got)
			}
			if left, _ := filepath.Glob(filepath.Join(d.Home, ".docker", ".*")); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// Case 47: 8 logins at once: all stored.
func TestCase47LoginsAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Stdin = password + "\n"
	path := d.config(`{"auths":{"old.example":{"auth":"eDp5"}}}`, 0o600)
	var names []string
	var all []*running
	for range 8 {
		h := newHostile(t, behindBasic(newShelf().ServeHTTP))
		names = append(names, h.Name())
		all = append(all, d.start("login", "-u", user, "--password-stdin", h.Name()))
	}
	for _, r := range all {
		r.end().ok()
	}
	got := slurp(t, path)
	for _, name := range append(names, "old.example") {
		if !strings.Contains(got, fmt.Sprintf("%q", name)) {
			t.Errorf("%s is lost: %s", name, got)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(d.Home, ".docker", ".*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// helper installs docker-credential-bad for the desk, a shell script.
func (d *desk) helper(script string) {
	d.t.Helper()
	dir := d.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-bad"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		d.t.Fatal(err)
	}
	d.Env = append(d.Env, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	d.config(`{"credsStore":"bad"}`, 0o600)
}

// Case 49: credential helper missing, hanging, printing garbage: exit ≠ 0 within
// 30 s, named in the message.
func TestCase49CredentialHelper(t *testing.T) {
	t.Parallel()
	if remote.DefaultHelperTimeout >= 30*time.Second {
		t.Errorf("a helper may take %v", remote.DefaultHelperTimeout) // and the one that hangs takes it
	}
	for name, script := range map[string]string{
		"missing":  "", // see below
		"hanging":  "sleep 60 & sleep 60",
		"garbage":  "echo '<html>secret-49'",
		"endless":  "exec yes secret-49",
		"failing":  "echo locked; exit 3",
		"controls": `printf '\033]0;owned\007'; exit 1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t, behindBasic(newShelf().ServeHTTP))
			d := newDesk(t)
			if d.helper(script); name == "missing" {
				d.config(`{"credHelpers":{"`+h.Name()+`":"nowhere"}}`, 0o600)
			}
			o := d.stet("pull", h.Name()+"/app:v1")
			o.fails(4).says("docker-credential-").never("\x1b", "secret-49")
			if o.Took > 30*time.Second || len(o.Stderr) > 2000 {
				t.Errorf("%s\ntook too long, or says too much", o)
			}
			h.without("Authorization")
			d.leftAlone()
		})
	}
}
