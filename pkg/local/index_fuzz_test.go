package local

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Whatever an index.json holds: it is ErrInvalid, or what is written of it is read
// as the same entries.
func FuzzIndex(f *testing.F) {
	sum := digest.FromString("hello").String()
	for _, seed := range []string{
		`{"schemaVersion":2,"manifests":[{"mediaType":"text/plain","digest":"` + sum + `","size":5,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`,
		`{ "manifests" : null , "x":[1.50,{"\ud800":0}] }`,
		`{"manifests":[{"digest":"x:` + sum + `"},{"digest":"sha256:../..","size":-1}]}`,
		`{"manifests":[{},{}],"manifests":[]}`, `{"Manifests":[]}`, "[]", "{} {}", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := parseIndex(raw)
		if err != nil {
			if !errors.Is(err, store.ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		again, err := parseIndex(x.bytes())
		if err != nil {
			t.Fatalf("%q was written, and: %v", x.bytes(), err)
		}
		if len(again.entries) != len(x.entries) {
			t.Fatalf("%d entries became %d: %q", len(x.entries), len(again.entries), x.bytes())
		}
		for i, e := range x.entries {
			if a := again.entries[i]; a.Digest != e.Digest || a.Size != e.Size || a.tag != e.tag {
				t.Fatalf("%q became %q", e.raw, a.raw)
			}
			if strings.ContainsAny(e.Digest.Encoded(), "/.") {
				t.Fatalf("the digest %q was taken", e.Digest)
			}
		}
	})
}
