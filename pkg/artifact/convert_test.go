package artifact_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

const (
	blobHello = `{"mediaType":"text/plain","digest":"sha256:51bc0fc1f19104fa6e89ce50be9aa1f57c3346c1ca51ab49f5f00e14ce8f8076","size":15}`
	emptyDesc = `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="}`
	imageHead = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":`
	subject   = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:06b1cb09176aa058846fe65d63a36173501e21b835e5b18d5122bf8934e52912","size":400}`
)

func artifactManifest(fields string) store.Manifest {
	return store.NewManifest(store.MediaTypeArtifact, []byte(`{"mediaType":"`+store.MediaTypeArtifact+`",`+fields+`}`))
}

// The digest was worked out by hand, without this program.
func TestToImageHasThePublishedDigest(t *testing.T) {
	old := artifactManifest(`"artifactType":"application/vnd.x.sig","blobs":[` + blobHello + `]`)
	if old.Digest != "sha256:a4aed4e8c79230c9b6c3ee3db64794e6f04fb257bbbe8b15967ad38d05c3c40a" || old.Size != 230 {
		t.Fatalf("the old manifest is not the published one: %s, %d bytes", old.Digest, old.Size)
	}
	image, err := artifact.ToImage(old, artifact.ConvertOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := store.Descriptor{
		MediaType: store.MediaTypeImage, Size: 411,
		Digest: "sha256:9e7999d716b1fd3ef8e069823af04d018094863d8a96d2f08ae259678b760690",
	}
	if diff := cmp.Diff(want, image.Descriptor); diff != "" {
		t.Errorf("%s\n%s", diff, image.Raw)
	}
}

func TestToImageCarriesFieldsOver(t *testing.T) {
	typed := `"artifactType":"a/b"`
	head := imageHead + `"a/b","config":` + emptyDesc + `,"layers":[`
	for _, c := range []struct {
		name, old, want string
		opts            artifact.ConvertOptions
	}{
		{"no blobs", typed, head + emptyDesc + `]}`, artifact.ConvertOptions{}},
		{"an empty list of blobs", typed + `,"blobs":[]`, head + emptyDesc + `]}`, artifact.ConvertOptions{}},
		{"null is absent", typed + `,"blobs":null,"subject":null,"annotations":null`, head + emptyDesc + `]}`, artifact.ConvertOptions{}},
		{"the same blob twice", typed + `,"blobs":[` + blobHello + `,` + blobHello + `]`, head + blobHello + `,` + blobHello + `]}`, artifact.ConvertOptions{}},
		{
			"a descriptor's unknown fields, order, escapes and numbers",
			typed + `, "blobs" : [ {"x":[1.50, {"y":"\u003c<&"}],"size":15, "digest":"sha256:51bc0fc1f19104fa6e89ce50be9aa1f57c3346c1ca51ab49f5f00e14ce8f8076","mediaType":"text\/plain"} ]`,
			head + `{"x":[1.50,{"y":"\u003c<&"}],"size":15,"digest":"sha256:51bc0fc1f19104fa6e89ce50be9aa1f57c3346c1ca51ab49f5f00e14ce8f8076","mediaType":"text\/plain"}]}`,
			artifact.ConvertOptions{},
		},
		{
			"subject and annotations, in the order of an image manifest",
			`"annotations":{"z":"<1>","a":"\u00e9"},"subject":` + subject + `,` + typed,
			head + emptyDesc + `],"subject":` + subject + `,"annotations":{"z":"<1>","a":"\u00e9"}}`,
			artifact.ConvertOptions{},
		},
		{"rc1's name of the subject", typed + `,"refers":` + subject, head + emptyDesc + `],"subject":` + subject + `}`, artifact.ConvertOptions{}},
		{"an artifact type that is given", `"artifactType":""`, imageHead + `"c/d","config":` + emptyDesc + `,"layers":[` + emptyDesc + `]}`, artifact.ConvertOptions{ArtifactType: "c/d"}},
		{"an artifact type where the field is missing", `"blobs":[]`, imageHead + `"c/d","config":` + emptyDesc + `,"layers":[` + emptyDesc + `]}`, artifact.ConvertOptions{ArtifactType: "c/d"}},
		{"its own artifact type before the given one", typed, head + emptyDesc + `]}`, artifact.ConvertOptions{ArtifactType: "c/d"}},
		{"unknown fields on request", `"b":{"a": 1},` + typed + `,"a":null`, head + emptyDesc + `],"b":{"a":1},"a":null}`, artifact.ConvertOptions{KeepUnknown: true}},
		{
			"annotations keep their names",
			typed + `,"annotations":{"org.opencontainers.artifact.created":"t"}`,
			head + emptyDesc + `],"annotations":{"org.opencontainers.artifact.created":"t"}}`,
			artifact.ConvertOptions{},
		},
		{
			"annotations get new names on request",
			typed + `,"annotations":{"\u0061":"b","org.opencontainers.artifact.created":"t","org.opencontainers.artifact.description":"<d>"}`,
			head + emptyDesc + `],"annotations":{"\u0061":"b","org.opencontainers.image.created":"t","org.opencontainers.image.description":"<d>"}}`,
			artifact.ConvertOptions{RenameAnnotations: true},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			image, err := artifact.ToImage(artifactManifest(c.old), c.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(image.Raw)); diff != "" {
				t.Error(diff)
			}
			if image.MediaType != store.MediaTypeImage || image.Digest != digest.FromBytes(image.Raw) || image.Size != int64(len(image.Raw)) {
				t.Errorf("it is named %+v", image.Descriptor)
			}
		})
	}
}

