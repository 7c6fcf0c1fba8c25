package remote_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// TestProbeNeverInventsNo: what says nothing of a registry leads to unknown, and
// to an error where nothing else came.
func TestProbeNeverInventsNo(t *testing.T) {
	t.Parallel()
	page := "<!DOCTYPE html><html><head><title>Sign in</title></head><body></body></html>"
	always := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Add(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	ping := func(rest http.HandlerFunc) http.HandlerFunc { // /v2/ is fine
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			rest(w, r)
		}
	}
	elsewhere := httptest.NewServer(always(200, page, "Content-Type", "text/html"))
	nothing := httptest.NewServer(always(404, "404 page not found"))
	t.Cleanup(func() { elsewhere.Close(); nothing.Close() })
	for _, tc := range []struct {
		name    string
		answer  http.HandlerFunc
		err     error
		apiIsNo bool
	}{
		{name: "a page", answer: always(200, page, "Content-Type", "text/html; charset=utf-8")},
		{name: "a page that calls itself JSON", answer: ping(always(404, page, "Content-Type", "application/json"))},
		{name: "404 with a page", answer: always(404, page)},
		{name: "404", answer: always(404, "404 page not found"), apiIsNo: true},
		{name: "200 and nothing", answer: always(200, "")},
		{name: "200 and {}", answer: always(200, "{}", "Content-Type", "application/json")},
		{name: "200 and a list of nothing", answer: always(200, "[]", "Content-Type", "application/json")},
		{name: "201", answer: ping(always(201, ""))},
		{name: "202 without Location", answer: ping(always(202, ""))},
		{name: "a sign-in at another host", answer: ping(always(307, "", "Location", elsewhere.URL))},
		{name: "another host that has nothing", answer: ping(always(307, "", "Location", nothing.URL))},
		{name: "302 to a page", answer: always(302, "", "Location", elsewhere.URL)},
		{name: "401", answer: always(401, ""), err: store.ErrUnauthorized},
		{name: "401 Basic", answer: always(401, "", "WWW-Authenticate", `Basic realm="r"`), err: store.ErrUnauthorized},
		{name: "401 but for the ping", answer: ping(always(401, "")), err: store.ErrUnauthorized},
		{name: "403", answer: always(403, `{"errors":[{"code":"DENIED"}]}`), err: store.ErrDenied},
		{name: "429", answer: always(429, ""), err: store.ErrUnavailable},
		{name: "429 but for the ping", answer: ping(always(429, "")), err: store.ErrUnavailable},
		{name: "500", answer: always(500, ""), err: store.ErrUnavailable},
		{name: "503 page but for the ping", answer: ping(always(503, page)), err: store.ErrUnavailable},
		{name: "no repository", answer: ping(always(404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`)), err: nil},
	} {
		for _, write := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				srv := httptest.NewServer(tc.answer)
				t.Cleanup(srv.Close)
				report, err := remote.Probe(t.Context(), registryRef(srv.URL, "app"), plain(remote.Options{Retries: -1}), remote.ProbeOptions{Write: write})
				if tc.err == nil && tc.name != "no repository" && err != nil || tc.err != nil && !errors.Is(err, tc.err) {
					t.Errorf("error %v, want %v", err, tc.err)
				}
				for _, a := range store.Abilities() {
					f, ok := report.Support[a]
					switch {
					case !ok:
						t.Errorf("%s has no answer", a)
					case f.Answer == store.No && a == store.AbilityAPI && tc.apiIsNo, a == store.AbilityAuth:
					case f.Answer == store.No:
						t.Errorf("%s is no: %+v", a, f.Evidence)
					case f.Answer == store.Unknown && f.Evidence.Note == "":
						t.Errorf("%s is unknown without a reason: %+v", a, f.Evidence)
					}
				}
				if len(report.Left) > 0 {
					t.Errorf("left: %q", report.Left)
				}
			})
		}
	}
}

// TestProbeReadsOnly: without Write nothing is sent that could change anything,
// and what would need it is unknown.
func TestProbeReadsOnly(t *testing.T) {
	t.Parallel()
	var methods []string
	r := newProbed(t, serve.Options{OnRequest: func(method, uri string, _ int) {
		if method != http.MethodGet && method != http.MethodHead {
			methods = append(methods, method+" "+uri)
		}
	}})
	report := r.probe(remote.ProbeOptions{})
	if len(methods) > 0 || report.Wrote {
		t.Errorf("sent %q, wrote %t", methods, report.Wrote)
	}
	got := answers(report)
	for a, want := range map[store.Ability]string{
		"api": "yes", "referrers-api": "yes", "referrers-filter": "yes", "ranges": "yes", "catalog": "yes",
		"tag-paging": "unknown", // one tag fits into every page
		"mount":      "unknown", "artifact-manifests": "unknown", "tag-delete": "unknown", "sha512": "unknown",
	} {
		if got[a] != want {
			t.Errorf("%s is %s, want %s: %+v", a, got[a], want, report.Support[a].Evidence)
		}
	}
	r.sameBut(nil)
}

// TestProbeOfAbsentRepository: the repository need not be there, and a probe
// that writes finds out the same.
func TestProbeOfAbsentRepository(t *testing.T) {
	t.Parallel()
	r := newProbed(t, serve.Options{})
	report, err := remote.Probe(t.Context(), registryRef(r.url, "new"), plain(remote.Options{}), remote.ProbeOptions{Write: true, MountFrom: "app"})
	if err != nil || len(report.Left) > 0 {
		t.Fatalf("%v, left %q", err, report.Left)
	}
	got := answers(report)
	for a, want := range conformant() {
		if got[a] != want {
			t.Errorf("%s is %s, want %s: %+v", a, got[a], want, report.Support[a].Evidence)
		}
	}
}

// TestProbeAs: each answer says as whom it was got, and another account may get another.
func TestProbeAs(t *testing.T) {
	t.Parallel()
	r := newProbed(t, serve.Options{
		Basic: map[string]string{"ann": "secret", "bob": "secret"},
		Allow: func(user, _, action string) bool { return user == "ann" || action == "pull" },
	})
	probe := func(user string) remote.Report {
		opts := plain(remote.Options{Credentials: remote.Static(remote.Credential{Username: user, Password: "secret"})})
		report, err := remote.Probe(t.Context(), registryRef(r.url, "app"), opts, remote.ProbeOptions{Write: true})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	ann, bob := probe("ann"), probe("bob")
	if ann.As != "ann" || ann.Support["single-post"].Answer != store.Yes || ann.Support["auth"].Value != "basic" {
		t.Errorf("ann: as %s: %+v, %+v", ann.As, ann.Support["single-post"], ann.Support["auth"])
	}
	post := bob.Support["single-post"]
	if post.Answer != store.Unknown || post.Evidence.As != "bob" || post.Evidence.Status != http.StatusForbidden {
		t.Errorf("bob: %+v", post)
	}
	for a, f := range bob.Support {
		if f.Answer == store.No {
			t.Errorf("bob: %s is no: %+v", a, f.Evidence)
		}
		if strings.Contains(f.Evidence.Header+f.Evidence.Note, "secret") {
			t.Errorf("%s shows a secret: %+v", a, f.Evidence)
		}
	}
	r.sameBut(nil)
}

// TestProbeUnsaid: quirks of which the probe must not be deceived.
func TestProbeUnsaid(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		quirks  string
		ability store.Ability
		want    string
	}{
		{"false-oci-subject no-referrers-api", "oci-subject", "yes"},
		{"false-oci-subject no-referrers-api", "referrers-api", "no"},
		{"no-filter", "referrers-filter", "no"},
		{"no-range", "ranges", "no"},
		{"read-only", "single-post", "unknown"},
		{"read-only", "artifact-manifests", "unknown"},
		{"html-404 no-referrers-api", "referrers-api", "unknown"},
		{"repo-must-exist", "artifact-manifests", "no"},
		{"max-manifest=1MiB", "max-manifest", "no"},
		{"chunk-min=64KiB", "chunked", "yes:65536"},
		{"no-single-post", "single-post", "no"},
	} {
		t.Run(tc.quirks+" "+string(tc.ability), func(t *testing.T) {
			t.Parallel()
			quirks, err := serve.ParseQuirks(strings.Fields(tc.quirks)...)
			if err != nil {
				t.Fatal(err)
			}
			r := newProbed(t, serve.Options{Quirks: quirks})
			report := r.probe(remote.ProbeOptions{Write: true})
			if got := answers(report)[tc.ability]; got != tc.want {
				t.Errorf("%s is %s, want %s: %+v", tc.ability, got, tc.want, report.Support[tc.ability].Evidence)
			}
			r.sameBut(report.Left)
		})
	}
}

// TestProbeReadsBack: what a registry says that it did counts when it can be seen.
func TestProbeReadsBack(t *testing.T) {
	t.Parallel()
	index := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	for _, tc := range []struct {
		name    string
		lies    func(r *http.Request) (status int, body string) // 0: the registry answers
		unknown []store.Ability
		left    bool
	}{
		{
			name: "keeps no manifest",
			lies: func(r *http.Request) (int, string) {
				if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
					return http.StatusCreated, ""
				}
				return 0, ""
			},
			unknown: []store.Ability{"artifact-type", "empty-layers", "artifact-manifests", "max-manifest", "oci-subject"},
		},
		{
			name: "lists no referrer",
			lies: func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, "/referrers/") {
					return http.StatusOK, index
				}
				return 0, ""
			},
			unknown: []store.Ability{"referrers-api"},
		},
		{
			name: "deletes nothing",
			lies: func(r *http.Request) (int, string) {
				if r.Method == http.MethodDelete && !strings.Contains(r.URL.Path, "/uploads/") {
					return http.StatusAccepted, ""
				}
				return 0, ""
			},
			unknown: []store.Ability{"tag-delete", "manifest-delete", "blob-delete"},
			left:    true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newProbed(t, serve.Options{})
			honest, err := url.Parse(r.url)
			if err != nil {
				t.Fatal(err)
			}
			proxy := httputil.NewSingleHostReverseProxy(honest)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				status, body := tc.lies(req)
				if status == 0 {
					proxy.ServeHTTP(w, req)
					return
				}
				w.Header().Set("Content-Type", store.MediaTypeIndex)
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
			}))
			t.Cleanup(srv.Close)
			report, err := remote.Probe(t.Context(), registryRef(srv.URL, "app"), plain(remote.Options{}), remote.ProbeOptions{Write: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range tc.unknown {
				if f := report.Support[a]; f.Answer != store.Unknown {
					t.Errorf("%s is %s: %+v", a, f.Answer, f.Evidence)
				}
			}
			if tc.left != (len(report.Left) > 0) {
				t.Errorf("left: %q", report.Left)
			}
			r.sameBut(report.Left)
		})
	}
}
