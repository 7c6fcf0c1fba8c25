package artifact

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

const (
	emptyDesc = `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}`
	textDesc  = `{"mediaType":"text/plain","digest":"sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03","size":6}`
	imageDesc = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03","size":6}`
	imageHead = `"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"a/b"`
	indexHead = `"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"`
)

// imageOf is an image manifest that is right but for its layer.
func imageOf(desc string) string {
	return `{` + imageHead + `,"config":` + emptyDesc + `,"layers":[` + desc + `]}`
}

// entryOf is an index that is right but for its entry.
func entryOf(desc string) string { return `{` + indexHead + `,"manifests":[` + desc + `]}` }

func with(desc, member string) string { return strings.TrimSuffix(desc, "}") + "," + member + "}" }

func without(desc, name string) string {
	var kept []string
	for m := range strings.SplitSeq(strings.Trim(desc, "{}"), ",") {
		if !strings.HasPrefix(m, `"`+name+`"`) {
			kept = append(kept, m)
		}
	}
	return "{" + strings.Join(kept, ",") + "}"
}

// TestValidate has a line for each rule: the document, and the faults as
// severity and pointer.
func TestValidate(t *testing.T) {
	const (
		image    = store.MediaTypeImage
		index    = store.MediaTypeIndex
		am       = store.MediaTypeArtifact
		orasAM   = store.MediaTypeORASArtifact
		docker   = store.MediaTypeDockerImage
		extinct  = "warning /mediaType"
		amHead   = `"mediaType":"` + am + `"`
		orasHead = `"mediaType":"` + orasAM + `","artifactType":"a/b"`
	)
	hello := `"data":"` + base64.StdEncoding.EncodeToString([]byte("hello\n")) + `"`
	for _, c := range []struct {
		kind, doc string
		want      string
	}{
		// What is right.
		{image, imageOf(textDesc), ""},
		{image, " \n" + imageOf(emptyDesc) + "\n", ""},
		{image, imageOf(with(textDesc, hello)), ""},
		{image, imageOf(with(textDesc, `"com.example.unknown":[{"x":null}],"urls":["https://example.com"],"platform":null`)), ""},
		{image, `{"schemaVersion":2,"mediaType":"` + image + `","config":` + textDesc + `,"layers":[` + textDesc + `],"subject":` + imageDesc + `,"annotations":{"A":"","a":""}}`, ""},
		{index, entryOf(""), ""},
		{index, entryOf(with(imageDesc, `"platform":{"os":"linux","architecture":"arm","variant":"v7","os.version":"1","os.features":["a"]}`)), ""},
		{index, entryOf(textDesc), ""},
		{am, `{` + amHead + `,"artifactType":"a/b"}`, extinct},
		{am, `{` + amHead + `,"artifactType":"a/b","blobs":[` + textDesc + `],"refers":` + imageDesc + `}`, extinct},
		{orasAM, `{` + orasHead + `,"blobs":null}`, extinct},
		{docker, `{"schemaVersion":2,"mediaType":"` + docker + `","config":` + textDesc + `,"layers":[]}`, ""},
		{"application/vnd.example+json", `{"anything":1}`, "warning /mediaType"},

		// JSON that can be read in two ways (RFC 7493).
		{image, "", "error "},
		{image, "{", "error "},
		{image, imageOf(textDesc) + "{}", "error "},
		{image, "[]", "error "},
		{image, "null", "error "},
		{image, "\"\xff\"", "error "},
		{"x/y", `{"a":1,"a":1}`, "error /a,warning /mediaType"},
		{"x/y", `{"a":{"b":[{"c":1,"c":2}]}}`, "error /a/b/0/c,warning /mediaType"},
		{"x/y", `{"a":1,"A":1}`, "error /A,warning /mediaType"},
		{"x/y", `{"Config":1}`, "error /Config,warning /mediaType"},
		{"x/y", "{\"conﬁg\":1,\"\u212Aey\":1,\"key\":1}", "error /key,warning /mediaType"},
		{"x/y", `{"a/b~c":1,"a/b~c":1}`, "error /a~1b~0c,warning /mediaType"},
		{"x/y", `{"a":"\ud800"}`, "error /a,warning /mediaType"},
		{"x/y", `{"a":"\ud83d\ude00 \ufffd \\ud800"}`, "warning /mediaType"},
		{"x/y", `{"\udc00":1}`, "error /\uFFFD,warning /mediaType"},
		{"x/y", strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300), "error "},

		// M1 to M7 of an image manifest.
		{image, strings.Replace(imageOf(textDesc), `"schemaVersion":2,`, "", 1), "error /schemaVersion"},
		{image, strings.Replace(imageOf(textDesc), `"schemaVersion":2`, `"schemaVersion":"2"`, 1), "error /schemaVersion"},
		{image, strings.Replace(imageOf(textDesc), `"mediaType":"`+image+`",`, "", 1), "warning /mediaType"},
		{image, strings.Replace(imageOf(textDesc), image, index, 1), "error /mediaType"},
		{image, strings.Replace(imageOf(textDesc), `"`+image+`"`, `1`, 1), "error /mediaType"},
		{image, strings.Replace(imageOf(textDesc), `,"artifactType":"a/b"`, "", 1), "error /artifactType"},
		{image, strings.Replace(imageOf(textDesc), `"a/b"`, `"a b"`, 1), "error /artifactType"},
		{image, strings.Replace(imageOf(textDesc), `"a/b"`, `null`, 1), "error /artifactType"},
		{image, `{` + imageHead + `,"layers":[` + textDesc + `]}`, "error /config"},
		{image, `{` + imageHead + `,"config":null,"layers":[` + textDesc + `]}`, "error /config"},
		{image, `{` + imageHead + `,"config":` + emptyDesc + `}`, "error /layers"},
		{image, `{` + imageHead + `,"config":` + emptyDesc + `,"layers":null}`, "error /layers"},
		{image, imageOf(""), "warning /layers"},
		{image, imageOf(`{"mediaType":"text/plain","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}`), "warning /layers"},
		{image, with(imageOf(textDesc), `"manifests":[]`), "error /manifests"},
		{image, with(imageOf(textDesc), `"blobs":[]`), "error /blobs"},
		{image, with(imageOf(textDesc), `"subject":{}`), "error /subject/mediaType,error /subject/digest,error /subject/size"},
		{image, with(imageOf(textDesc), `"annotations":{"a":1}`), "error /annotations/a"},
		{image, with(imageOf(textDesc), `"annotations":[]`), "error /annotations"},
		{image, with(imageOf(textDesc), `"annotations":{"org.opencontainers.image.created":"yesterday"}`), "warning /annotations/org.opencontainers.image.created"},

		// Descriptors.
		{image, imageOf(`1`), "error /layers/0"},
		{image, imageOf(without(textDesc, "mediaType")), "error /layers/0/mediaType"},
		{image, imageOf(without(textDesc, "digest")), "error /layers/0/digest"},
		{image, imageOf(without(textDesc, "size")), "error /layers/0/size"},
		{image, imageOf(strings.Replace(textDesc, "text/plain", "text", 1)), "error /layers/0/mediaType"},
		{image, imageOf(strings.Replace(textDesc, "text/plain", "text/plain; charset=utf-8", 1)), "error /layers/0/mediaType"},
		{image, imageOf(strings.Replace(textDesc, "sha256:58", "sha256:", 1)), "error /layers/0/digest"},
		{image, imageOf(strings.Replace(textDesc, "sha256:58", "sha256:AB", 1)), "error /layers/0/digest"},
		{image, imageOf(strings.Replace(textDesc, "sha256:", "md4:", 1)), "error /layers/0/digest"},
		{image, imageOf(strings.Replace(textDesc, `"size":6`, `"size":-1`, 1)), "error /layers/0/size"},
		{image, imageOf(strings.Replace(textDesc, `"size":6`, `"size":6.5`, 1)), "error /layers/0/size"},
		{image, imageOf(strings.Replace(textDesc, `"size":6`, `"size":99999999999999999999`, 1)), "error /layers/0/size"},
		{image, imageOf(strings.Replace(textDesc, `"size":6`, `"size":9007199254740992`, 1)), "warning /layers/0/size"},
		{image, imageOf(with(textDesc, `"data":"aGVsbG8K!"`)), "error /layers/0/data"},
		{image, imageOf(with(textDesc, `"data":"aGVsbG8="`)), "error /layers/0/data"},
		{image, imageOf(with(textDesc, `"data":"amVsbG8K"`)), "error /layers/0/data"},
		{image, imageOf(with(textDesc, `"urls":[1]`)), "error /layers/0/urls/0"},
		{image, imageOf(with(textDesc, `"artifactType":"x"`)), "error /layers/0/artifactType"},
		{image, imageOf(with(textDesc, `"annotations":{"x":null}`)), "error /layers/0/annotations/x"},
		{image, imageOf(strings.Replace(textDesc, "text/plain", "application/vnd.oci.empty.v1+json", 1)), "warning /layers/0/digest"},
		{image, imageOf(strings.Replace(emptyDesc, `"size":2`, `"size":3`, 1)), "error /layers/0/size"},

		// Indexes.
		{index, `{` + indexHead + `}`, "error /manifests"},
		{index, `{` + indexHead + `,"manifests":null}`, "error /manifests"},
		{index, with(entryOf(""), `"config":`+emptyDesc), "error /config"},
		{index, with(entryOf(""), `"layers":[]`), "error /layers"},
		{index, entryOf(with(imageDesc, `"platform":{"os":"linux"}`)), "error /manifests/0/platform/architecture"},
		{index, entryOf(with(imageDesc, `"platform":{"os":1,"architecture":"a","os.features":["x",1]}`)), "error /manifests/0/platform/os,error /manifests/0/platform/os.features/1"},
		{index, entryOf(with(imageDesc, `"platform":[]`)), "error /manifests/0/platform"},

		// Artifact manifests and Docker's.
		{am, `{"artifactType":"a/b"}`, "error /mediaType," + extinct},
		{am, `{` + amHead + `}`, "warning /artifactType," + extinct},
		{am, `{` + amHead + `,"artifactType":""}`, "warning /artifactType," + extinct},
		{am, `{` + amHead + `,"artifactType":"x"}`, "error /artifactType," + extinct},
		{orasAM, `{"mediaType":"` + orasAM + `"}`, "error /artifactType," + extinct},
		{am, `{` + amHead + `,"artifactType":"a/b","blobs":[` + without(textDesc, "size") + `]}`, "error /blobs/0/size," + extinct},
		{am, `{` + amHead + `,"artifactType":"a/b","subject":` + imageDesc + `,"refers":` + imageDesc + `}`, "error /refers," + extinct},
		{am, `{` + amHead + `,"artifactType":"a/b","layers":[]}`, "warning /layers," + extinct},
		{docker, `{"schemaVersion":2,"config":` + textDesc + `,"layers":[]}`, "error /mediaType"},
	} {
		var got []string
		for _, f := range Validate(store.NewManifest(c.kind, []byte(c.doc))) {
			got = append(got, fmt.Sprintf("%s %s", f.Severity, f.Pointer))
		}
		if s := strings.Join(got, ","); s != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.doc[:min(len(c.doc), 300)], s, c.want)
		}
	}
}