func TestToImageReadsEveryArtifactManifest(t *testing.T) {
	want, err := artifact.ToImage(artifactManifest(`"artifactType":"a/b","subject":`+subject), artifact.ConvertOptions{})
	if err != nil {
		t.Fatal(err)
	}
	orasType := `{"mediaType":"` + store.MediaTypeORASArtifact + `","artifactType":"a/b","subject":` + subject + `}`
	for name, m := range map[string]store.Manifest{
		"ORAS":              store.NewManifest(store.MediaTypeORASArtifact, []byte(orasType)),
		"without mediaType": store.NewManifest(store.MediaTypeArtifact, []byte(`{"artifactType":"a/b","subject":`+subject+`}`)),
		"indented":          store.NewManifest(store.MediaTypeArtifact, []byte("{\n  \"artifactType\": \"a/b\",\n  \"subject\": "+subject+"\n}\n")),
	} {
		image, err := artifact.ToImage(m, artifact.ConvertOptions{})
		if err != nil || image.Digest != want.Digest {
			t.Errorf("%s: %v\n%s", name, err, image.Raw)
		}
	}
}

// A digest by another algorithm stays one of that algorithm.
func TestToImageKeepsTheAlgorithm(t *testing.T) {
	m := artifactManifest(`"artifactType":"a/b"`)
	m.Digest = digest.SHA512.FromBytes(m.Raw)
	image, err := artifact.ToImage(m, artifact.ConvertOptions{})
	if err != nil || image.Digest != digest.SHA512.FromBytes(image.Raw) {
		t.Errorf("%s, %v", image.Digest, err)
	}
}

func TestToImageRefuses(t *testing.T) {
	typed := `"artifactType":"a/b"`
	for _, c := range []struct {
		name string
		m    store.Manifest
		opts artifact.ConvertOptions
		want error
		says string
	}{
		{"no artifact type", artifactManifest(`"blobs":[]`), artifact.ConvertOptions{}, store.ErrUsage, "no artifact type"},
		{"an empty artifact type", artifactManifest(`"artifactType":""`), artifact.ConvertOptions{}, store.ErrUsage, "no artifact type"},
		{"an artifact type that is none", artifactManifest(`"blobs":[]`), artifact.ConvertOptions{ArtifactType: "thing"}, store.ErrUsage, `"thing" is not a media type`},
		{"subject and refers", artifactManifest(typed + `,"subject":` + subject + `,"refers":` + subject), artifact.ConvertOptions{}, store.ErrInvalid, "both subject and refers"},
		{"unknown fields", artifactManifest(typed + `,"one":1,"two":2`), artifact.ConvertOptions{}, store.ErrUnsupported, `"one", "two"`},
		{"a field of images", artifactManifest(typed + `,"layers":[]`), artifact.ConvertOptions{KeepUnknown: true}, store.ErrUnsupported, `"layers"`},
		{"a config", artifactManifest(typed + `,"config":` + blobHello), artifact.ConvertOptions{KeepUnknown: true}, store.ErrUnsupported, `"config"`},
		{"a version", artifactManifest(typed + `,"schemaVersion":3`), artifact.ConvertOptions{KeepUnknown: true}, store.ErrUnsupported, `"schemaVersion"`},
		{"a name twice", artifactManifest(typed + `,` + typed), artifact.ConvertOptions{}, store.ErrInvalid, "twice"},
		{"no object", store.NewManifest(store.MediaTypeArtifact, []byte(`[]`)), artifact.ConvertOptions{}, store.ErrInvalid, "not a JSON object"},
		{"an image", store.NewManifest(store.MediaTypeImage, []byte(`{}`)), artifact.ConvertOptions{}, store.ErrUsage, "not an artifact manifest"},
		{
			"two annotations of one name",
			artifactManifest(typed + `,"annotations":{"org.opencontainers.image.created":"a","org.opencontainers.artifact.created":"b"}`),
			artifact.ConvertOptions{RenameAnnotations: true},
			store.ErrUsage, "two annotations",
		},
	} {
		_, err := artifact.ToImage(c.m, c.opts)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v, want %v that says %q", c.name, err, c.want, c.says)
		}
	}
}

