package artifact

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"unicode/utf8"

	"github.com/stet-oci/stet/pkg/store"

	"github.com/opencontainers/go-digest"
)

// partial is a file under a name that nobody takes for the final one, in the
// same directory, so that one rename ends it. Its name is made of the final
// name and the digest: after kill -9 the next run finds it and goes on. A lock
// keeps two running processes apart.
type partial struct {
	root *os.Root
	name string // below root
	file *os.File
}

// The parts of the names of partial files and of stages.
const (
	digestLength  = 12 // digits of the digest
	sealLength    = 4  // digits that tell such names from those that a user gave
	hashLength    = digestLength + sealLength
	partialSuffix = ".partial"
	stageSuffix   = ".dir" + partialSuffix
)

// partialName is the name for content of a digest that will be called name.
func partialName(name string, d digest.Digest) string {
	dir, base := path.Split(name)
	const room = maxName - len("..") - hashLength - len(stageSuffix)
	if len(base) > room {
		base = base[:room]
		for !utf8.ValidString(base) && len(base) > room-utf8.UTFMax { // not in the middle of a letter
			base = base[:len(base)-1]
		}
	}
	prefix, short := "."+base+".", d.Encoded()[:digestLength]
	return dir + prefix + short + seal(prefix, short) + partialSuffix
}

// seal is what the digits of a digest in a name end with. What has the right ones was
// made by this program, so that it may be removed again.
func seal(prefix, short string) string {
	return digest.FromString(prefix + short).Encoded()[:sealLength]
}

// openPartial opens the partial file for name, taking over what a dead process
// left. Where another process is at work on it, or something else than a file
// has its name, a new one with a random name is opened. With staged, the name of its
// stage is free as well.
func openPartial(root *os.Root, name string, d digest.Digest, staged bool) (*partial, error) {
	p := &partial{root: root, name: partialName(name, d)}
	for range 10 {
		taken, err := p.take()
		if err == nil && taken && staged && root.RemoveAll(filepath.FromSlash(stageName(p.name))) != nil {
			p.discard() // another user's stage is in the way
			taken = false
		}
		if err != nil || taken {
			return p, err
		}
		var random [digestLength / 2]byte
		_, _ = rand.Read(random[:]) // never fails: crypto/rand's contract
		// In place of the digest's digits, so that the name is as long.
		p.name = partialName(name, digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(random[:])))
	}
	return p, fmt.Errorf("%w: %s", store.ErrLocked, p.name)
}

// take opens and locks the file, and makes it if need be. It is false where
// the name is not to be had.
func (p *partial) take() (bool, error) {
	name := filepath.FromSlash(p.name)
	for range 10 {
		flags := os.O_RDWR
		before, err := p.root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			flags |= os.O_CREATE | os.O_EXCL
		case err != nil:
			return false, err
		case !before.Mode().IsRegular():
			return false, nil // never opened: a link may lead anywhere, a pipe blocks
		}
		f, err := p.root.OpenFile(name, flags, 0o666)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			continue // it came or went in between
		}
		if errors.Is(err, fs.ErrPermission) && before != nil {
			return false, nil // another user's
		}
		if err != nil {
			return false, err
		}
		locked, err := lockFile(f)
		if err != nil || !locked {
			f.Close()
			return false, err
		}
		// Before the lock was ours, its owner may have renamed or removed it.
		now, err := p.root.Lstat(name)
		opened, statErr := f.Stat()
		if statErr == nil && before != nil && !isOurs(opened) {
			f.Close()
			return false, nil // its name can be foreseen, and others may write into the directory
		}
		if err == nil && statErr == nil && now.Mode().IsRegular() && os.SameFile(now, opened) {
			p.file = f
			return true, nil
		}
		f.Close()
	}
	return false, nil
}

