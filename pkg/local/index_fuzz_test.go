package local

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Whatever an index.json holds: it is ErrInvalid, or what is written of it is read
// as the same entries, and each of its tags can be removed.
func FuzzIndex(f *testing.F) {
	sum := digest.FromString("hello").String()
	for _, seed := range []string{
		`{"schemaVersion":2,"manifests":[{"mediaType":"text/plain","digest":"` + sum + `","size":5,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`,
		`{ "manifests" : null , "x":[1.50,{"\ud800":0}] }`,
		`{"manifests":[{"digest":"x:` + sum + `"},{"digest":"sha256:../..","size":-1}]}`,
		`{"manifests":[{},{}],"manifests":[]}`, `{"Manifests":[]}`,
		`{"manifests":[{"digest":"` + sum + `","Annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`, "[]", "{} {}", "",
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
			if e.tag != "" {
				y := x.clone()
				if found, err := y.untag(e.tag); !found || err != nil {
					t.Fatalf("untag %q: %t, %v", e.tag, found, err)
				}
				z, err := parseIndex(y.bytes())
				if err != nil {
					t.Fatalf("%q became %q: %v", raw, y.bytes(), err)
				}
				if _, still := z.byTag[e.tag]; still || !z.has(e.Digest) {
					t.Fatalf("%q without %q is %q", raw, e.tag, y.bytes())
				}
			}
			if strings.ContainsAny(e.Digest.Encoded(), "/.") {
				t.Fatalf("the digest %q was taken", e.Digest)
			}
		}
	})
}
