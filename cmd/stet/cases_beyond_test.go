package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// What an owner of the registry or of the network can try beyond the table of
// cases; docs/security-model.md tells of them.

// Many manifests, each as large as one may be: what is held of them together has
// a bound, whether they are as large as they are named or larger.
func TestBeyondManyLargeManifests(t *testing.T) {
	t.Parallel()
	s := newShelf()
	root := s.artifact(nil, "v1")
	large := func(i int) []byte {
		return []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"n":"%02d","x":"%s"}`, imageType, i, strings.Repeat("x", 4<<20-200)))
	}
	lists, numbers := map[string]int64{"as-named": int64(len(large(0))), "larger": 100}, map[string]int{}
	all := make([]store.Descriptor, 64)
	for i := range all {
		all[i] = store.Descriptor{MediaType: imageType, Digest: digest.FromBytes(large(i))}
		numbers[all[i].Digest.Encoded()] = i
	}
	for tag, size := range lists {
		children := slices.Clone(all)
		for i := range children {
			if children[i].Size = size; tag == "larger" {
				children[i].Digest = digest.FromString(fmt.Sprint(tag, i))
				numbers[children[i].Digest.Encoded()] = i
			}
		}
		s.index(children, tag)
		s.set("/v2/app/referrers/"+root.Digest.String(), item{indexType, []byte(indexOf(children...)), ""})
	}
	h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		_, name, _ := strings.Cut(r.URL.Path, "/manifests/sha256:")
		if i, is := numbers[name]; is {
			w.Header().Set("Content-Type", imageType)
			w.Write(large(i))
			return
		}
		s.ServeHTTP(w, r)
	})
	d := newDesk(t)
	d.Memory = 128 << 20
	for tag := range lists {
		d.stet(quick("pull", h.Name()+"/app:"+tag)...).fails(6, 7)
		d.stet(quick("cp", h.Name()+"/app:"+tag, "oci:copy:v1")...).fails(6, 7)
		if o := d.stet(quick("verify", h.Name()+"/app:"+tag)...); o.Code == 0 {
			t.Errorf("%s", o)
		}
	}
	if o := d.stet(quick("cp", "-r", h.Name()+"/app:v1", "oci:copy:v1")...); o.Code == 0 {
		t.Errorf("%s", o)
	}
	near(h, int64(len(lists)*64*3*4<<20))
}

// Lists of large pages without an end, whose entries are as small as can be or
// as large.
func TestBeyondLargePages(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.artifact(nil, "v1")
	var short, long []string
	var refs []store.Descriptor
	for i := range 20_000 {
		short, long = append(short, "t"), append(long, fmt.Sprintf("tag-%0120d-N", i))
		if i < 5000 {
			refs = append(refs, store.Descriptor{MediaType: imageType, ArtifactType: "a/b", Digest: digest.FromString(fmt.Sprint(i)), Size: 500})
		}
	}
	pages := map[string]string{
		"/v2/short/tags/list": asJSON(map[string]any{"tags": short}), "/v2/long/tags/list": asJSON(map[string]any{"tags": long}),
	}
	var count atomic.Int64
	h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
		n := count.Add(1)
		page, kind := pages[r.URL.Path], "application/json"
		if strings.Contains(r.URL.Path, "/referrers/") {
			page, kind = strings.ReplaceAll(indexOf(refs...), `"size":500`, fmt.Sprintf(`"size":%d`, n)), indexType
		}
		if page == "" {
			s.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d>; rel="next"`, r.URL.Path, n))
		io.WriteString(w, strings.ReplaceAll(page, "N", fmt.Sprint(n)))
	})
	for _, args := range [][]string{
		{"repo", "tags", h.Name() + "/short"}, {"repo", "tags", h.Name() + "/long"}, {"cp", "-a", h.Name() + "/long", "oci:copy"}, {"cp", "-r", h.Name() + "/app:v1", "oci:copy:v1"},
	} {
		d := newDesk(t)
		d.Memory = 96 << 20
		d.stet(args...).fails(6)
	}
}

// Headers and interim answers without an end, and what is no HTTP.
func TestBeyondRawAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(net.Conn){
		"header of 100 MB": func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nX: ")
			pour(c)
		},
		"many headers": func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n")
			for i := range 1 << 22 {
				if _, err := fmt.Fprintf(c, "X-%d: y\r\n", i); err != nil {
					return
				}
			}
		},
		"interim answers": func(c net.Conn) {
			for {
				if _, err := fmt.Fprint(c, "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"); err != nil {
					return
				}
			}
		},
		"noise": func(c net.Conn) { pour(c) },
		"both lengths": func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: "+imageType+"\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{} \r\n0\r\n\r\n")
		},
		"a large chunk": func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: "+imageType+"\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}")
		},
		"trailers": func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: "+imageType+"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ")
			pour(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						buf := make([]byte, 4096)
						c.Read(buf)
						answer(c)
					}()
				}
			}()
			o := newDesk(t).stet(quick("manifest", "fetch", strings.Replace(l.Addr().String(), "127.0.0.1", "localhost", 1)+"/app:v1")...)
			if o.Code != 8 && name != "both lengths" {
				t.Errorf("%s", o)
			}
		})
	}
}

// Sizes that are only claimed: nothing is set aside for them.
func TestBeyondClaimedSizes(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1 << 33, 1 << 50, 1<<63 - 1} {
		for _, ranges := range []bool{false, true} {
			s := newShelf()
			layer := s.file("data.bin", content)
			layer.Size = size
			s.artifact([]store.Descriptor{layer}, "v1")
			h := newHostile(t, func(w http.ResponseWriter, r *http.Request) {
				if !isBlob(r) || !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
					s.ServeHTTP(w, r)
					return
				}
				var from, to int64
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err == nil && ranges {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, size))
					w.Header().Set("Content-Length", fmt.Sprint(to-from+1))
					w.WriteHeader(206)
					io.WriteString(w, content[:1000])
					panic(http.ErrAbortHandler)
				}
				w.Header().Set("Content-Length", fmt.Sprint(size))
				io.WriteString(w, content)
				panic(http.ErrAbortHandler)
			})
			d := newDesk(t)
			o := d.stet(append([]string{"pull"}, quick(h.Name()+"/app:v1")...)...)
			o.fails(7, 8)
			d.leftAlone()
			h.atMost(20)
			for _, f := range d.files() {
				if info, err := os.Stat(filepath.Join(d.Dir, f)); err != nil || info.Size() > 1<<20 {
					t.Errorf("%s has %d bytes: %v", f, info.Size(), err)
				}
			}
		}
	}
}
