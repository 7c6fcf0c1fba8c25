package local_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// An open archive does not hold its manifests: one tag of a tar with many large ones
// would cost all of them.
func TestArchiveMemory(t *testing.T) {
	const many, bound = 16, 12 << 20
	entries := []string{}
	headers := []struct{ name, content string }{}
	subject := digest.FromString("subject")
	for i := range many {
		raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"text/plain","digest":%q,"size":%d},"layers":[],`+
			`"subject":{"mediaType":%q,"digest":%q,"size":7},"annotations":{"n":"%d","long":%q}}`,
			store.MediaTypeImage, subject, i, store.MediaTypeImage, subject, i, strings.Repeat("x", 3<<20))
		d := digest.FromString(raw)
		for _, tag := range []string{"v", "also"} {
			entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":"%s%d"}}`,
				store.MediaTypeImage, d, len(raw), tag, i))
		}
		headers = append(headers, struct{ name, content string }{"blobs/sha256/" + d.Encoded(), raw})
	}
	all := append(headers, struct{ name, content string }{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`},
		struct{ name, content string }{"index.json", `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`})
	name := filepath.Join(t.TempDir(), "a.tar")
	var raw []byte
	for i, h := range all {
		part := tarball(t, file(h.name, h.content))
		if i < len(all)-1 {
			part = part[:len(part)-1024] // the end mark comes once
		}
		raw = append(raw, part...)
	}
	if err := os.WriteFile(name, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	raw, all, headers = nil, nil, nil
	before := live()
	s := openArchive(t, name)
	defer closed(t, s)
	after := live()
	if after > before+bound {
		t.Errorf("%d MiB of manifests cost %d MiB", many*3, (after-before)>>20)
	}
	for _, tag := range []string{"v7", "also7"} {
		if m, err := s.Manifest(t.Context(), tag); err != nil || !strings.Contains(string(m.Raw[:1000]), `"n":"7"`) || digest.FromBytes(m.Raw) != m.Digest {
			t.Errorf("%s: %v", tag, err)
		}
	}
	found, err := store.Collect(s.Referrers(t.Context(), subject, ""))
	if err != nil || len(found) != many || len(found[0].Annotations["long"]) != 3<<20 {
		t.Errorf("%d referrers, %v", len(found), err)
	}
}

// live is how many bytes are in use.
func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
