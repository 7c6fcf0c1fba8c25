package remote_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
	"github.com/stet-oci/stet/pkg/store/storetest"
)

// thirtyMiB is long enough for 5 % of it to be more than what lies in buffers.
func thirtyMiB() store.Blob {
	raw := make([]byte, 30<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(raw)
	return store.NewBlob("", raw)
}

// cutOff puts b with a client that does not go on, as one that is killed, and
// gives the directory of its notes.
func cutOff(t *testing.T, c *cutter, b store.Blob) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := c.open(t, remote.Options{Retries: -1, CacheDir: dir}).PutBlob(t.Context(), b); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("the first try ended with %v", err)
	}
	return dir
}

// An upload that broke off is gone on with by the next process: only the rest is
// sent, whether the digest is known or not, and of a blob of known digest, which
// may come from another registry, only the rest is read.
func TestNextProcessGoesOn(t *testing.T) {
	big := thirtyMiB()
	for _, share := range []int64{20, 50, 90} {
		for kind, b := range map[string]store.Blob{"named": big, "unnamed": nameless(big, big.Size)} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				c := startCutter(t, serve.Quirks{}, big.Size*share/100)
				dir := cutOff(t, c, b)
				read, counted := countReads(b)
				put, err := c.open(t, remote.Options{CacheDir: dir}).PutBlob(t.Context(), counted)
				if err != nil || put.Digest != big.Digest {
					t.Fatalf("got %+v, %v", put, err)
				}
				if _, came := c.counted(""); came > big.Size*105/100 {
					t.Errorf("%d bytes were sent of %d", came, big.Size)
				}
				if n := read.Load(); kind == "named" && n > big.Size*(105-share)/100+1<<20 {
					t.Errorf("%d bytes were read after %d %%", n, share)
				}
				if left := notes(t, dir); len(left) > 0 {
					t.Errorf("notes are left: %q", left)
				}
			})
		}
	}
}

// Who begins again at once finds that what the first had sent is still on its way: the
// registry has more than it said a moment ago. Nothing is sent again for that.
func TestNextProcessIsTooSoon(t *testing.T) {
	big := thirtyMiB()
	for kind, b := range map[string]store.Blob{"named": big, "unnamed": nameless(big, big.Size)} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := startCutter(t, serve.Quirks{}, 20<<20)
			dir := cutOff(t, c, b)
			c.says(fmt.Sprintf("0-%d", 12<<20), true)
			put, err := c.open(t, remote.Options{CacheDir: dir}).PutBlob(t.Context(), b)
			if err != nil || put.Digest != big.Digest {
				t.Fatalf("got %+v, %v", put, err)
			}
			if posts, came := c.counted(http.MethodPost); came > big.Size*105/100+8<<20 || posts > 2 {
				t.Errorf("%d bytes were sent of %d, in %d uploads", came, big.Size, posts)
			}
		})
	}
}

