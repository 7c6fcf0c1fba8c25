package artifact

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// byType orders referrers for a comparison.
func byType(a, b store.Descriptor) int {
	return cmp.Or(cmp.Compare(a.ArtifactType, b.ArtifactType), cmp.Compare(a.Digest, b.Digest))
}

// compareConfigs looks into two configs: the value that differs says more than
// two digests.
func (c *comparison) compareConfigs(ctx context.Context, j *job, pair couple) error {
	at := slices.IndexFunc(j.list, func(d Difference) bool { return d.Kind == DiffConfig && d.Path == pair.path })
	if pair.from.Size > maxDiffJSON || pair.to.Size > maxDiffJSON {
		j.list[at].Why = fmt.Sprintf("not looked into: over %d bytes", maxDiffJSON)
		return nil
	}
	a, b, err := both(ctx, c, pair, readConfig)
	if err != nil {
		return err
	}
	list, why := diffDocuments(pair.path, a, b)
	j.list[at].Why = why
	j.list = append(j.list, list...)
	return nil
}

func readConfig(ctx context.Context, s store.Reader, d store.Descriptor) ([]byte, error) {
	b, err := s.Blob(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", d.Digest, err)
	}
	b.Descriptor = d
	return store.ReadBlob(ctx, b, maxDiffJSON)
}

// tarEntry is what is compared of an entry of a tar, and what else it has.
type tarEntry struct {
	kind    byte
	mode    fs.FileMode
	size    int64
	content digest.Digest // of a regular file
	link    string
	rest    string // times and owners, which alone are no difference worth a line
}

func (e tarEntry) String() string {
	switch e.kind {
	case tar.TypeDir:
		return fmt.Sprintf("%v directory", e.mode)
	case tar.TypeSymlink, tar.TypeLink:
		return fmt.Sprintf("%v link to %s", e.mode, e.link)
	case tar.TypeReg:
		return fmt.Sprintf("%v %s (%d bytes)", e.mode, e.content, e.size)
	}
	return fmt.Sprintf("%v type %q", e.mode, e.kind)
}

// compareContents compares the entries of two tars. Layers that are no tars
// have no entries to compare.
func (c *comparison) compareContents(ctx context.Context, pair couple) ([]Difference, error) {
	if !isTar(pair.from) || !isTar(pair.to) {
		return nil, nil
	}
	a, b, err := both(ctx, c, pair, readTar)
	if err != nil {
		return nil, err
	}
	return diffEntries(pair.path, a, b), nil
}

// isTar: a packed directory, or a layer of an image by its media type.
func isTar(d store.Descriptor) bool {
	return d.Annotations[AnnotationUnpack] == "true" ||
		strings.Contains(d.MediaType, ".tar") && d.Annotations["org.opencontainers.image.title"] == ""
}

func diffEntries(path string, a, b map[string]tarEntry) []Difference {
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, twice := a[name]; !twice {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var list []Difference
	rest := false
	for _, name := range names {
		x, inA := a[name]
		y, inB := b[name]
		at := join(path, "contents["+name+"]")
		switch {
		case !inA:
			list = append(list, added(DiffContent, at, y.String()))
		case !inB:
			list = append(list, removed(DiffContent, at, x.String()))
		case x.String() != y.String():
			list = append(list, changed(DiffContent, at, x.String(), y.String()))
		case x.rest != y.rest:
			rest = true
		}
	}
	if len(list) == 0 {
		why := "the same entries; the compression, or their order, differs"
		if rest {
			why = "the same entries, with other times or owners"
		}
		list = append(list, Difference{Path: join(path, "contents"), Kind: DiffContent, Change: Changed, Why: why})
	}
	return list
}

// readTar reads the entries of a tar, and proves the whole blob.
func readTar(ctx context.Context, s store.Reader, d store.Descriptor) (map[string]tarEntry, error) {
	b, err := s.Blob(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", d.Digest, err)
	}
	b.Descriptor = d
	packed, err := store.VerifyBlob(b).Open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	plain, err := newDecompressor(packed)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	limited := &limitedReader{ctx: ctx, r: plain, left: DefaultMaxUnpacked, limit: DefaultMaxUnpacked}
	all, err := readEntries(limited)
	if err == nil {
		_, err = io.Copy(io.Discard, struct{ io.Reader }{limited})
	}
	if err != nil && !errors.Is(err, store.ErrMismatch) && !errors.Is(err, store.ErrUnavailable) {
		err = invalidTar(err)
	}
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", d.Digest, err)
	}
	return all, nil
}

func readEntries(r io.Reader) (map[string]tarEntry, error) {
	all, times := map[string]tarEntry{}, map[string]int{}
	tr := tar.NewReader(r)
	var total int64
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if n == DefaultMaxEntries {
			return nil, fmt.Errorf("%w: more than %d entries", store.ErrTooLarge, DefaultMaxEntries)
		}
		if total += h.Size; total > DefaultMaxUnpacked || total < 0 { // a sparse entry is larger than its share
			return nil, fmt.Errorf("%w: it unpacks to more than %d bytes", store.ErrTooLarge, DefaultMaxUnpacked)
		}
		e := tarEntry{kind: h.Typeflag, mode: h.FileInfo().Mode(), size: h.Size, link: h.Linkname}
		e.rest = fmt.Sprint(h.ModTime.Unix(), h.Uid, h.Gid, h.Uname, h.Gname, h.PAXRecords)
		if h.Typeflag == tar.TypeReg {
			if e.content, err = digest.FromReader(tr); err != nil {
				return nil, err
			}
		}
		name := h.Name
		if times[name]++; times[name] > 1 {
			name += "#" + strconv.Itoa(times[name])
		}
		all[name] = e
	}
}
