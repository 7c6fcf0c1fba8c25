package ui_test

import (
	"bytes"
	"testing"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/store"
)

// Signs and colours of a difference; what came from outside is escaped inside of them.
func TestDiffText(t *testing.T) {
	text := func(s string) *string { return &s }
	ref := func(tag string) store.Ref {
		return store.Ref{Scheme: store.SchemeLayout, Path: "lay", Tags: []string{tag}}
	}
	r := ui.NewDiffResult(ref("a"), ref("b"), "sha256:1", "sha256:2", ui.Notes{})
	r.Differences = ui.List[ui.Difference]{
		{Path: "", Kind: "manifest", From: text("1"), To: text("2"), Why: "only\nannotations"},
		{Path: "annotations[x\x1b[31m]", Kind: "annotation", To: text("new\r")},
		{Path: "annotations[y]", Kind: "annotation", From: text("")},
		{Path: "contents", Kind: "content", Why: "other times"},
	}
	want := "Different [oci-layout] lay:a and [oci-layout] lay:b\n" +
		"~ manifest\n  - 1\n  + 2\n  why: only\\nannotations\n" +
		"+ annotations[x\\u001b[31m]: new\\r\n" +
		"- annotations[y]: \n" +
		"~ contents\n  why: other times\n"
	var out bytes.Buffer
	if err := r.Text(&out); err != nil || out.String() != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, out.String(), want)
	}
	out.Reset()
	if err := r.Colored(true).Text(&out); err != nil || !bytes.Contains(out.Bytes(), []byte("\n\x1b[32m+ annotations[x\\u001b[31m]: new\\r\x1b[0m\n")) {
		t.Errorf("%v, in colours\n%q", err, out.String())
	}
}
