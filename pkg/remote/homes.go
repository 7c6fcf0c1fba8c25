package remote

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// The file of Options.CacheDir that says which repositories have which blobs, and
// its bounds.
const (
	homesFile  = "blobs"
	mostHomes  = 10_000  // lines that are kept when the file gets too long
	homesBytes = 4 << 20 // which is when
	homesEach  = 4       // repositories of one blob, the last ones
	homesLine  = 4 << 10 // a longer line is none
)

// homes remembers where blobs were put, so that another repository of the same
// registry mounts what would be sent. It may be wrong, which costs one request.
// The nil homes remembers nothing.
//
// The file has a line for each thing learnt, "+DIGEST HOST/REPOSITORY SIZE", or "-"
// where it was no longer so; the last one counts. "+single-post HOST/" says that
// the host stores a blob by one POST. Several processes add to it.
type homes struct {
	path, host string

	once sync.Once
	mu   sync.Mutex
	of   map[digest.Digest][]string // repositories of the host
	size map[int64]bool             // of blobs that the host has
	post store.Answer               // whether the host stores a blob by one POST
}

// postName stands in a line for a digest, and then there is no repository.
const postName = "single-post"

func newHomes(dir, host string) *homes {
	if dir == "" {
		return nil
	}
	return &homes{path: filepath.Join(dir, homesFile), host: host}
}

// find gives a repository that has the blob: the given one if it does; "" where
// none is known.
func (h *homes) find(d digest.Digest, self string) string {
	if h == nil {
		return ""
	}
	h.once.Do(h.load)
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.of[d]
	switch {
	case slices.Contains(all, self):
		return self
	case len(all) > 0:
		return all[len(all)-1]
	}
	return ""
}

// hasSize says whether the host has a blob of that size: content of unknown digest
// may be it, and is worth being read for its digest.
func (h *homes) hasSize(size int64) bool {
	if h == nil {
		return false
	}
	h.once.Do(h.load)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.size[size]
}

// add notes that the repository has the blob.
func (h *homes) add(d digest.Digest, size int64, repo string) {
	if h == nil {
		return
	}
	h.once.Do(h.load)
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.of[d], repo) {
		return
	}
	h.set('+', d, repo)
	h.size[size] = true
	h.write(fmt.Sprintf("+%s %s/%s %d\n", d, h.host, repo, size))
}

// drop notes that the repository does not give the blob, or, where it refused,
// gives none: that is not noted for others, who may be let in.
func (h *homes) drop(d digest.Digest, repo string, refused bool) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if refused {
		for d := range h.of {
			h.set('-', d, repo)
		}
		return
	}
	h.set('-', d, repo)
	h.write("-" + d.String() + " " + h.host + "/" + repo + "\n")
}

// singlePost is what was learnt of the host.
func (h *homes) singlePost() store.Answer {
	if h == nil {
		return store.Unknown
	}
	h.once.Do(h.load)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.post
}

// learnPost notes whether the host stores a blob by one POST.
func (h *homes) learnPost(answer store.Answer) {
	if h == nil {
		return
	}
	h.once.Do(h.load)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.post == answer {
		return
	}
	h.post = answer
	sign := "-"
	if answer == store.Yes {
		sign = "+"
	}
	h.write(sign + postName + " " + h.host + "/\n")
}

// set changes the map; the caller holds mu.
func (h *homes) set(sign byte, d digest.Digest, repo string) {
	all := slices.DeleteFunc(h.of[d], func(r string) bool { return r == repo })
	if sign == '+' {
		all = append(all, repo)
	}
	h.of[d] = all[max(0, len(all)-homesEach):]
}

// write adds a line. That it fails only means that less is known.
func (h *homes) write(line string) {
	if os.MkdirAll(filepath.Dir(h.path), 0o700) != nil {
		return
	}
	f, err := os.OpenFile(h.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, _ = f.WriteString(line)
	_ = f.Close()
}

// load reads what is known of this host, and shortens a file that is too long.
func (h *homes) load() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of, h.size = map[digest.Digest][]string{}, map[int64]bool{}
	raw, err := os.ReadFile(h.path)
	if err != nil {
		return
	}
	if len(raw) > homesBytes {
		raw = h.shorten(raw)
	}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, homesLine)
	for lines.Scan() {
		h.read(lines.Text())
	}
}

// read takes a line, if it is one about this host; the caller holds mu.
func (h *homes) read(line string) {
	name, place, _ := strings.Cut(line, " ")
	place, size, _ := strings.Cut(place, " ")
	repo, same := strings.CutPrefix(place, h.host+"/")
	if !same || name == "" || name[0] != '+' && name[0] != '-' {
		return
	}
	d := digest.Digest(name[1:])
	switch {
	case name[1:] == postName && name[0] == '+':
		h.post = store.Yes
	case name[1:] == postName:
		h.post = store.No
	case repo != "" && d.Validate() == nil:
		h.set(name[0], d, repo)
		if n, err := strconv.ParseInt(size, 10, 64); err == nil {
			h.size[n] = true
		}
	}
}

// shorten keeps the last lines of the file. What another process adds meanwhile
// is lost, which costs no more than sending it.
func (h *homes) shorten(raw []byte) []byte {
	lines := bytes.SplitAfter(raw, []byte("\n"))
	kept := bytes.Join(lines[max(0, len(lines)-mostHomes):], nil)
	if len(kept) > homesBytes {
		kept = nil // no line of ours is that long
	}
	next := h.path + ".new"
	if os.WriteFile(next, kept, 0o600) == nil {
		_ = os.Rename(next, h.path)
	}
	return kept
}
