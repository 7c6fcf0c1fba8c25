package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/store"
)

const (
	sum256 = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	sum512 = "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043"
)

func registry(host, repo string, tags ...string) store.Ref {
	return store.Ref{Scheme: store.SchemeRegistry, Host: host, Repo: repo, Tags: tags}
}

func layout(path string, tags ...string) store.Ref {
	return store.Ref{Scheme: store.SchemeLayout, Path: path, Tags: tags}
}

func TestParseRef(t *testing.T) {
	archive := store.Ref{Scheme: store.SchemeArchive, Path: "a.tar", Tags: []string{"v1"}}
	withTagAndDigest := registry("reg.io", "app", "v1")
	withTagAndDigest.Digest = sum256
	for in, want := range map[string]store.Ref{
		"reg.io/app":                     registry("reg.io", "app"),
		"reg.io/app:v1":                  registry("reg.io", "app", "v1"),
		"reg.io/app:V1.0_x-y":            registry("reg.io", "app", "V1.0_x-y"),
		"reg.io/app:v1,v2,latest":        registry("reg.io", "app", "v1", "v2", "latest"),
		"reg.io/a/b__c/d-e.f:v1":         registry("reg.io", "a/b__c/d-e.f", "v1"),
		"reg.io:5000/app":                registry("reg.io:5000", "app"),
		"reg.io:65535/app:v1":            registry("reg.io:65535", "app", "v1"),
		"localhost/app:v1":               registry("localhost", "app", "v1"),
		"localhost:5000/app":             registry("localhost:5000", "app"),
		"127.0.0.1:5000/app:v1":          registry("127.0.0.1:5000", "app", "v1"),
		"[::1]/app":                      registry("[::1]", "app"),
		"[::1]:5000/app:v1":              registry("[::1]:5000", "app", "v1"),
		"[2001:db8::1]:5000/a/b":         registry("[2001:db8::1]:5000", "a/b"),
		"Reg.IO/app":                     registry("Reg.IO", "app"),
		"reg.io/app@" + sum256:           registry("reg.io", "app").WithDigest(sum256),
		"reg.io/app@" + sum512:           registry("reg.io", "app").WithDigest(sum512),
		"reg.io/app:v1@" + sum256:        withTagAndDigest,
		"oci:dir":                        layout("dir"),
		"oci:dir:v1":                     layout("dir", "v1"),
		"oci:dir:v1,v2":                  layout("dir", "v1", "v2"),
		"oci:./a b/dir:v1":               layout("./a b/dir", "v1"),
		"oci:/abs/dir@" + sum256:         layout("/abs/dir").WithDigest(sum256),
		"oci:a:b/c":                      layout("a:b/c"),
		"oci:a:b/c:v1":                   layout("a:b/c", "v1"),
		"oci:/home/me@work/dir":          layout("/home/me@work/dir"),
		"oci:/home/me@work/dir:v1":       layout("/home/me@work/dir", "v1"),
		`oci:C:\layouts\a`:               layout(`C:\layouts\a`),
		`oci:C:\layouts\a:v1`:            layout(`C:\layouts\a`, "v1"),
		`oci:C:/layouts/a:v1`:            layout(`C:/layouts/a`, "v1"),
		`oci:\\server\share\a@` + sum256: layout(`\\server\share\a`).WithDigest(sum256),
		"tar:a.tar:v1":                   archive,
	} {
		got, err := store.ParseRef(in)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", in, err, diff)
			continue
		}
		if got.String() != in {
			t.Errorf("%s: String gives %s", in, got)
		}
	}
}

func TestParseRefBad(t *testing.T) {
	for in, reason := range map[string]string{
		"":                           "registry host",
		"app":                        "registry host",
		"app:v1":                     "registry host",
		"library/app:v1":             "registry host",
		"/app":                       "registry host",
		"alpine:3":                   "registry host",
		"app:2024":                   "registry host",
		"reg.io":                     "the repository is missing, as in reg.io/app",
		"reg.io:5000":                "the repository is missing, as in reg.io:5000/app",
		"localhost:5000":             "the repository is missing",
		"registry:50000":             "the repository is missing",
		"app.tar:v1":                 "tar:app.tar:v1",
		"./dir/app.tar:v1":           "tar:./dir/app.tar:v1",
		"dir/app.tar":                "tar:dir/app.tar",
		"oci://localhost:5000/a:v1":  "write localhost:5000/a:v1 for",
		"oci:///srv/layout:v1":       "oci:/srv/layout:v1",
		"tar://srv/a.tar:v1":         "tar:/srv/a.tar:v1",
		"@":                          "not a digest",
		":":                          "not a tag",
		"reg.io/":                    "not HOST",
		"reg.io/App":                 "lower case",
		"reg.io/App:v1":              "lower case",
		"reg.io/a//b":                "not HOST",
		"reg.io/../etc":              "not HOST",
		"reg.io/-a":                  "not HOST",
		"reg.io/a b":                 "not HOST",
		"reg.io/app:":                "not a tag",
		"reg.io/app:v1@":             "not a digest",
		"repo:v1@":                   "not a digest",
		"reg.io/app:.v1":             "not a tag",
		"reg.io/app:v1\n":            "not a tag",
		"reg.io/app:v 1":             "not a tag",
		"reg.io/app:v1,":             "not a tag",
		"reg.io/app:,v1":             "not a tag",
		"reg.io/app:v1,v1":           "twice",
		"a:v1,v1":                    "twice",
		"reg.io/app:v1,v2@" + sum256: "contradict",
		"reg.io/app@sha256:abc":      "not a digest",
		"reg.io/app@md5:d41d8cd98f00b204e9800998ecf8427e": "not a digest",
		"reg.io/app@" + sum256 + ":v1":                    "not a digest",
		"reg.io/app@" + strings.ToUpper(sum256):           "not a digest",
		"reg.io:99999/app":                                "not a port",
		"reg.io:0/app":                                    "not a port",
		"reg.io:x/app":                                    "not HOST",
		"reg.io:/app":                                     "not HOST",
		"::1/app":                                         "not HOST",
		"[::1/app":                                        "not HOST",
		"https://reg.io/app:v1":                           "scheme",
		"http://localhost:5000/app":                       "scheme",
		"reg.io/" + strings.Repeat("a", 300):              "not HOST",
		"reg.io/app:" + strings.Repeat("a", 129):          "not a tag",
		"oci:":                                            "path is missing",
		"oci::v1":                                         "path is missing",
		"oci:@" + sum256:                                  "path is missing",
		"oci:dir:":                                        "not a tag",
		"oci:dir@":                                        "not a digest",
		"oci:dir@v1":                                      "not a digest",
		"oci:dir:v1,v1":                                   "twice",
		"oci:dir:v1,v2@" + sum256:                         "contradict",
		"tar:":                                            "path is missing",
	} {
		_, err := store.ParseRef(in)
		var bad *store.RefError
		if !errors.Is(err, store.ErrBadReference) || !errors.As(err, &bad) {
			t.Errorf("%q: got %v, want ErrBadReference", in, err)
			continue
		}
		if bad.Ref != in || !strings.Contains(bad.Reason, reason) {
			t.Errorf("%q: got %v, want it to say %q", in, err, reason)
		}
	}
}