// Who is not allowed to go on, because a login has run out, may be later: nothing
// that was sent is lost, also where it is tried again before.
func TestGoesOnAfterLogin(t *testing.T) {
	big := thirtyMiB()
	reads := func(method string) bool { return method == "GET" || method == "HEAD" }
	for _, status := range []int{401, 403} {
		for kind, b := range map[string]store.Blob{"named": big, "unnamed": nameless(big, big.Size)} {
			for way, allowed := range map[string]func(method string) bool{
				"":              func(string) bool { return false },
				", but to read": reads,
			} {
				t.Run(fmt.Sprint(status, " ", kind, way), func(t *testing.T) {
					t.Parallel()
					c, dir := startCutter(t, serve.Quirks{}), t.TempDir()
					opts := remote.Options{Retries: 3, CacheDir: dir, ChunkSize: 20 << 20}
					fails := func(deny func(method string, nth int) bool) {
						t.Helper()
						c.denies(func(method string, nth int) int {
							if deny(method, nth) {
								return status
							}
							return 0
						})
						_, err := c.open(t, opts).PutBlob(t.Context(), b)
						if !errors.Is(err, store.ErrDenied) && !errors.Is(err, store.ErrUnauthorized) {
							t.Fatalf("got %v", err)
						}
					}
					if b.Digest != "" {
						fails(func(method string, nth int) bool { return method == "PATCH" && nth == 2 })
					} else { // which chunks of a size are not for
						c.cutsAt(20 << 20)
						dir = cutOff(t, c, b)
					}
					opts = remote.Options{Retries: 3, CacheDir: dir}
					fails(func(method string, _ int) bool { return !allowed(method) })
					c.denies(nil)
					if n, _ := c.counted("DELETE"); n > 0 {
						t.Error("the upload was given up")
					}
					put, err := c.open(t, opts).PutBlob(t.Context(), b)
					if _, came := c.counted(""); err != nil || put.Digest != big.Digest || came > big.Size*105/100 {
						t.Errorf("got %+v, %v; %d bytes came of %d", put, err, came, big.Size)
					}
				})
			}
		}
	}
}

// A source that cannot be read any more may come back; what the registry refused
// for what it is does not.
func TestWhatEndsAnUpload(t *testing.T) {
	big := thirtyMiB()
	broken := storetest.Broken(big, 20<<20, &fs.PathError{Op: "read", Path: "big", Err: errors.New("no such device")})
	for name, tc := range map[string]struct {
		blob  store.Blob
		deny  int
		stays bool
	}{
		"the source breaks":      {blob: broken, stays: true},
		"the content is refused": {blob: big, deny: 400},
		"the content is other":   {blob: storetest.Broken(big, 20<<20, io.EOF)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCutter(t, serve.Quirks{})
			c.denies(func(method string, _ int) int {
				if method == "PUT" {
					return tc.deny
				}
				return 0
			})
			dir := t.TempDir()
			if _, err := c.open(t, remote.Options{Retries: 3, CacheDir: dir}).PutBlob(t.Context(), tc.blob); err == nil {
				t.Fatal("it went through")
			}
			given, _ := c.counted("DELETE")
			if stays := given == 0 && len(notes(t, dir)) > 0; stays != tc.stays {
				t.Errorf("the upload stays: %v", stays)
			}
		})
	}
}

