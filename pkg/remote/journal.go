package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/stet-oci/stet/internal/lockfile"
	"github.com/stet-oci/stet/pkg/store"
)

// The directory of Options.CacheDir in which uploads under way are noted, and for
// how long: registries clear away after a week, or sooner.
const (
	uploadsDir = "uploads"
	uploadAge  = 7 * 24 * time.Hour
	maxRecord  = 1 << 20
	// An entry is written when such a part of what was left has come: what came after
	// it is read again by the next process, not sent again. To write it waits for a
	// busy disk.
	savedPart = 32
)

// noted is an upload in the journal: what another process needs to go on with it.
// A nil one is one that is not kept. Nothing in it is trusted: where it is
// wrong, the upload begins anew.
type noted struct {
	path string
	lock *flock.Flock

	mu    sync.Mutex
	rec   record
	raw   bytes.Buffer // of rec: it is written a thousand times, and leaves nothing behind
	saved bool
}

// record is its file. The URL may hold a signature, so the file is for its
// owner alone.
type record struct {
	URL   string `json:"url"`
	Size  int64  `json:"size"`
	Marks []mark `json:"marks"`
}

// recall looks into the journal for an upload of the same content into the same
// repository, and takes it over. Content of unknown digest is known again by its
// beginning. Two processes do not go on with one upload: the second has no entry.
func (p *patching) recall(ctx context.Context) {
	if p.client.opts.CacheDir == "" || p.blob.Size <= markDistance {
		return // of unknown size is what is made while it is sent, and what can be read once
	}
	key, err := p.key(ctx)
	if err != nil {
		return
	}
	now := p.client.opts.Now()
	p.note = openNoted(filepath.Join(p.client.opts.CacheDir, uploadsDir), p.client.host+"/"+p.name+" "+key)
	rec, ok := p.note.load(now)
	if !ok || rec.Size != p.blob.Size {
		return
	}
	known := newMarks(rec.Size)
	known.all = rec.Marks
	u, err := p.client.resolve(rec.URL, nil)
	if err != nil || known.last().At > rec.Size {
		return
	}
	given := p.s
	p.s = &session{url: u}
	n, err := p.progress(ctx)
	if err != nil || n > rec.Size {
		p.s = given
		if outside(err) || ctx.Err() != nil {
			p.note.aside()
		} else {
			p.note.forget()
		}
		return
	}
	p.cancel(ctx, given)
	p.note.at(p.s.url)
	p.at, p.marks, p.resumed, p.inherited = n, known.upTo(n), true, true
	if p.blob.Digest == "" {
		from := p.marks.last()
		h, err := from.restore(algorithmOf(p.blob.Descriptor))
		if err != nil {
			p.restart(ctx)
			return
		}
		p.read = prefix{from.At, h.Sum(nil)}
	}
	p.client.opts.Events.Emit(store.Event{
		Kind: store.Retrying, Desc: p.blob.Descriptor, Name: store.NameOf(p.blob.Descriptor),
		Text: fmt.Sprintf("an earlier upload broke off; going on after %d of %d bytes", n, p.blob.Size),
	})
}

// again prepares the next try of an upload that another process began, and gives
// where it begins. What that one had sent may have been on its way when the
// registry was asked how much it has: who is told another place asks once more.
func (p *patching) again(ctx context.Context, err error, try int) int64 {
	if statusOf(err, http.StatusRequestedRangeNotSatisfiable) == nil || try >= p.retries() {
		p.restart(ctx)
		return 0
	}
	if pause(ctx, try) != nil {
		return p.at // interrupted: it stays as it is
	}
	p.goOn(ctx, err)
	p.client.opts.Events.Emit(store.Event{
		Kind: store.Retrying, Desc: p.blob.Descriptor, Name: store.NameOf(p.blob.Descriptor),
		Text: fmt.Sprintf("%s; going on after %d bytes", err, p.at),
	})
	return p.at
}

// key is what the journal knows content by: its digest, else its size and beginning.
func (p *patching) key(ctx context.Context) (string, error) {
	if p.blob.Digest != "" {
		return p.blob.Digest.String(), nil
	}
	rc, err := p.blob.Open(ctx, 0)
	if err != nil {
		return "", err
	}
	defer rc.Close()
	hash := sha256.New()
	if _, err := io.CopyN(hash, rc, markDistance); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %x", p.blob.Size, hash.Sum(nil)), nil
}

