package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/store"
)

func desc(mediaType string, size int64) store.Descriptor {
	return store.Descriptor{MediaType: mediaType, Digest: sum256, Size: size}
}

// Documents are written with 'x' for "x", and D1 for the descriptor desc("t/1", 1).
func document(s string) []byte {
	s = strings.ReplaceAll(s, "'", `"`)
	for _, n := range []string{"1", "2", "3"} {
		s = strings.ReplaceAll(s, "D"+n, `{"mediaType":"t/`+n+`","digest":"`+sum256+`","size":`+n+`}`)
	}
	return []byte(s)
}

func TestParseOutline(t *testing.T) {
	one, two, three := desc("t/1", 1), desc("t/2", 2), desc("t/3", 3)
	for name, tc := range map[string]struct {
		mediaType, doc string
		want           store.Outline
	}{
		"image": {
			store.MediaTypeImage, `{'schemaVersion':2,'mediaType':'` + store.MediaTypeImage +
				`','artifactType':'a/b','config':D1,'layers':[D2,D2],'subject':D3,'annotations':{'k':'v','K':'V'}}`,
			store.Outline{
				MediaType: store.MediaTypeImage, ArtifactType: "a/b", Config: &one, Layers: []store.Descriptor{two, two}, Subject: &three,
				Annotations: map[string]string{"k": "v", "K": "V"},
			},
		},
		"image of spec 1.0, whose type is its config's": {
			store.MediaTypeImage, `{'schemaVersion':2,'config':D1,'layers':[D2]}`,
			store.Outline{ArtifactType: "t/1", Config: &one, Layers: []store.Descriptor{two}},
		},
		"docker image": {
			store.MediaTypeDockerImage, `{'mediaType':'` + store.MediaTypeDockerImage + `','config':D1,'layers':[D2]}`,
			store.Outline{MediaType: store.MediaTypeDockerImage, ArtifactType: "t/1", Config: &one, Layers: []store.Descriptor{two}},
		},
		"index": {
			store.MediaTypeIndex, `{'artifactType':'a/b','manifests':[D1,D2],'subject':D3}`,
			store.Outline{ArtifactType: "a/b", Manifests: []store.Descriptor{one, two}, Subject: &three},
		},
		"docker index": {
			store.MediaTypeDockerIndex, `{'manifests':[D1]}`,
			store.Outline{Manifests: []store.Descriptor{one}},
		},
		"artifact manifest of rc2": {
			store.MediaTypeArtifact, `{'mediaType':'` + store.MediaTypeArtifact + `','artifactType':'a/b','blobs':[D1],'subject':D3}`,
			store.Outline{MediaType: store.MediaTypeArtifact, ArtifactType: "a/b", Layers: []store.Descriptor{one}, Subject: &three},
		},
		"artifact manifest of rc1": {
			store.MediaTypeArtifact, `{'artifactType':'a/b','blobs':[D1],'refers':D3}`,
			store.Outline{ArtifactType: "a/b", Layers: []store.Descriptor{one}, Subject: &three},
		},
		"ORAS artifact manifest": {
			store.MediaTypeORASArtifact, `{'artifactType':'a/b','blobs':[D1],'subject':D3}`,
			store.Outline{ArtifactType: "a/b", Layers: []store.Descriptor{one}, Subject: &three},
		},
		"nothing":                      {store.MediaTypeImage, " {} \n", store.Outline{}},
		"fields that nobody knows yet": {store.MediaTypeImage, `{'future':{'a':[1,{'b':null}]},'Other':1.5e300}`, store.Outline{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := store.ParseOutline(store.NewManifest(tc.mediaType, document(tc.doc)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseOutlineBad(t *testing.T) {
	digest := "'digest':'" + sum256 + "'"
	for name, doc := range map[string]string{
		"empty":                          ``,
		"null":                           `null`,
		"a list":                         `[]`,
		"a string":                       `'x'`,
		"cut":                            `{'layers':[`,
		"not UTF-8":                      "{'annotations':{'k':'\xff'}}",
		"data after it":                  `{} {}`,
		"a byte after it":                `{}x`,
		"a name twice":                   `{'layers':[D1],'layers':[D2]}`,
		"a name twice, escaped":          `{'layers':[D1],'l\u0061yers':[D2]}`,
		"a name in two cases":            `{'layers':[D1],'Layers':[D2]}`,
		"a name in a case that Go folds": `{'future':1,'FUTURE':2}`,
		"a field in another case":        `{'Layers':[D1]}`,
		"a field with a long s":          `{'layerſ':[D1]}`,
		"a platform in another case":     `{'manifests':[{'mediaType':'t','digest':'` + sum256 + `','size':1,'Platform':{'os':'linux','architecture':'arm64'}}]}`,
		"a system in another case":       `{'manifests':[{'mediaType':'t','digest':'` + sum256 + `','size':1,'platform':{'OS':'linux','architecture':'arm64'}}]}`,
		"urls in another case":           `{'layers':[{'mediaType':'t','digest':'` + sum256 + `','size':1,'URLs':['https://a']}]}`,
		"a digest in another case":       `{'layers':[{'mediaType':'t','Digest':'` + sum256 + `','size':1}]}`,
		"a name twice inside":            `{'layers':[{'size':1,'size':2,` + digest + `}]}`,
		"an annotation twice":            `{'annotations':{'k':'1','k':'2'}}`,
		"another media type":             `{'mediaType':'` + store.MediaTypeIndex + `'}`,
		"manifests and layers":           `{'manifests':[D1],'layers':[D2]}`,
		"manifests and config":           `{'manifests':[D1],'config':D2}`,
		"manifests and blobs":            `{'manifests':[D1],'blobs':[D2]}`,
		"no manifests and layers":        `{'manifests':[],'layers':[]}`,
		"subject and refers":             `{'subject':D1,'refers':D2}`,
		"a short digest":                 `{'layers':[{'digest':'sha256:abc','size':1}]}`,
		"a path as digest":               `{'layers':[{'digest':'../../etc/passwd','size':1}]}`,
		"no digest":                      `{'layers':[{'size':1}]}`,
		"an unknown algorithm":           `{'config':{'digest':'md5:d41d8cd98f00b204e9800998ecf8427e','size':1}}`,
		"a bad digest of the subject":    `{'subject':{'digest':'x','size':1}}`,
		"a negative size":                `{'config':{'size':-1,` + digest + `}}`,
		"a size that is no integer":      `{'config':{'size':1.5,` + digest + `}}`,
		"a size over 64 bits":            `{'config':{'size':99999999999999999999,` + digest + `}}`,
		"no size":                        `{'config':{` + digest + `}}`,
		"a null size":                    `{'layers':[{'size':null,` + digest + `}]}`,
		"a null config":                  `{'config':null}`,
		"null layers":                    `{'layers':null}`,
		"more values than its size has":  `{'x':[` + strings.Repeat("1,", 100_000) + `1]}`,
		"an annotation that is no text":  `{'annotations':{'k':1}}`,
		"deep lists":                     `{'x':` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`,
		"deep objects":                   strings.Repeat(`{'x':`, 300) + "1" + strings.Repeat("}", 300),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := store.ParseOutline(store.NewManifest(store.MediaTypeImage, document(doc)))
			if !errors.Is(err, store.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
}

func TestParseOutlineUnknownKind(t *testing.T) {
	for _, mediaType := range []string{"", "application/json", "application/vnd.docker.distribution.manifest.v1+prettyjws"} {
		_, err := store.ParseOutline(store.NewManifest(mediaType, []byte("{}")))
		if !errors.Is(err, store.ErrUnsupported) || store.IsManifestType(mediaType) {
			t.Errorf("%q: got %v", mediaType, err)
		}
	}
}

func TestOutlineBlobs(t *testing.T) {
	one, two := desc("t/1", 1), desc("t/2", 2)
	o := store.Outline{Config: &one, Layers: []store.Descriptor{two}}
	if diff := cmp.Diff([]store.Descriptor{one, two}, o.Blobs()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	o.Config = nil
	if diff := cmp.Diff([]store.Descriptor{two}, o.Blobs()); diff != "" {
		t.Errorf("without config (-want +got):\n%s", diff)
	}
}

func TestCheckJSON(t *testing.T) {
	for _, doc := range []string{
		`{}`, `[]`, `null`, `"x"`, `1`, " {}\n", `{"a":{"b":1},"b":[{"b":2},{"b":3}]}`, `{"annotations":{"a":"1","A":"2"}}`, `{"Layers":1}`,
		strings.Repeat("[", 200) + strings.Repeat("]", 200),
	} {
		if err := store.CheckJSON([]byte(doc)); err != nil {
			t.Errorf("%.40s: %v", doc, err)
		}
	}
	for _, doc := range []string{
		``, ` `, `{`, `}`, `[1,]`, `[,1]`, `[1 2]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `nul`, `01`, `"x`, `{}{}`, `{}]`,
		"\ufeff{}", `{"a":1,"A":2}`, `{"a":1,"a":1}`, `[{"a":[{"k":1,"K":2}]}]`, `{"annotations":{"a":1,"a":2}}`, `{"x":"` + "\xff" + `"}`,
		strings.Repeat("[", 201) + strings.Repeat("]", 201),
	} {
		if err := store.CheckJSON([]byte(doc)); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%.40s: got %v, want ErrInvalid", doc, err)
		}
	}
}

func TestCheckDigest(t *testing.T) {
	for _, d := range []string{sum256, sum512} {
		if err := store.CheckDigest(desc(d, 0).Digest); err != nil {
			t.Error(err)
		}
	}
	if err := store.CheckDigest("sha256:../x"); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