func TestParsePath(t *testing.T) {
	for in, want := range map[string]store.Ref{
		"dir:v1":          layout("dir", "v1"),
		"reg.io/app:v1":   layout("reg.io/app", "v1"),
		"oci:v1":          layout("oci", "v1"),
		".":               layout("."),
		"dir@" + sum256:   layout("dir").WithDigest(sum256),
		`C:\dir:v1`:       layout(`C:\dir`, "v1"),
		"UPPER/Case:v1+x": layout("UPPER/Case", "v1+x"),
	} {
		got, err := store.ParsePath(in, store.SchemeLayout)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", in, err, diff)
		}
	}
	for _, in := range []string{"", ":v1", "dir@x"} {
		if _, err := store.ParsePath(in, store.SchemeArchive); !errors.Is(err, store.ErrBadReference) {
			t.Errorf("%q: got %v", in, err)
		}
	}
}

func TestParseHost(t *testing.T) {
	for _, in := range []string{"reg.io", "reg.io:443", "localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000", "[::1]"} {
		if got, err := store.ParseHost(in); err != nil || got != in {
			t.Errorf("%s: got %q, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "registry", "reg.io/", "reg.io/app", "https://reg.io", "reg.io:", "reg.io:99999", "reg.io:0", "reg io", "reg.io\n",
		"user@reg.io", "reg.io?x", "::1", "oci:dir", "../etc", "reg.io#x",
	} {
		_, err := store.ParseHost(in)
		var bad *store.RefError
		if !errors.As(err, &bad) || bad.Ref != in {
			t.Errorf("%q: got %v", in, err)
		}
	}
}

func TestRefParts(t *testing.T) {
	ref := layout("dir").WithTags("example.com/foo:v1")
	if ref.Reference() != "example.com/foo:v1" || ref.Name() != "oci:dir" || ref.Display() != "dir" {
		t.Errorf("got %q, %q, %q", ref.Reference(), ref.Name(), ref.Display())
	}
	ref = registry("reg.io", "app", "v1", "v2")
	if ref.Reference() != "v1" || ref.Name() != "reg.io/app" || ref.Display() != "reg.io/app" {
		t.Errorf("got %q, %q, %q", ref.Reference(), ref.Name(), ref.Display())
	}
	ref.Digest = sum256
	if ref.Reference() != sum256 {
		t.Errorf("a digest decides over a tag, got %q", ref.Reference())
	}
	if got := registry("reg.io", "app").Reference(); got != "" {
		t.Errorf("got %q", got)
	}
	for ref, want := range map[string]bool{sum256: true, "v1": false, "sha256:x": false, "example.com/foo:v1": false, "": false} {
		if store.IsDigest(ref) != want {
			t.Errorf("IsDigest(%q) is not %v", ref, want)
		}
	}
}

// What ParseRef takes, String gives back in a form that means the same.
func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{
		"reg.io/app:v1,v2", "reg.io:5000/a/b@" + sum256, "[::1]:5000/app", "oci:C:\\dir:v1", "oci:a@b/c:v1", "tar:a.tar@" + sum256, "oci::", "a@b@c:d,e",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		ref, err := store.ParseRef(in)
		if err != nil {
			if !errors.Is(err, store.ErrBadReference) {
				t.Fatalf("%q: %v is not ErrBadReference", in, err)
			}
			return
		}
		again, err := store.ParseRef(ref.String())
		if diff := cmp.Diff(ref, again); err != nil || diff != "" {
			t.Fatalf("%q gives %q: %v\n%s", in, ref, err, diff)
		}
	})
}
