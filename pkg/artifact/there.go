package artifact

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// isThere says whether what a target is to be lies in its place already, so that
// it need not be fetched.
func isThere(ctx context.Context, t *target, info fs.FileInfo) bool {
	switch {
	case t.unpack:
		return info.IsDir() && hasTree(ctx, t)
	case !info.Mode().IsRegular() || info.Size() != t.desc.Size:
		return false
	}
	return hasDigest(ctx, t.root, t.name, t.desc.Digest)
}

// hasTree packs a directory, as Pack does without further wishes, and looks
// whether the tar is the one that the artifact names. It is where Pack made
// both; a tar with times or other modes, or of another program, is not told
// from another one, and fetched again.
func hasTree(ctx context.Context, t *target) bool {
	want := digest.Digest(t.desc.Annotations[AnnotationContentDigest])
	if want == "" {
		return false
	}
	d := &directory{path: t.path, prefix: t.title, compress: None, anyPath: true}
	if err := d.survey(ctx); err != nil {
		return false
	}
	got, err := d.write(ctx, io.Discard)
	return err == nil && got == want
}

func hasDigest(ctx context.Context, root *os.Root, name string, d digest.Digest) bool {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false
	}
	sum := d.Algorithm().Hash()
	_, err = copyContext(ctx, sum, f, info.Size())
	return err == nil && digest.NewDigest(d.Algorithm(), sum) == d
}
