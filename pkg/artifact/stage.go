package artifact

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A packed directory is extracted into a stage, a hidden directory beside its
// final place. Only when all of it is there, and everything else of the
// artifact too, it is renamed: as a whole where nothing has its name, else entry
// by entry, where a new directory is one entry.
//
// A stage belongs to whoever holds the lock of the partial file that it is
// named after, which is there before the stage and goes after it.

// stageName is the name of the stage for the content of a partial file.
func stageName(partial string) string {
	return strings.TrimSuffix(partial, partialSuffix) + stageSuffix
}

// move is a rename that brings a part of a stage to its place.
type move struct {
	from, to string
	replace  bool // a link is in the way, which a rename of a directory does not replace
}

// moves lists what brings from, in the stage of a target, to its place. It is
// ErrExists, and nothing has moved, where something is in the way. busy are the
// names of partial files, which no entry may take.
func (u *unpacking) moves(t *target, from, to string, busy map[string]bool) ([]move, error) {
	staged, err := t.root.Lstat(filepath.FromSlash(from))
	if err != nil {
		return nil, err
	}
	there, err := t.root.Lstat(filepath.FromSlash(to))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []move{{from: from, to: to}}, nil
	case err != nil:
		return nil, err
	case busy[to]:
		return nil, inTheWay(t.root, to, there)
	case there.Mode()&fs.ModeSymlink != 0:
		return []move{{from: from, to: to, replace: staged.IsDir()}}, nil
	case staged.IsDir() != there.IsDir():
		return nil, inTheWay(t.root, to, there)
	case !staged.IsDir():
		return []move{{from: from, to: to}}, nil
	}
	if err := u.openMode(t.root, to, there.Mode().Perm()); err != nil {
		return nil, err
	}
	names, err := readNames(t.root, from)
	if err != nil {
		return nil, err
	}
	var all []move
	direct := false
	for _, name := range names {
		child := path.Join(to, name)
		more, err := u.moves(t, path.Join(from, name), child, busy)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
		direct = direct || len(more) > 0 && more[0].to == child
	}
	if direct {
		err = mayWrite(t.root, to)
	}
	return all, err
}

// mayWrite tries whether entries of a directory can be made and removed.
func mayWrite(root *os.Root, dir string) error {
	probe := filepath.FromSlash(path.Join(dir, ".probe."+rand.Text()+stageSuffix))
	if err := root.Mkdir(probe, 0o777); err != nil {
		return err
	}
	return root.Remove(probe)
}

// openedDir is a directory that had a mode without a right of its owner.
type openedDir struct {
	root *os.Root
	name string
	mode fs.FileMode
}

// openMode gives the owner of a directory all rights until closeModes.
func (u *unpacking) openMode(root *os.Root, name string, mode fs.FileMode) error {
	if mode&0o700 == 0o700 {
		return nil
	}
	err := root.Chmod(filepath.FromSlash(name), mode|0o700)
	if err == nil {
		u.opened = append(u.opened, openedDir{root, name, mode})
	}
	return err
}

// closeModes takes back what openMode gave.
func (u *unpacking) closeModes() (err error) {
	for i := len(u.opened) - 1; i >= 0; i-- { // a directory after those in it
		o := u.opened[i]
		err = errors.Join(err, narrow(o.root, o.name, o.mode))
	}
	u.opened = nil
	return err
}

// narrow takes the rights from a directory that are not in mode.
func narrow(root *os.Root, name string, mode fs.FileMode) error {
	name = filepath.FromSlash(name)
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	return root.Chmod(name, info.Mode().Perm()&mode)
}

// settle moves what is in the stage of a target to its place.
func (u *unpacking) settle(t *target, busy map[string]bool) error {
	moves, err := u.moves(t, t.stage, t.name, busy) // anew: an earlier target may lie in the same directory
	if err != nil {
		return err
	}
	for _, m := range moves {
		to := filepath.FromSlash(m.to)
		if m.replace {
			if err := t.root.Remove(to); err != nil {
				return err
			}
		}
		if err := t.root.Rename(filepath.FromSlash(m.from), to); err != nil {
			return err
		}
	}
	// Modes come last: a directory that must not be written cannot be moved.
	for i := len(t.closed) - 1; i >= 0; i-- {
		d := t.closed[i]
		if err := narrow(t.root, path.Join(t.name, d.rel), d.mode); err != nil {
			return err
		}
	}
	t.clearStage()
	t.part.discard()
	return nil
}

// clearStage removes the stage, as far as it can.
func (t *target) clearStage() {
	if t.stage != "" {
		_ = t.root.RemoveAll(filepath.FromSlash(t.stage)) // what is left, the next run removes
		t.stage = ""
	}
}

// busy are the names of the partial files of all targets below a root.
func (u *unpacking) busy(root *os.Root) map[string]bool {
	names := map[string]bool{}
	for _, t := range u.targets {
		if t.root == root && t.part != nil && t.part.file != nil {
			names[t.part.name] = true
		}
	}
	return names
}

// sweep removes what processes that died left of other content for the names
// of the targets, so that it is not taken for something to keep. What a running
// process holds stays, and so does what has a name that only looks alike.
func (u *unpacking) sweep() {
	type place struct {
		root *os.Root
		dir  string
	}
	prefixes := map[place]map[string]bool{}
	for _, t := range u.targets {
		dir, base := path.Split(partialName(t.name, digest.FromString("")))
		at := place{t.root, path.Clean(dir)}
		if prefixes[at] == nil {
			prefixes[at] = map[string]bool{}
		}
		prefixes[at][base[:len(base)-hashLength-len(partialSuffix)]] = true
	}
	for at, wanted := range prefixes {
		names, err := readNames(at.root, at.dir)
		if err != nil {
			continue
		}
		for _, name := range names {
			prefix, hash, ok := splitPartial(strings.TrimSuffix(name, "/"))
			if !ok || !wanted[prefix] || hash[digestLength:] != seal(prefix, hash[:digestLength]) {
				continue // the last is a name that a user gave
			}
			p := &partial{root: at.root, name: path.Join(at.dir, prefix+hash+partialSuffix)}
			if taken, err := p.take(); err == nil && taken {
				_ = at.root.RemoveAll(filepath.FromSlash(stageName(p.name)))
				p.discard()
			}
		}
	}
}

// splitPartial splits the name of a partial file, or of the stage that belongs
// to one, around its hash.
func splitPartial(name string) (prefix, hash string, ok bool) {
	name, isStage := strings.CutSuffix(name, stageSuffix)
	if !isStage {
		if name, ok = strings.CutSuffix(name, partialSuffix); !ok {
			return "", "", false
		}
	}
	i := len(name) - hashLength
	if i < 1 || name[i-1] != '.' || strings.Trim(name[i:], "0123456789abcdef") != "" {
		return "", "", false
	}
	return name[:i], name[i:], true
}