// What Validate lets pass can be read, and what it calls wrong is not what push makes.
func TestValidateAgreesWithParseOutline(t *testing.T) {
	docs := []string{
		imageOf(textDesc), imageOf(""), entryOf(imageDesc), `{"schemaVersion":2,"Layers":[]}`, `{"a":1,"a":2}`,
		with(imageOf(textDesc), `"manifests":[]`), imageOf(strings.Replace(textDesc, `"size":6`, `"size":-1`, 1)),
		imageOf(strings.Replace(textDesc, "sha256:58", "sha256:", 1)), `{"ſubject":1}`, `{"layers":{}}`, `{"layers":[[]]}`,
	}
	for _, doc := range docs {
		for _, kind := range store.ManifestTypes() {
			m := store.NewManifest(kind, []byte(doc))
			_, err := store.ParseOutline(m)
			if faults := Validate(m); err != nil && !HasErrors(faults) {
				t.Errorf("%s of %s: valid, and cannot be read: %v", doc, kind, err)
			}
		}
	}
}

func TestValidateLarge(t *testing.T) {
	doc := with(imageOf(textDesc), `"annotations":{"a":"`+strings.Repeat("x", portableManifest)+`"}`)
	faults := Validate(store.NewManifest(store.MediaTypeImage, []byte(doc)))
	if len(faults) != 1 || faults[0].Severity != SeverityWarning || faults[0].Pointer != "" {
		t.Errorf("%+v, want one warning about the size", faults)
	}
}

