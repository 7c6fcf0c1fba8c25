package interop

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/olareg/olareg"
	olaregconfig "github.com/olareg/olareg/config"
	"github.com/sirupsen/logrus"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store/storetest"
)

// registry is one kind of registry under test.
type registry struct {
	name     string
	limits   storetest.Limits
	oneHome  bool                             // keeps the blobs of all repositories in one place, where each sees all
	keepTags bool                             // deletes a manifest and leaves its tags leading to it
	start    func(t *testing.T) (host string) // a fresh, empty one, which ends with the test
}

// registries are all kinds. Each limit was seen in that registry's answers.
func registries() []registry {
	return []registry{
		{name: "serve", start: startServe},
		{name: "olareg", start: startOlareg, limits: storetest.Limits{
			NoArtifactManifests: true, // 400: it reads what it takes
			NoUnknownManifests:  true,
			Skip: map[string]string{
				"concurrency/takes many referrers at a time": "it loses some of the referrers that are put at a time",
			},
		}},
		{name: "ociregistry", start: startOCIRegistry, keepTags: true, limits: storetest.Limits{
			NoSHA512: true,
			Skip: map[string]string{
				"referrers/lists an artifact manifest as a referrer": "it takes artifact manifests and does not list them",
				"deletes/deletes a manifest and its tags":            "its tags go on leading to a deleted manifest",
				"deletes/takes a deleted manifest again":             "its tags go on leading to a deleted manifest",
			},
		}},
		{name: "go-containerregistry", start: startGGCR, oneHome: true, keepTags: true, limits: storetest.Limits{
			Skip: ggcrFaults(),
		}},
		{name: "distribution-v3", start: startDistribution, limits: distributionLimits()},
		{name: "docker-registry-2.8", start: startDebian, limits: debianLimits()},
	}
}

func ggcrFaults() map[string]string {
	faults := map[string]string{
		"deletes/does not find an absent blob to delete": "it answers 500 to that",
		"deletes/deletes a manifest and its tags":        "its tags go on leading to a deleted manifest",
		"deletes/takes a deleted manifest again":         "its tags go on leading to a deleted manifest",
	}
	return faults
}

// distributionLimits are those of CNCF Distribution since it takes OCI images.
func distributionLimits() storetest.Limits {
	return storetest.Limits{
		NoArtifactManifests: true,
		NoUnknownManifests:  true,
		Writers:             3, // no referrers API: writers of one list take turns
		Skip: map[string]string{
			"manifests/keeps a manifest without a tag": "it answers 404 to the tags of a repository that has none",
			"manifests/names a manifest by sha512":     "its manifests are named by sha256 alone",
		},
	}
}

// debianLimits: release 2.8 is older and can also not delete a tag.
func debianLimits() storetest.Limits {
	l := distributionLimits()
	l.NoTagDelete = true
	l.Skip["manifests/does not find a blob as a manifest"] = "it answers 500 to that"
	l.Skip["tags/lists from a tag on"] = "its tags have no order, and it takes no notice of ?last="
	return l
}

// each runs do against every kind of registry.
func each(t *testing.T, do func(t *testing.T, reg registry)) {
	for _, reg := range registries() {
		t.Run(reg.name, func(t *testing.T) {
			t.Parallel()
			do(t, reg)
		})
	}
}

// listen serves h on a free loopback port until the test ends, and gives
// "localhost:PORT".
func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	return listenAs(t, func(string) http.Handler { return h })
}

// listenAs is listen for a handler that has to know its own "localhost:PORT".
func listenAs(t *testing.T, handler func(host string) http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	host := net.JoinHostPort("localhost", port)
	srv.Config.Handler = handler(host)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // what a client broke off is no news
	srv.Start()
	t.Cleanup(srv.Close)
	return host
}

// startServe is our own, doing all that it can.
func startServe(t *testing.T) string {
	return startQuirky(t, serve.Quirks{ArtifactManifests: true, AnyManifest: true, Sparse: true})
}

func startQuirky(t *testing.T, q serve.Quirks) string {
	h := serve.New(local.NewMemoryRegistry(), serve.Options{Quirks: q})
	host := listen(t, h)
	t.Cleanup(func() { _ = h.Close() })
	return host
}

func startOlareg(t *testing.T) string { return startOlaregAs(t, nil) }

// startOlaregAs starts olareg with what auth makes of its address.
func startOlaregAs(t *testing.T, auth func(host string) olaregconfig.ConfigAuth) string {
	yes := true
	return listenAs(t, func(host string) http.Handler {
		config := olaregconfig.Config{
			Storage: olaregconfig.ConfigStorage{StoreType: olaregconfig.StoreMem},
			API:     olaregconfig.ConfigAPI{DeleteEnabled: &yes, Blob: olaregconfig.ConfigAPIBlob{DeleteEnabled: &yes}},
		}
		if auth != nil {
			config.Auth = auth(host)
		}
		reg := olareg.New(config)
		t.Cleanup(func() { _ = reg.Close() })
		return reg
	})
}

func startOCIRegistry(t *testing.T) string {
	return listen(t, ociserver.New(ocimem.New(), &ociserver.Options{}))
}

func startGGCR(t *testing.T) string {
	return listen(t, ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0))))
}

func startDistribution(t *testing.T) string {
	return listen(t, newDistribution(t, nil))
}

// newDistribution is CNCF Distribution over a directory of the test.
func newDistribution(t *testing.T, auth configuration.Auth) http.Handler {
	logrus.SetOutput(io.Discard) // a line for each request
	config := &configuration.Configuration{
		Version: "0.1",
		Auth:    auth,
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": t.TempDir()},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	config.Catalog.MaxEntries = 1000
	return handlers.NewApp(t.Context(), config)
}
