package artifact

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/store"
)

// benchTree is a directory that looks like a tree of sources: many small files
// of text that compresses as such text does.
func benchTree(b *testing.B) (dir string, size int64) {
	b.Helper()
	dir = filepath.Join(b.TempDir(), "tree")
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 4000)
	for i := range words {
		words[i] = fmt.Sprintf("%x", r.Uint64()>>(r.UintN(40)+16))
	}
	const files = 2000
	for i := range files {
		var text bytes.Buffer
		for want := 1<<10 + r.IntN(32<<10); text.Len() < want; {
			text.WriteString(words[int(float64(len(words))*r.Float64()*r.Float64())])
			text.WriteByte(" \n\t("[r.IntN(4)])
		}
		name := filepath.Join(dir, fmt.Sprintf("d%d", i%37), fmt.Sprintf("e%d", i%5), fmt.Sprintf("f%d.go", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, text.Bytes(), 0o666); err != nil {
			b.Fatal(err)
		}
		size += int64(text.Len())
	}
	return dir, size
}

// BenchmarkPack packs a tree of sources and hashes what comes out.
func BenchmarkPack(b *testing.B) {
	dir, size := benchTree(b)
	for _, c := range []Compression{Gzip, Zstd, None} {
		b.Run(string(c), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				p, err := Pack(b.Context(), PackRequest{Dir: filepath.Dir(dir), Files: []File{{Path: "tree"}}, Compression: c})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Hash(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUnpack unpacks a tree of sources into an empty directory.
func BenchmarkUnpack(b *testing.B) {
	dir, size := benchTree(b)
	for _, c := range []Compression{Gzip, Zstd, None} {
		b.Run(string(c), func(b *testing.B) {
			src := local.NewMemory()
			p, err := Pack(b.Context(), PackRequest{Dir: filepath.Dir(dir), Files: []File{{Path: "tree"}}, Compression: c})
			if err != nil {
				b.Fatal(err)
			}
			descs := make([]store.Descriptor, len(p.Blobs))
			for i, blob := range p.Blobs {
				put, err := src.PutBlob(b.Context(), blob)
				if err != nil {
					b.Fatal(err)
				}
				descs[i] = put.Descriptor
			}
			m, err := p.Finish(descs)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(size)
			for b.Loop() {
				if _, err := Unpack(b.Context(), src, m, UnpackOptions{Dir: b.TempDir()}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