// FuzzValidate: no document of any kind breaks it or store.ParseOutline. The two
// agree, and what was read has digests and sizes that can be used as they are.
func FuzzValidate(f *testing.F) {
	for _, doc := range []string{
		imageOf(textDesc), entryOf(imageDesc), `{"a":"\ud800"}`, `[`, `{"layers":[{"platform":{}}]}`,
		`{"blobs":[` + textDesc + `],"refers":` + textDesc + `}`, `{"config":null,"layers":[null],"manifests":null}`, `{"layers":[{"digest":"sha256:../..","size":-1}]}`, `{"Layers":[]}`, "{} {}",
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, kind := range store.ManifestTypes() {
			m := store.Manifest{Descriptor: store.Descriptor{MediaType: kind, Digest: digest.FromBytes(doc), Size: int64(len(doc))}, Raw: doc}
			outline, err := store.ParseOutline(m)
			if faults := Validate(m); err != nil && !HasErrors(faults) {
				t.Errorf("valid, and cannot be read: %v", err)
			}
			if err == nil {
				checkEdges(t, outline)
			}
		}
	})
}

func checkEdges(t *testing.T, o *store.Outline) {
	t.Helper()
	edges := slices.Concat(o.Blobs(), o.Manifests)
	if o.Subject != nil {
		edges = append(edges, *o.Subject)
	}
	for _, d := range edges {
		if d.Digest.Validate() != nil || d.Size < 0 {
			t.Errorf("%q of %d bytes was read", d.Digest, d.Size)
		}
	}
}
