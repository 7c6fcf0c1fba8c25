package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	olaregconfig "github.com/olareg/olareg/config"
)

// The account that the registries below know. The hash is bcrypt of the
// password at its lowest cost.
const (
	user       = "alice"
	password   = "let it: stand"
	bcryptHash = "$2a$04$bwTlByqr8urPaPYbMxmhF.6f4So.P8.n9NaLVGyIlywL3U2c9.I9i"
)

func htpasswd(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"htpasswd": user + ":" + bcryptHash + "\n"})
	return filepath.Join(dir, "htpasswd")
}

// guarded are registries that let only alice in.
func guarded() []registry {
	return []registry{
		{name: "docker-registry-2.8", start: func(t *testing.T) string {
			return startDebianWith(t, fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", htpasswd(t)))
		}},
		{name: "distribution-v3", start: func(t *testing.T) string {
			return listen(t, newDistribution(t, configuration.Auth{
				"htpasswd": configuration.Parameters{"realm": "test", "path": htpasswd(t)},
			}))
		}},
		{name: "olareg Basic", start: func(t *testing.T) string {
			return startOlaregAs(t, func(string) olaregconfig.ConfigAuth {
				auth, err := olaregconfig.NewAuthBasicStatic(map[string]string{user: password}, false)
				if err != nil {
					t.Fatal(err)
				}
				return auth
			})
		}},
		{name: "olareg Bearer", start: func(t *testing.T) string {
			dir := t.TempDir()
			write(t, dir, map[string]string{"auth.yaml": fmt.Sprintf(`users: {%s: {cred: %q}}
groups: {all: {members: [%[1]s]}}
acls:
- {repo: "", members: [all], access: [read]}
- {repo: "*", members: [all], access: [read, write, delete]}
`, user, bcryptHash)})
			return startOlaregAs(t, func(host string) olaregconfig.ConfigAuth {
				return olaregconfig.NewAuthTokenOpaque(filepath.Join(dir, "auth.yaml"), olaregconfig.WithAuthRealm("http://"+host+"/token"))
			})
		}},
	}
}

// TestLogin: who is not signed in is turned away with exit code 4; who is can
// work until signing out.
func TestLogin(t *testing.T) {
	for _, reg := range guarded() {
		t.Run(reg.name, func(t *testing.T) {
			t.Parallel()
			host, dir := reg.start(t), t.TempDir()
			config := filepath.Join(dir, "docker")
			at := run{dir: dir, env: []string{"DOCKER_CONFIG=" + config}}
			write(t, dir, map[string]string{"hello.txt": "hello\n", "large.bin": strings.Repeat("0123456789abcdef", 200_000)})
			ref := host + "/app:v1"
			push := []string{"push", ref, "hello.txt", "large.bin"}
			const denied = 4

			at.fails(t, denied, push...)
			at.fails(t, denied, "resolve", ref)
			wrong := at
			wrong.stdin = "wrong\n"
			wrong.fails(t, denied, "login", "-u", user, "--password-stdin", host)
			if _, err := os.Stat(filepath.Join(config, "config.json")); err == nil {
				t.Error("a refused login stored something")
			}

			right := at
			right.stdin = password + "\n"
			res := right.do(t, "login", "-u", user, "--password-stdin", host)
			if res.code != 0 || res.stdout != "Login Succeeded\n" {
				t.Fatalf("login: exit %d\n%s%s", res.code, res.stdout, res.stderr)
			}
			at.ok(t, push...)
			at.ok(t, "cp", ref, host+"/other/app:v1")
			at.ok(t, "pull", "-o", "out", host+"/other/app:v1")
			if got := read(t, filepath.Join(dir, "out", "hello.txt")); got != "hello\n" {
				t.Errorf("pulled %q", got)
			}
			debug := at.do(t, "resolve", "--debug", ref)
			if debug.code != 0 || strings.Contains(debug.stderr, password) || strings.Contains(debug.stderr, "YWxpY2U6") {
				t.Errorf("resolve --debug: exit %d, or the password is in its log\n%s", debug.code, debug.stderr)
			}

			at.ok(t, "logout", host)
			at.fails(t, denied, "resolve", ref)
			at.fails(t, denied, push...)
			// Flags do without a file.
			at.ok(t, "resolve", "-u", user, "-p", password, ref)
		})
	}
}