// fill makes the file the content of blob, proven but not yet synced. What a dead process left is kept
// when the whole then has the digest; otherwise it starts over, once.
func (p *partial) fill(ctx context.Context, blob store.Blob, want store.Descriptor) error {
	sum := want.Digest.Algorithm().Hash()
	have, err := p.hashExisting(ctx, sum, want.Size)
	if err != nil {
		return err
	}
	if have > 0 {
		err := p.appendFrom(ctx, blob, want, have, sum)
		again := errors.Is(err, store.ErrMismatch) || errors.Is(err, store.ErrRange) || errors.Is(err, store.ErrUnsupported)
		if !again {
			return err
		}
		if err := p.truncate(); err != nil {
			return err
		}
		sum.Reset()
	}
	return p.appendFrom(ctx, blob, want, 0, sum)
}

func (p *partial) truncate() error {
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// hashExisting hashes what is in the file and leaves it at its end. A file
// that is longer than the content is emptied.
func (p *partial) hashExisting(ctx context.Context, sum hash.Hash, size int64) (int64, error) {
	info, err := p.file.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() > size {
		return 0, p.truncate()
	}
	return copyContext(ctx, sum, p.file, size)
}

// appendFrom adds what follows the first have bytes, and proves the whole.
func (p *partial) appendFrom(ctx context.Context, blob store.Blob, want store.Descriptor, have int64, sum hash.Hash) error {
	if have < want.Size {
		rc, err := blob.Open(ctx, have)
		if err != nil {
			return err
		}
		n, err := copyContext(ctx, io.MultiWriter(p.file, sum), rc, want.Size-have)
		if closeErr := rc.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
		have += n
	}
	if have != want.Size {
		return fmt.Errorf("%w: %s ends after %d of %d bytes", store.ErrMismatch, want.Digest, have, want.Size)
	}
	if got := digest.NewDigest(want.Digest.Algorithm(), sum); got != want.Digest {
		return fmt.Errorf("%w: expected %s, got %s", store.ErrMismatch, want.Digest, got)
	}
	return nil
}

// copyContext copies at most limit bytes; one more is ErrMismatch. It stops
// when ctx does.
func copyContext(ctx context.Context, w io.Writer, r io.Reader, limit int64) (int64, error) {
	buf := make([]byte, min(copyBuffer-1, limit)+1) // a limit comes from outside and may be the largest number
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := r.Read(buf)
		if n += int64(m); n > limit {
			return n, fmt.Errorf("%w: there are more than %d bytes", store.ErrMismatch, limit)
		}
		if _, err := w.Write(buf[:m]); err != nil {
			return n, err
		}
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		}
	}
}

// sync makes the content last, as it must before it has its final name.
func (p *partial) sync() error { return p.file.Sync() }

// commit gives the file its final name; a file or link of that name is
// replaced.
func (p *partial) commit(name string) error {
	f := p.file
	p.file = nil
	if err := p.still(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if closeBeforeRename {
		if err := f.Close(); err != nil {
			return err
		}
		return p.root.Rename(filepath.FromSlash(p.name), filepath.FromSlash(name))
	}
	err := p.root.Rename(filepath.FromSlash(p.name), filepath.FromSlash(name))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// still says whether the name is that of the file that was proven: it is the name
// that is renamed.
func (p *partial) still(f *os.File) error {
	proven, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := p.root.Lstat(filepath.FromSlash(p.name))
	if err == nil && !os.SameFile(now, proven) {
		err = fmt.Errorf("%w: %s is another file by now", store.ErrExists, filepath.Join(p.root.Name(), filepath.FromSlash(p.name)))
	}
	return err
}

// leave closes the file and leaves it for the next run to go on from. It is
// false where there is nothing that a next run could find, or less than least bytes.
func (p *partial) leave(name string, d digest.Digest, least int64) bool {
	if p == nil || p.file == nil || p.name != partialName(name, d) {
		return false
	}
	if info, err := p.file.Stat(); err != nil || info.Size() < least {
		return false
	}
	_ = p.file.Close() // what is not on the disk yet is missed by its digest
	p.file = nil
	return true
}

// discard removes the file, unless it was committed.
func (p *partial) discard() {
	if p == nil || p.file == nil {
		return
	}
	if closeBeforeRename {
		_ = p.file.Close()
	}
	_ = p.root.Remove(filepath.FromSlash(p.name)) // nothing more can be done about it
	_ = p.file.Close()
	p.file = nil
}
