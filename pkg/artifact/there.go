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
// it need not be fetched. A file of another account is never what it is to be: its
// owner could change it when it was found to be right.
func isThere(ctx context.Context, t *target, info fs.FileInfo) bool {
	switch {
	case t.unpack:
		return info.IsDir() && hasTree(ctx, t)
	case !info.Mode().IsRegular() || info.Size() != t.desc.Size || !isMine(info):
		return false
	}
	return hasDigest(ctx, t, info)
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
	return err == nil && got == want && allMine(t.root, t.name)
}

// allMine says whether all files and links below a directory are this user's. It does
// not ask for directories: a pull keeps those that are there, so that fetching anew
// would change nothing.
func allMine(root *os.Root, name string) bool {
	err := fs.WalkDir(root.FS(), name, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && !isMine(info) {
			err = fs.ErrPermission
		}
		return err
	})
	return err == nil
}

// hasDigest reads the file that was looked at.
func hasDigest(ctx context.Context, t *target, looked fs.FileInfo) bool {
	f, err := t.root.Open(filepath.FromSlash(t.name))
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !os.SameFile(info, looked) {
		return false
	}
	want := t.desc.Digest
	sum := want.Algorithm().Hash()
	_, err = copyContext(ctx, sum, f, info.Size())
	return err == nil && digest.NewDigest(want.Algorithm(), sum) == want
}
