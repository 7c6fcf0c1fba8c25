package remote_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// conformant is what a probe that writes says of a registry that follows the
// distribution-spec in everything, over plain http; a value stands after ":".
func conformant() map[store.Ability]string {
	m := map[store.Ability]string{}
	for _, a := range store.Abilities() {
		m[a] = "yes"
	}
	for a, answer := range map[store.Ability]string{
		"auth": "no:none", "artifact-manifests": "no", "oras-artifact-manifests": "no", "max-manifest": "yes:4194304",
		"mount-without-from": "no", "http2": "unknown", "warnings": "unknown",
	} {
		m[a] = answer
	}
	return m
}

// columns are the registries of the field by what they do otherwise.
func columns() map[string]map[store.Ability]string {
	distribution := map[store.Ability]string{
		"referrers-api": "no", "referrers-filter": "no", "oci-subject": "no", "sha512": "no", "single-post": "no", "multi-tag": "no",
	}
	return map[string]map[store.Ability]string{
		"": {},
		"distribution-2.8": with(distribution, map[store.Ability]string{
			"chunk-order": "no", "tag-delete": "no", "tag-paging": "no",
		}),
		"distribution-3": distribution,
		"zot":            {"mount-without-from": "yes"},
		"zot-1.4": {
			"artifact-manifests": "yes", "oras-artifact-manifests": "yes", "mount-without-from": "yes",
			"multi-tag": "no", "oci-subject": "no", "referrers-filter": "no", "sha512": "no",
		},
		"olareg": {
			"tag-delete": "no", "manifest-delete": "no", "blob-delete": "no", "catalog": "no",
		},
		"go-containerregistry": {
			"artifact-manifests": "yes", "oras-artifact-manifests": "yes", "mount": "no",
			"multi-tag": "no", "oci-subject": "no", "referrers-api": "no", "referrers-filter": "no", "tag-paging": "no",
			"upload-resume": "no", "upload-cancel": "no",
		},
		"cuelabs": {
			"artifact-manifests": "yes", "oras-artifact-manifests": "yes", "multi-tag": "no",
			"sha512": "no", "chunked": "yes:8192", "upload-cancel": "no",
		},
		"ecr": {
			"referrers-api": "no", "referrers-filter": "no", "empty-layers": "no", "chunked": "yes:5242880", "upload-resume": "no",
			"tag-delete": "no", "manifest-delete": "no", "blob-delete": "no",
		},
		"ghcr": {
			"referrers-api": "no", "referrers-filter": "no", "oci-subject": "no",
			"tag-delete": "no", "manifest-delete": "no", "blob-delete": "no",
		},
		"docker-hub":  {"catalog": "no", "tag-delete": "no"},
		"gar":         {"chunked": "no", "chunk-order": "unknown", "upload-resume": "unknown", "tag-paging": "no"},
		"acr":         {"tag-delete": "no"},
		"quay":        {"oci-subject": "no", "blob-delete": "no"},
		"harbor":      {"tag-delete": "no"},
		"gitlab":      {"referrers-api": "no", "referrers-filter": "no", "oci-subject": "no"},
		"artifactory": {"mount": "no", "blob-delete": "no"},
	}
}

func with(base, more map[store.Ability]string) map[store.Ability]string {
	m := map[store.Ability]string{}
	for _, from := range []map[store.Ability]string{base, more} {
		for a, answer := range from {
			m[a] = answer
		}
	}
	return m
}

// TestProbeImitations: what a probe finds of each registry that serve imitates
// is what is known of it, and afterwards the registry holds what it held before,
// or the report says what more.
func TestProbeImitations(t *testing.T) {
	t.Parallel()
	imitations := append(serve.Imitations(), serve.Imitation{})
	want := columns()
	for _, im := range imitations {
		t.Run("as "+im.Name, func(t *testing.T) {
			t.Parallel()
			quirks, err := serve.ParseQuirks(im.Quirks...)
			if err != nil {
				t.Fatal(err)
			}
			r := newProbed(t, serve.Options{Quirks: quirks})
			report := r.probe(remote.ProbeOptions{Write: true, MountFrom: "other"})
			column, known := want[im.Name]
			if !known {
				t.Error("no column")
			}
			if diff := cmp.Diff(with(conformant(), column), answers(report)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			r.sameBut(report.Left)
			if column["manifest-delete"] != "no" && column["blob-delete"] != "no" && column["upload-cancel"] != "no" && len(report.Left) > 0 {
				t.Errorf("left: %q", report.Left)
			}
		})
	}
}

// answers are a report's, each with its value.
func answers(r remote.Report) map[store.Ability]string {
	m := map[store.Ability]string{}
	for a, f := range r.Support {
		m[a] = strings.TrimSuffix(f.Answer.String()+":"+f.Value, ":")
	}
	return m
}

// probed is a registry over a directory, so that everything in it can be seen.
type probed struct {
	t      *testing.T
	dir    string
	url    string
	before map[string]string
}

func newProbed(t *testing.T, opts serve.Options) *probed {
	t.Helper()
	r := &probed{t: t, dir: t.TempDir()}
	reg, err := local.OpenLayouts(r.dir, local.LayoutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app", "other"} {
		seed(t, reg, name)
	}
	h := serve.New(reg, opts)
	srv := httptest.NewServer(h)
	t.Cleanup(func() { srv.Close(); h.Close() })
	r.url = srv.URL
	r.before = r.files()
	return r
}

// seed puts an artifact with one file as tag v1.
func seed(t *testing.T, reg store.Registry, name string) {
	t.Helper()
	s, err := reg.Repository(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	file := store.NewBlob("text/plain", []byte("a file of "+name))
	empty := store.NewBlob("application/vnd.oci.empty.v1+json", []byte("{}"))
	for _, b := range []store.Blob{file, empty} {
		if _, err := s.PutBlob(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"a/b","config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":"text/plain","digest":%q,"size":%d}]}`,
		store.MediaTypeImage, empty.MediaType, empty.Digest, file.Digest, file.Size)
	if err := s.PutManifest(t.Context(), store.NewManifest(store.MediaTypeImage, []byte(raw)), "v1"); err != nil {
		t.Fatal(err)
	}
}

func (r *probed) probe(how remote.ProbeOptions) remote.Report {
	r.t.Helper()
	report, err := remote.Probe(r.t.Context(), registryRef(r.url, "app"), plain(remote.Options{}), how)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// files is everything below the directory, by path, with a hash of its content.
func (r *probed) files() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(r.dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		raw, err := fs.ReadFile(os.DirFS(r.dir), path)
		all[path] = fmt.Sprintf("%x", sha256.Sum256(raw))
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// sameBut asserts that nothing was added or changed but what the report names.
func (r *probed) sameBut(left []string) {
	r.t.Helper()
	named := strings.ReplaceAll(strings.Join(left, " "), ":", "/")
	for path, hash := range r.files() {
		switch was, ok := r.before[path]; {
		case ok && was == hash:
		case strings.Contains(path, "/.stet/ingest-") && strings.Contains(named, "an upload"):
		case ok && strings.HasSuffix(path, "index.json") && strings.Contains(named, "manifest"):
		case !ok && strings.Contains(named, path[max(0, strings.LastIndex(path, "sha")):]):
		default:
			r.t.Errorf("%s is not as it was, and not named: %q", path, left)
		}
	}
	for path := range r.before {
		if _, ok := r.files()[path]; !ok {
			r.t.Errorf("%s is gone", path)
		}
	}
}
