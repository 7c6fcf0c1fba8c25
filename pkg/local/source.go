package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/stet-oci/stet/pkg/store"
)

// AnnotationSource stands in the index.json of a layout that is a backup, and says
// of which repository. Other tools pass over it.
const AnnotationSource = "io.github.stet-oci.repository"

// SourceError says that a path is the backup of another repository. It is ErrExists.
type SourceError struct{ Path, Have, Want string }

func (e *SourceError) Error() string {
	return fmt.Sprintf("%v: %s is the backup of %s, not of %s", store.ErrExists, e.Path, e.Have, e.Want)
}

// Unwrap makes it an ErrExists.
func (e *SourceError) Unwrap() error { return store.ErrExists }

// source is of what repository a layout is, or is to be, the backup; "" of none.
type source struct {
	name    string
	replace bool // it may have been that of another
}

// source of the layout of a repository of a registry, "" of a layout alone.
func (o LayoutOptions) source(repository string) source {
	if o.Source == nil {
		return source{}
	}
	return source{o.Source(repository), o.Replace}
}

// check is ErrExists where the layout with this index, which lies where, is the backup of
// another repository.
func (s source) check(x *index, where string) error {
	if have := x.annotation(AnnotationSource); s.name != "" && have != "" && have != s.name && !s.replace {
		return &SourceError{where, have, s.name}
	}
	return nil
}

// annotation is one of the index itself, "" where it has none of the name.
func (x *index) annotation(name string) string {
	var notes map[string]string
	if at := x.fields.find("annotations"); at < 0 || json.Unmarshal(x.fields[at].value, &notes) != nil {
		return ""
	}
	return notes[name]
}

// annotate sets an annotation of the index itself. All others stay as they are.
func (x *index) annotate(name, value string) error {
	fields, err := withNote(x.fields, name, value)
	if err == nil {
		x.fields = fields
	}
	return err
}

// look is an error where a layout that is there cannot be opened, or be the backup
// that it should be. One that is not there may come.
func (l *layout) look() error {
	root, err := l.root()
	if errors.Is(err, store.ErrNotFound) {
		if root, err = l.open(false); err != nil || l.source.name == "" {
			return nil
		}
		defer root.Close()
		return l.strangers(root)
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if l.source.name == "" {
		return nil
	}
	x, err := l.index(root)
	if err != nil {
		return err
	}
	return l.source.check(x, l.dir)
}

// claim makes the layout the backup of its source before anything is put into it,
// so that of two backups that begin at one time the second finds out.
func (l *layout) claim(ctx context.Context, root *os.Root) error {
	l.mu.Lock()
	done := l.claimed || l.source.name == ""
	l.mu.Unlock()
	if done {
		return nil
	}
	unlock, err := l.lock(ctx, root)
	if err != nil {
		return l.fail(err)
	}
	defer unlock()
	if err := l.claimLocked(root); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claimed = true
	return nil
}

func (l *layout) claimLocked(root *os.Root) error {
	x := newIndex()
	if !exists(root, indexFile) {
		if err := l.strangers(root); err != nil { // another backup may just have come
			return err
		}
	} else {
		l.mu.Lock()
		l.seen = nil // read for certain, whatever its time says
		l.mu.Unlock()
		old, err := l.index(root)
		if err == nil {
			err = l.source.check(old, l.dir)
		}
		if err != nil || old.annotation(AnnotationSource) == l.source.name {
			return err
		}
		x = old.clone()
	}
	if err := x.annotate(AnnotationSource, l.source.name); err != nil {
		return l.fail(err)
	}
	return l.fail(l.writeFile(root, indexFile, x.bytes()))
}

// begin makes the directory of a repository where it is not there yet. It is
// ErrExists where a layout has come to lie at the top meanwhile, which would hide it.
func (r *layouts) begin(ctx context.Context, place string) error {
	if place == "." {
		return nil
	}
	top, err := r.open(".", true)
	if err != nil {
		return err
	}
	defer top.Close()
	unlock, err := newLayout(r.dir, r.opts).lock(ctx, top)
	if err != nil {
		return err
	}
	defer unlock()
	if r.root == "" && (exists(top, indexFile) || exists(top, layoutFile)) {
		return fmt.Errorf("%w: %s is the backup of one repository; several need a path of their own", store.ErrExists, r.dir)
	}
	return top.MkdirAll(filepath.FromSlash(place), 0o777)
}

// look is that of a layout.
func (a *archive) look() error {
	if l := a.layouts[a.dir]; l != nil {
		return a.source.check(l.index, a.path())
	}
	return nil
}

// path names a layout in an archive.
func (a *archive) path() string {
	if a.dir == "." {
		return a.file
	}
	return path.Join(filepath.ToSlash(a.file), a.dir)
}

// claim is that of a layout, for one in an archive. The caller holds mu and the lock
// on the file.
func (a *archive) claim() error {
	if a.source.name == "" {
		return nil
	}
	_, single := a.layouts["."]
	if a.dir != "." && single && a.root == "" || a.dir == "." && !single && len(a.layouts) > 0 {
		return fmt.Errorf("%w: another backup, of another form, has just been written to %s", store.ErrExists, a.file)
	}
	l := a.writable()
	if err := a.source.check(l.index, a.path()); err != nil {
		return err
	}
	if l.index.annotation(AnnotationSource) == a.source.name {
		return nil
	}
	l.index = l.index.clone() // who reads the old one goes on
	return l.index.annotate(AnnotationSource, a.source.name)
}