// moveTo knows one manifest: old names it, new stands for it.
func moveTo(old digest.Digest, m store.Manifest) func(store.Descriptor) (store.Manifest, bool) {
	return func(d store.Descriptor) (store.Manifest, bool) { return m, d.Digest == old }
}

func TestRepointEditsNothingElse(t *testing.T) {
	old := artifactManifest(`"artifactType":"a/b"`)
	image, err := artifact.ToImage(old, artifact.ConvertOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := func(m store.Manifest) string {
		return fmt.Sprintf(`"digest" : "%s", "size":%d`, m.Digest, m.Size)
	}
	data := func(m store.Manifest) string { raw, _ := json.Marshal(m.Raw); return string(raw) }
	at := func(mediaType, artifactType string, m store.Manifest) string {
		return fmt.Sprintf(`{ "x":"\u003c<", %s , "mediaType":"%s","artifactType":"%s", "annotations":{"size":"1","digest":"d"},"data":%s,"platform":{"os":"linux"} }`,
			name(m), mediaType, artifactType, data(m))
	}
	from, to := at(store.MediaTypeArtifact, "stale", old), at(store.MediaTypeImage, "a/b", image)
	for _, c := range []struct{ name, mediaType, doc string }{
		{"subject", store.MediaTypeImage, "{ \"b\":1.0,\n\t\"subject\" : %s,\"config\":" + emptyDesc + ",\"annotations\":{\"a\":\"<\"} }\n"},
		{"refers", store.MediaTypeArtifact, `{"refers":%s}`},
		{"an entry of an index", store.MediaTypeIndex, `{"manifests":[ ` + subject + `, %s ,` + subject + ` ],"z":[],"a":{}}`},
		{"an entry of a Docker index", store.MediaTypeDockerIndex, `{"manifests":[%s]}`},
		{"subject and entry", store.MediaTypeIndex, `{"subject":%[1]s,"manifests":[%[1]s,%[1]s]}`},
	} {
		m := store.NewManifest(c.mediaType, fmt.Appendf(nil, c.doc, from))
		got, changed, err := artifact.Repoint(m, moveTo(old.Digest, image))
		if err != nil || !changed {
			t.Errorf("%s: %v, %v", c.name, changed, err)
			continue
		}
		want := store.NewManifest(c.mediaType, fmt.Appendf(nil, c.doc, to))
		if diff := cmp.Diff(string(want.Raw), string(got.Raw)); diff != "" || got.Digest != want.Digest || got.MediaType != c.mediaType {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestRepointLeavesTheRest(t *testing.T) {
	old := store.NewManifest(store.MediaTypeImage, []byte(`{}`))
	image := store.NewManifest(store.MediaTypeImage, []byte(`{"schemaVersion":2}`))
	entry := fmt.Sprintf(`{"mediaType":"a/b","digest":"%s","size":2}`, old.Digest)
	for _, c := range []struct {
		name, mediaType, doc string
		to                   store.Manifest
	}{
		{"a layer", store.MediaTypeImage, `{"layers":[` + entry + `]}`, image},
		{"refers of an image", store.MediaTypeImage, `{"refers":` + entry + `}`, image},
		{"an annotation", store.MediaTypeIndex, `{"annotations":{"subject":"` + string(old.Digest) + `"}}`, image},
		{"what did not move", store.MediaTypeIndex, `{"manifests":[` + subject + `],"subject":null}`, image},
		{"what stands for itself", store.MediaTypeIndex, `{"subject":` + entry + `}`, old},
	} {
		m := store.NewManifest(c.mediaType, []byte(c.doc))
		got, changed, err := artifact.Repoint(m, moveTo(old.Digest, c.to))
		if err != nil || changed || string(got.Raw) != c.doc || got.Digest != m.Digest {
			t.Errorf("%s: changed %v, %v\n%s", c.name, changed, err, got.Raw)
		}
	}
}

// A digest by another algorithm stays one of that algorithm.
func TestRepointKeepsTheAlgorithm(t *testing.T) {
	old, image := artifactManifest(`"artifactType":"a/b"`), store.NewManifest(store.MediaTypeImage, []byte(`{}`))
	m := store.Manifest{Raw: fmt.Appendf(nil, `{"subject":{"mediaType":"a/b","digest":"%s","size":1}}`, old.Digest)}
	m.MediaType, m.Digest = store.MediaTypeImage, digest.SHA512.FromBytes(m.Raw)
	if got, _, err := artifact.Repoint(m, moveTo(old.Digest, image)); err != nil || got.Digest != digest.SHA512.FromBytes(got.Raw) {
		t.Errorf("%s, %v", got.Digest, err)
	}
}

// URLs would go on to say where the old content is.
func TestRepointRefusesURLs(t *testing.T) {
	image := store.NewManifest(store.MediaTypeImage, []byte(`{}`))
	m := store.NewManifest(store.MediaTypeImage, []byte(`{"subject":{"mediaType":"a/b","digest":"`+string(digest.FromString("x"))+`","size":1,"urls":["https://example.com"]}}`))
	if _, _, err := artifact.Repoint(m, moveTo(digest.FromString("x"), image)); !errors.Is(err, store.ErrUnsupported) {
		t.Error(err)
	}
}

func TestIsSignature(t *testing.T) {
	layer := func(t string) *store.Outline { return &store.Outline{Layers: []store.Descriptor{{MediaType: t}}} }
	for _, c := range []struct {
		name string
		o    *store.Outline
		want bool
	}{
		{"notation", &store.Outline{ArtifactType: "application/vnd.cncf.notary.signature"}, true},
		{"notation before 1.0", &store.Outline{ArtifactType: "application/vnd.cncf.notary.v2.signature"}, true},
		{"cosign", layer("application/vnd.dev.cosign.simplesigning.v1+json"), true},
		{"bundle", layer("application/vnd.dev.sigstore.bundle.v0.3+json"), true},
		{"DSSE", layer("application/vnd.dsse.envelope.v1+json"), true},
		{"in-toto", layer("application/vnd.in-toto+json"), true},
		{"a config's type", &store.Outline{Config: &store.Descriptor{MediaType: "application/vnd.cncf.notary.signature"}}, true},
		{"SBOM", &store.Outline{ArtifactType: "application/spdx+json", Layers: []store.Descriptor{{MediaType: "application/json"}}}, false},
	} {
		if got := artifact.IsSignature(c.o); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// FuzzRepoint: who moves nothing gets the same bytes, and who moves everything
// gets a document that differs in the descriptors alone.
func FuzzRepoint(f *testing.F) {
	f.Add([]byte(`{"subject":` + subject + `,"a":[1,{"b":null}]}`))
	f.Add([]byte("{ \"manifests\" :\t[ " + subject + " ,\n" + blobHello + "],\"x\" :1.0e5 }\n"))
	f.Add([]byte(`{"annotations":{"a":"\u003c\ud83d\ude00"},"manifests":null}`))
	to := store.NewManifest(store.MediaTypeImage, []byte(`{"schemaVersion":2}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, mediaType := range []string{store.MediaTypeIndex, store.MediaTypeArtifact} {
			m := store.NewManifest(mediaType, raw)
			before, err := store.ParseOutline(m)
			if err != nil {
				return
			}
			same, changed, err := artifact.Repoint(m, func(store.Descriptor) (store.Manifest, bool) { return store.Manifest{}, false })
			if err != nil || changed || string(same.Raw) != string(raw) {
				t.Fatalf("moving nothing: %v, %v\n%s\n%s", changed, err, raw, same.Raw)
			}
			moved, _, err := artifact.Repoint(m, func(store.Descriptor) (store.Manifest, bool) { return to, true })
			if err != nil {
				continue // URLs, or a name that has no place
			}
			after, err := store.ParseOutline(moved)
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, raw, moved.Raw)
			}
			if len(after.Manifests) != len(before.Manifests) || (after.Subject == nil) != (before.Subject == nil) || !cmp.Equal(after.Layers, before.Layers) || !cmp.Equal(after.Annotations, before.Annotations) {
				t.Fatalf("other edges:\n%s\n%s", raw, moved.Raw)
			}
		}
	})
}