// openNoted takes the entry for itself. It gives nil where that is not possible,
// or where another process has it.
func openNoted(dir, key string) *noted {
	if os.MkdirAll(dir, 0o700) != nil {
		return nil
	}
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(dir, hex.EncodeToString(sum[:16]))
	lock := tryLock(path + lockSuffix)
	if lock == nil {
		return nil
	}
	return &noted{path: path, lock: lock}
}

// lockSuffix ends the name of the lock beside an entry.
const lockSuffix = ".lock"

// tryLock takes a lock, and gives nil where another process has it, also one that
// is about to remove it: a lock on a file that nobody else finds keeps nobody out.
func tryLock(path string) *flock.Flock {
	lock, err := lockfile.New(path)
	if err != nil {
		return nil
	}
	if taken, err := lock.TryLock(); err != nil || !taken {
		return nil
	}
	mine, err := lock.Stat()
	there, lost := os.Stat(path)
	if err != nil || lost != nil || !os.SameFile(mine, there) {
		_ = lock.Unlock()
		return nil
	}
	return lock
}

// load reads the entry, and clears away what nobody came back for.
func (e *noted) load(now time.Time) (rec record, ok bool) {
	if e == nil {
		return rec, false
	}
	clearOld(filepath.Dir(e.path), now)
	f, err := os.OpenFile(e.path, os.O_RDONLY|lockfile.NoFollow|lockfile.NoWait, 0)
	if err != nil {
		return rec, false
	}
	defer f.Close()
	if json.NewDecoder(io.LimitReader(f, maxRecord)).Decode(&rec) != nil {
		return record{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rec, e.saved = rec, true
	return rec, true
}

// clearOld removes old entries, and old locks that nobody holds.
func clearOld(dir string, now time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, f := range entries {
		info, err := f.Info()
		if err != nil || now.Sub(info.ModTime()) <= uploadAge {
			continue
		}
		path := filepath.Join(dir, f.Name())
		if !strings.HasSuffix(path, lockSuffix) {
			_ = os.Remove(path)
		} else if lock := tryLock(path); lock != nil {
			_ = os.Remove(path)
			_ = lock.Unlock()
		}
	}
}

// at notes where the upload is gone on with.
func (e *noted) at(u *url.URL) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rec.URL = u.String()
	if len(e.rec.Marks) > 0 {
		e.save()
	}
}

// keep notes what the hash knows of the content that was read, where enough of it
// has come since the last time.
func (e *noted) keep(size int64, m *marks) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if last := (&marks{all: e.rec.Marks}).last().At; e.saved && m.last().At-last < (size-last)/savedPart {
		return
	}
	e.rec.Size, e.rec.Marks = size, append(e.rec.Marks[:0], m.all...) // which is made thinner in its place
	e.save()
}

// save writes the file; the caller holds mu. That it fails only means that the
// next process begins anew.
func (e *noted) save() {
	e.raw.Reset()
	if e.rec.URL == "" || json.NewEncoder(&e.raw).Encode(&e.rec) != nil {
		return
	}
	if e.write(e.path+".new") == nil && os.Rename(e.path+".new", e.path) == nil {
		e.saved = true
	}
}

// write writes a new file in place of what has the name.
func (e *noted) write(name string) error {
	_ = os.Remove(name)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(e.raw.Bytes())
	return errors.Join(err, f.Close())
}

// forget drops what was noted: the upload begins anew.
func (e *noted) forget() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rec, e.saved = record{}, false
	_ = os.Remove(e.path)
}

// aside leaves what was noted for another process, until something newer is: the
// registry was not to be asked about it now.
func (e *noted) aside() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rec = record{}
}

// end gives the entry back, and says whether it stays for another process.
func (e *noted) end(stays bool) bool {
	if e == nil {
		return false
	}
	e.mu.Lock()
	stays = stays && e.saved
	e.mu.Unlock()
	if !stays {
		e.forget()
		_ = os.Remove(e.lock.Path())
	}
	_ = e.lock.Unlock()
	return stays
}
