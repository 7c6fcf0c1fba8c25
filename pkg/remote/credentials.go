package remote

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"

	"github.com/stet-oci/stet/pkg/store"
)

// Credential is what a registry or its token server takes. The zero value is anonymous.
type Credential struct {
	Username, Password string
	IdentityToken      string // OAuth2 refresh token, given to the token server
	RegistryToken      string // bearer token, given to the registry as it is
}

// Credentials finds the credential for a repository of a registry.
type Credentials interface {
	// Get gives the credential for host as users name it, and repo; the zero
	// Credential where there is none.
	Get(ctx context.Context, host, repo string) (Credential, error)
}

// Static gives the same credential to every registry: for a client of one.
func Static(c Credential) Credentials { return static(c) }

type static Credential

func (s static) Get(context.Context, string, string) (Credential, error) { return Credential(s), nil }

// FilesOptions say where credentials are kept.
type FilesOptions struct {
	// Paths are docker's config.json and Podman's auth.json files in the
	// order in which they are searched. Store and Erase write the first. A
	// file that is not there is empty.
	Paths []string
	// AuthConfig is the content of $DOCKER_AUTH_CONFIG, which is searched
	// before the files; "" is none.
	AuthConfig string
	// HelperTimeout bounds a credential helper; 0 is DefaultHelperTimeout.
	HelperTimeout time.Duration
}

// DefaultHelperTimeout is how long a credential helper may take: long enough to
// unlock a key ring, short enough for nobody to think that it is at work.
const DefaultHelperTimeout = 20 * time.Second

// Files are credentials in docker's and Podman's files, and in the helpers
// that those name.
type Files struct {
	opts  FilesOptions
	files []*configfile.ConfigFile
}

// LoadFiles reads the files. One that does not parse is ErrConfig.
func LoadFiles(opts FilesOptions) (*Files, error) {
	if opts.HelperTimeout <= 0 {
		opts.HelperTimeout = DefaultHelperTimeout
	}
	f := &Files{opts: opts}
	if opts.AuthConfig != "" {
		cf, err := parseConfig([]byte(opts.AuthConfig), "DOCKER_AUTH_CONFIG")
		if err != nil {
			return nil, err
		}
		// The variable holds credentials; a helper in it is not docker's.
		f.files = append(f.files, &configfile.ConfigFile{AuthConfigs: cf.AuthConfigs})
	}
	for _, path := range opts.Paths {
		raw, err := readConfig(path)
		if err != nil {
			return nil, err
		}
		cf, err := parseConfig(raw, path)
		if err != nil {
			return nil, err
		}
		f.files = append(f.files, cf)
	}
	return f, nil
}

// readConfig is empty for a file that is not there.
func readConfig(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	return raw, err
}

// parseConfig reads a docker or Podman file. name says which in errors, which
// quote nothing of it.
func parseConfig(raw []byte, name string) (*configfile.ConfigFile, error) {
	if len(strings.TrimSpace(string(raw))) == 0 {
		raw = []byte("{}")
	}
	cf, err := config.LoadFromReader(strings.NewReader(string(raw)))
	if err != nil {
		return nil, fmt.Errorf("%w: %s is no docker config: %w", store.ErrConfig, name, err)
	}
	return cf, nil
}

// Get searches the files in order. In a file, the helper for the host comes
// first, then the helper for all hosts, then the file's own entries, of which
// the one with the longest path wins: host/a/b before host/a before host.
func (f *Files) Get(ctx context.Context, host, repo string) (Credential, error) {
	host = normalHost(host)
	for _, cf := range f.files {
		if name := helperFor(cf, host); name != "" {
			cred, err := f.helper(name).get(ctx, serverKey(host))
			if err != nil || cred != (Credential{}) {
				return cred, err
			}
		}
		if cred := lookUp(cf.AuthConfigs, host, repo); cred != (Credential{}) {
			return cred, nil
		}
	}
	return Credential{}, nil
}

// Hosts lists the registries that the files have or name a helper for, sorted. What
// helpers have is not asked.
func (f *Files) Hosts() []string {
	var hosts []string
	for _, cf := range f.files {
		for key := range cf.AuthConfigs {
			hosts = append(hosts, key)
		}
		for key := range cf.CredentialHelpers {
			hosts = append(hosts, key)
		}
	}
	for i, key := range hosts {
		hosts[i], _, _ = strings.Cut(normalKey(key), "/")
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func (f *Files) helper(name string) helper { return helper{name: name, timeout: f.opts.HelperTimeout} }

// helperFor is the credential helper for a host, "" for none.
func helperFor(cf *configfile.ConfigFile, host string) string {
	for _, key := range slices.Sorted(maps.Keys(cf.CredentialHelpers)) {
		if normalKey(key) == host && cf.CredentialHelpers[key] != "" {
			return cf.CredentialHelpers[key]
		}
	}
	return cf.CredentialsStore
}

// lookUp finds the entry for a repository. It walks the keys itself, because
// docker's own search takes any key that begins with the host, also the key
// of another repository.
func lookUp(entries map[string]types.AuthConfig, host, repo string) Credential {
	keys := slices.Sorted(maps.Keys(entries))
	for scope := host + "/" + repo; ; {
		scope = strings.TrimSuffix(scope, "/")
		for _, key := range keys {
			if cred := fromDocker(entries[key]); normalKey(key) == scope && cred != (Credential{}) {
				return cred
			}
		}
		i := strings.LastIndexByte(scope, '/')
		if i < 0 {
			return Credential{}
		}
		scope = scope[:i]
	}
}

// normalKey is a key of a file as host[:port][/path]: without the scheme and
// API version of docker's older keys, and with one name for Docker Hub. The
// normal form of a normal key is the same: what was stored under it is found.
func normalKey(key string) string {
	for {
		next := strings.TrimRight(key, "/")
		for _, scheme := range []string{"https://", "http://"} {
			next = strings.TrimPrefix(next, scheme)
		}
		for _, version := range []string{"/v1", "/v2"} {
			next = strings.TrimSuffix(next, version)
		}
		host, path, ok := strings.Cut(next, "/")
		if next = normalHost(host); ok {
			next += "/" + path
		}
		if next == key {
			return key
		}
		key = next
	}
}

func normalHost(host string) string {
	switch host = strings.ToLower(host); host {
	case "index.docker.io", hubHost:
		return hubName
	}
	return host
}

// serverKey is the key under which docker keeps a host, in files and helpers.
func serverKey(host string) string {
	if host == hubName {
		return "https://index.docker.io/v1/"
	}
	return host
}

func fromDocker(a types.AuthConfig) Credential {
	c := Credential{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
	if c.Username == tokenUser {
		c = Credential{IdentityToken: first(c.IdentityToken, c.Password)}
	}
	return c
}

// entry is a credential as an entry of a file.
func (c Credential) entry() map[string]string {
	e := map[string]string{}
	if c.Username != "" || c.Password != "" {
		e["auth"] = base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))
	}
	if c.IdentityToken != "" {
		e["identitytoken"] = c.IdentityToken
	}
	if c.RegistryToken != "" {
		e["registrytoken"] = c.RegistryToken
	}
	return e
}
