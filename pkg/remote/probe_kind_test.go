package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

// TestTakesImitations: whether a registry takes artifact manifests is found out
// without leaving anything in it, whatever registry it is.
func TestTakesImitations(t *testing.T) {
	t.Parallel()
	want := map[string]store.Answer{
		"zot-1.4": store.Yes, "go-containerregistry": store.Yes,
		"cuelabs": store.Unknown, // says the same to every type
	}
	for _, im := range append(serve.Imitations(), serve.Imitation{Name: "switched on", Quirks: []string{"artifact-manifests"}}) {
		t.Run("as "+im.Name, func(t *testing.T) {
			t.Parallel()
			quirks, err := serve.ParseQuirks(im.Quirks...)
			if err != nil {
				t.Fatal(err)
			}
			answer, listed := want[im.Name]
			switch {
			case im.Name == "switched on":
				answer = store.Yes
			case !listed:
				answer = store.No
			}
			r := newProbed(t, serve.Options{Quirks: quirks})
			s := open(t, r.url, remote.Options{})
			for _, kind := range []string{store.MediaTypeArtifact, store.MediaTypeORASArtifact} {
				f, err := s.Takes(t.Context(), kind)
				if err != nil || f.Answer != answer {
					t.Errorf("%s: %s, %v, want %s: %+v", kind, f.Answer, err, answer, f.Evidence)
				}
				if f.Evidence.Status == 0 || f.Evidence.As != "anonymous" || !strings.HasPrefix(f.Evidence.Request, "PUT /v2/app/manifests/sha256:") {
					t.Errorf("evidence %+v", f.Evidence)
				}
			}
			r.sameBut(nil)
		})
	}
}