func notes(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "uploads", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Whatever is wrong with the notes, or has changed since, costs no more than
// beginning anew.
func TestNotesMayBeWrong(t *testing.T) {
	big := thirtyMiB()
	raw, err := store.ReadBlob(t.Context(), big, big.Size)
	if err != nil {
		t.Fatal(err)
	}
	early, late := bytes.Clone(raw), bytes.Clone(raw)
	early[3<<20] ^= 1
	late[15<<20-100] ^= 1 // after the last mark that was noted, and sent
	edit := func(do func(rec map[string]any)) func(*testing.T, string) {
		return func(t *testing.T, file string) {
			text, err := os.ReadFile(file)
			rec := map[string]any{}
			if err == nil {
				err = json.Unmarshal(text, &rec)
			}
			do(rec)
			if text, _ = json.Marshal(rec); err == nil {
				err = os.WriteFile(file, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name  string
		raw   []byte
		spoil func(t *testing.T, file string)
	}{
		{name: "another content from early on", raw: early},
		{name: "another content where nothing was noted", raw: late},
		{name: "no JSON", raw: raw, spoil: func(t *testing.T, file string) {
			if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "an upload that is not there", raw: raw, spoil: edit(func(rec map[string]any) {
			rec["url"] = strings.Replace(rec["url"].(string), "/uploads/", "/uploads/0", 1)
		})},
		{name: "no URL", raw: raw, spoil: edit(func(rec map[string]any) { rec["url"] = "ftp://x/" })},
		{name: "another size", raw: raw, spoil: edit(func(rec map[string]any) { rec["size"] = 7 })},
		{name: "a mark of nonsense", raw: raw, spoil: edit(func(rec map[string]any) {
			marks := rec["marks"].([]any)
			marks[len(marks)-1].(map[string]any)["state"] = "AAAA"
		})},
		{name: "the state of another content", raw: raw, spoil: edit(func(rec map[string]any) {
			marks := rec["marks"].([]any)
			marks[len(marks)-1].(map[string]any)["state"] = marks[0].(map[string]any)["state"]
		})},
		{name: "too old", raw: raw, spoil: func(t *testing.T, file string) {
			if err := os.Chtimes(file, time.Time{}, time.Now().Add(-8*24*time.Hour)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		for _, named := range []bool{true, false} {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				c := startCutter(t, serve.Quirks{}, big.Size/2)
				first, second := big, store.NewBlob("", tc.raw)
				want := second.Digest
				if !named {
					first, second = nameless(first, big.Size), nameless(second, big.Size)
				}
				dir := cutOff(t, c, first)
				for _, file := range notes(t, dir) {
					if tc.spoil != nil && !strings.HasSuffix(file, ".lock") {
						tc.spoil(t, file)
					}
				}
				s := c.open(t, remote.Options{CacheDir: dir})
				put, err := s.PutBlob(t.Context(), second)
				if err != nil || put.Digest != want {
					t.Errorf("named=%v: got %+v, %v", named, put, err)
				}
				if b, err := s.Blob(t.Context(), put.Descriptor); err != nil || b.Size != big.Size {
					t.Errorf("named=%v: %v", named, err)
				}
			})
		}
	}
}

// Of two processes that put the same blob at once, one alone uses the notes.
func TestNotesAreForOne(t *testing.T) {
	t.Parallel()
	big := thirtyMiB()
	c := startCutter(t, serve.Quirks{}, big.Size/2)
	dir := cutOff(t, c, big)
	held, release := make(chan struct{}), make(chan struct{})
	slow := big
	slow.Open = func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		close(held)
		<-release
		return big.Open(ctx, offset)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.open(t, remote.Options{CacheDir: dir}).PutBlob(context.Background(), slow)
		ended <- err
	}()
	<-held
	_, err := c.open(t, remote.Options{CacheDir: dir}).PutBlob(t.Context(), big)
	close(release)
	if other := <-ended; err != nil || other != nil {
		t.Errorf("got %v and %v", err, other)
	}
	if _, came := c.counted(""); came > big.Size*205/100 {
		t.Errorf("%d bytes came", came)
	}
}

// What nobody came back for is cleared away, with its locks: but for those that
// are held, by an upload that takes long, and those of today.
func TestOldNotesGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, "uploads", name) }
	if err := os.Mkdir(filepath.Join(dir, "uploads"), 0o700); err != nil {
		t.Fatal(err)
	}
	held := flock.New(at("held.lock"))
	if taken, err := held.TryLock(); err != nil || !taken {
		t.Fatal(taken, err)
	}
	defer held.Unlock()
	for name, days := range map[string]time.Duration{"old": 8, "old.lock": 8, "held.lock": 8, "young": 1, "young.lock": 1} {
		f, err := os.OpenFile(at(name), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if err := os.Chtimes(at(name), time.Time{}, time.Now().Add(-days*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	c := startCutter(t, serve.Quirks{})
	if _, err := c.open(t, remote.Options{CacheDir: dir}).PutBlob(t.Context(), fiveMiB()); err != nil {
		t.Fatal(err)
	}
	if got, want := notes(t, dir), []string{at("held.lock"), at("young"), at("young.lock")}; !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}

// Notes may hold a signed URL: they are for their owner alone.
func TestNotesAreSecret(t *testing.T) {
	t.Parallel()
	big := thirtyMiB()
	dir := cutOff(t, startCutter(t, serve.Quirks{}, big.Size/2), big)
	for _, file := range append(notes(t, dir), filepath.Join(dir, "uploads")) {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
}
