package ui_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/store"
)

func probeResult(t *testing.T, name string, found store.Support) ui.ProbeResult {
	t.Helper()
	ref, err := store.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	return ui.NewProbeResult(ref, found)
}

func text(t *testing.T, write func(out *bytes.Buffer) error) []string {
	t.Helper()
	var out bytes.Buffer
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	return strings.Split(out.String(), "\n")
}

// has asserts that some line has these words in this order, however far apart.
func has(t *testing.T, lines []string, words string) {
	t.Helper()
	for _, line := range lines {
		if strings.Join(strings.Fields(line), " ") == words {
			return
		}
	}
	t.Errorf("no line %q in\n%s", words, strings.Join(lines, "\n"))
}

// TestProbeText: each answer stands beside what it rests on, and what a
// registry said is escaped.
func TestProbeText(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	r := probeResult(t, "reg.io/app", store.Support{
		store.AbilitySinglePost: {Answer: store.No, Evidence: store.Evidence{
			Request: "POST /v2/app/blobs/uploads/?digest=" + digest, Status: 202, As: "ann", Note: "an upload was opened instead",
		}},
		store.AbilityChunked: {Answer: store.Yes, Value: "65536", Evidence: store.Evidence{Request: "PATCH /v2/app/blobs/uploads/", Status: 202}},
		store.AbilitySHA512: {Answer: store.No, Evidence: store.Evidence{
			Request: "PUT /v2/", Status: 400, Code: "DIGEST_INVALID", Header: "X: y", Note: "no \x1b[31mred",
		}},
	})
	r.As, r.Left, r.Notes = "ann", []string{"tag a"}, []string{"slow"}
	lines := text(t, func(out *bytes.Buffer) error { return r.Text(out) })
	has(t, lines, "Probed [registry] reg.io/app as ann, reading only")
	has(t, lines, "ABILITY ANSWER VALUE EVIDENCE")
	has(t, lines, "single-post no POST /v2/app/blobs/uploads/?digest=sha256:abababababab…: 202, an upload was opened instead")
	has(t, lines, "chunked yes 65536 PATCH /v2/app/blobs/uploads/: 202")
	has(t, lines, `sha512 no PUT /v2/: 400 DIGEST_INVALID, X: y, no \u001b[31mred`)
	has(t, lines, "catalog unknown asked of registries only")
	has(t, lines, "Left in reg.io/app: tag a")
	has(t, lines, "Note: slow")
}

// TestProbeJSON: every ability is there, under keys that stay.
func TestProbeJSON(t *testing.T) {
	r := probeResult(t, "oci:dir", store.Support{store.AbilityMount: {Answer: store.Yes, Value: "v", Evidence: store.Evidence{Status: 201}}})
	var doc struct {
		Reference string                   `json:"reference"`
		Abilities map[string]store.Finding `json:"abilities"`
		Left      []string                 `json:"left"`
		Notes     []string                 `json:"notes"`
		Wrote     *bool                    `json:"wrote"`
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Reference != "dir" || doc.Left == nil || doc.Notes == nil || doc.Wrote == nil || len(doc.Abilities) != len(store.Abilities()) {
		t.Errorf("%s", raw)
	}
	if m := doc.Abilities["mount"]; m.Answer != store.Yes || m.Value != "v" || m.Evidence.Status != 201 {
		t.Errorf("mount is %+v", m)
	}
}

// TestProbePair: both columns, then what can be copied.
func TestProbePair(t *testing.T) {
	a := probeResult(t, "oci:dir", store.Support{store.AbilitySHA512: {Answer: store.Yes}})
	b := probeResult(t, "reg.io/app", store.Support{
		store.AbilitySHA512: {Answer: store.No}, store.AbilityAuth: {Answer: store.Yes, Value: "bearer"},
	})
	b.Wrote = true
	p := ui.NewProbePair(a, b)
	lines := text(t, func(out *bytes.Buffer) error { return p.Text(out) })
	has(t, lines, "Probed A: [oci-layout] dir")
	has(t, lines, "Probed B: [registry] reg.io/app")
	has(t, lines, "sha512 yes no")
	has(t, lines, "auth unknown yes (bearer)")
	has(t, lines, "content named by sha512 no")
	has(t, lines, "OCI artifact manifests unknown")
}