// TestTakesLeavesNoRepository: the question brings no repository into being.
func TestTakesLeavesNoRepository(t *testing.T) {
	t.Parallel()
	r := newProbed(t, serve.Options{})
	s, err := remote.Open(registryRef(r.url, "never/seen"), plain(remote.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	if f, err := s.Takes(t.Context(), store.MediaTypeArtifact); err != nil || f.Answer != store.No {
		t.Errorf("%+v, %v", f, err)
	}
	r.sameBut(nil)
}

func open(t *testing.T, url string, opts remote.Options) store.Store {
	t.Helper()
	s, err := remote.Open(registryRef(url, "app"), plain(opts))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// putAnswers is a registry that answers a PUT by its Content-Type, with status
// and body after a space, and everything else with 404. It counts the PUTs.
type putAnswers struct {
	byType map[string]string
	header http.Header
	wait   chan struct{} // before each answer, unless nil

	mu   sync.Mutex
	puts []string
}

func (p *putAnswers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	kind := r.Header.Get("Content-Type")
	p.mu.Lock()
	p.puts = append(p.puts, kind)
	p.mu.Unlock()
	if p.wait != nil {
		<-p.wait
	}
	answer, ok := p.byType[kind]
	if !ok {
		answer = p.byType[""]
	}
	for k, v := range p.header {
		w.Header()[k] = v
	}
	status := 0
	text, body, _ := strings.Cut(answer, " ")
	_, _ = fmt.Sscan(text, &status)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func refusal(status int, code, message string) string {
	return fmt.Sprintf(`%d {"errors":[{"code":%q,"message":%q}]}`, status, code, message)
}

const nonsense = "application/vnd.example.nonsense.v1+json"

// TestTakesJudgement: the answer to the type is compared with both controls;
// what is no answer to it is unknown, never no.
func TestTakesJudgement(t *testing.T) {
	t.Parallel()
	invalid, digest := refusal(400, "MANIFEST_INVALID", "no such type"), refusal(400, "DIGEST_INVALID", "another digest")
	html := `<html><head><title>Sign in</title></head></html>`
	for _, tc := range []struct {
		name                  string
		own, image, otherType string
		want                  store.Answer
		puts                  int
		note                  string
	}{
		{name: "as nonsense, by code", own: invalid, image: digest, otherType: invalid, want: store.No, puts: 3, note: "no such type"},
		{name: "as nonsense, by status", own: "415 ", image: invalid, otherType: "415 ", want: store.No, puts: 3},
		{name: "as an image", own: digest, image: digest, otherType: "415 ", want: store.Yes, puts: 3, note: "image manifest got 400 DIGEST_INVALID"},
		{name: "all the same", own: invalid, image: invalid, otherType: invalid, puts: 3, note: "does not tell them apart"},
		{name: "like neither", own: "409 ", image: digest, otherType: invalid, puts: 3, note: "like neither"},
		{name: "401", own: "401 ", image: digest, otherType: "401 ", puts: 1, note: "not allowed to anonymous"},
		{name: "403", own: refusal(403, "DENIED", "no"), image: digest, otherType: invalid, puts: 1, note: "not allowed"},
		{name: "404", own: "404 ", image: digest, otherType: "404 ", puts: 1, note: "not found"},
		{name: "404 about the manifest", own: refusal(404, "MANIFEST_INVALID", "no"), image: digest, otherType: refusal(404, "MANIFEST_INVALID", "no"), want: store.No, puts: 3},
		{name: "405 read-only", own: refusal(405, "DENIED", "read-only"), image: digest, otherType: invalid, puts: 1, note: "not allowed"},
		{name: "no repository", own: refusal(400, "NAME_UNKNOWN", "no"), image: digest, otherType: invalid, puts: 1, note: "repository is not known"},
		{name: "429", own: "429 ", image: digest, otherType: invalid, puts: 1, note: "throttled"},
		{name: "503", own: "503 ", image: digest, otherType: invalid, puts: 1, note: "the registry failed"},
		{name: "a page", own: "400 " + html, image: digest, otherType: invalid, puts: 1, note: "a web page answered"},
		{name: "200 and nothing kept", own: "200 ", image: "200 ", otherType: "200 ", puts: 1, note: "it is not there"},
		{name: "201 and nothing kept", own: "201 ", image: digest, otherType: invalid, puts: 1, note: "it is not there"},
		{name: "a control throttled", own: invalid, image: digest, otherType: "429 ", puts: 3, note: "throttled"},
		{name: "a control redirected", own: invalid, image: "302 ", otherType: invalid, puts: 2, note: "redirected"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			reg := &putAnswers{byType: map[string]string{
				store.MediaTypeArtifact: tc.own, store.MediaTypeImage: tc.image, nonsense: tc.otherType,
			}}
			srv := httptest.NewServer(reg)
			t.Cleanup(srv.Close)
			s := open(t, srv.URL, remote.Options{Retries: -1})
			f, err := s.Takes(t.Context(), store.MediaTypeArtifact)
			if err != nil {
				t.Fatal(err)
			}
			if f.Answer != tc.want || len(reg.puts) != tc.puts || !strings.Contains(f.Evidence.Note, tc.note) {
				t.Errorf("%s after %d requests, want %s after %d: %+v", f.Answer, len(reg.puts), tc.want, tc.puts, f.Evidence)
			}
			if known := s.Support().Of(store.AbilityArtifactManifests); known != tc.want {
				t.Errorf("Support says %s", known)
			}
		})
	}
}

// TestTakesCurrentKinds: nobody is asked about the kinds of today.
func TestTakesCurrentKinds(t *testing.T) {
	t.Parallel()
	reg := &putAnswers{}
	srv := httptest.NewServer(reg)
	t.Cleanup(srv.Close)
	s := open(t, srv.URL, remote.Options{})
	for _, kind := range []string{store.MediaTypeImage, store.MediaTypeIndex, store.MediaTypeDockerImage, store.MediaTypeDockerIndex} {
		if f, err := s.Takes(t.Context(), kind); err != nil || f.Answer != store.Unknown {
			t.Errorf("%s: %+v, %v", kind, f, err)
		}
	}
	if len(reg.puts) > 0 {
		t.Errorf("it was asked: %q", reg.puts)
	}
}

// TestTakesShared: who asks at the same time, and later, shares three requests;
// one who gives up takes nothing from the others.
func TestTakesShared(t *testing.T) {
	t.Parallel()
	reg := &putAnswers{
		byType: map[string]string{"": "415 ", store.MediaTypeImage: refusal(400, "DIGEST_INVALID", "")},
		wait:   make(chan struct{}),
	}
	srv := httptest.NewServer(reg)
	t.Cleanup(srv.Close)
	s := open(t, srv.URL, remote.Options{})
	impatient, giveUp := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer giveUp()
	if _, err := s.Takes(impatient, store.MediaTypeArtifact); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller that gave up got %v", err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if f, err := s.Takes(t.Context(), store.MediaTypeArtifact); err != nil || f.Answer != store.No {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
	close(reg.wait)
	wg.Wait()
	if f, err := s.Takes(t.Context(), store.MediaTypeORASArtifact); err != nil || f.Answer != store.No {
		t.Errorf("%+v, %v", f, err)
	}
	want := []string{
		store.MediaTypeArtifact, // of the one who gave up
		store.MediaTypeArtifact, store.MediaTypeImage, nonsense, store.MediaTypeORASArtifact,
	}
	if diff := cmp.Diff(want, reg.puts); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestTakesTellsWhatItLeaves: a registry that stores the question and deletes
// nothing is told of.
func TestTakesTellsWhatItLeaves(t *testing.T) {
	t.Parallel()
	quirks, err := serve.ParseQuirks("no-digest-check", "any-manifest", "absent-blobs", "no-delete")
	if err != nil {
		t.Fatal(err)
	}
	r := newProbed(t, serve.Options{Quirks: quirks})
	var mu sync.Mutex
	var warnings []string
	s := open(t, r.url, remote.Options{Events: func(e store.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == store.Warning {
			warnings = append(warnings, e.Text)
		}
	}})
	f, err := s.Takes(t.Context(), store.MediaTypeArtifact)
	if err != nil || f.Answer != store.Yes {
		t.Errorf("%+v, %v", f, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(warnings) != 1 || !strings.Contains(warnings[0], "405") || !strings.Contains(f.Evidence.Note, warnings[0]) {
		t.Errorf("warnings %q, evidence %+v", warnings, f.Evidence)
	}
	r.sameBut(warnings)
}
