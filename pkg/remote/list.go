package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// The bounds of a list; reaching one is an error, never a silent end.
const (
	maxPages      = 10_000
	maxEmptyPages = 3 // in a row
	maxListNames  = 500_000

	maxNameBytes     = 16 << 20 // of all pages of names, which may all come in one
	maxReferrerBytes = 8 << 20  // of all pages of referrers: twenty thousand; read, they take several times as much
)

// listBounds are the bytes that a page, and all pages together, may have.
type listBounds struct{ page, all int64 }

func boundsOfNames(o Options) listBounds {
	return listBounds{max(o.MaxManifest, maxNameBytes), maxNameBytes}
}

func boundsOfReferrers(o Options) listBounds { return listBounds{o.MaxManifest, maxReferrerBytes} }

// Tags lists the tags of the repository. It follows Link for as long as there
// is one, whatever the pages hold (distribution-spec "Listing Tags").
func (r *repository) Tags(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		req := r.request(wire.TagList)
		req.N, req.Last = wire.NoLimit, after
		list := nameList{client: r.client, req: req, after: after, decode: decodeTags}
		if err := list.run(ctx, func(tag string) bool { return yield(tag, nil) }); err != nil {
			yield("", err)
		}
	}
}

func decodeTags(raw []byte) ([]string, error) {
	var page struct {
		Tags names `json:"tags"` // null in some registries
	}
	err := json.Unmarshal(raw, &page)
	return page.Tags, err
}

// names are those of a page, at most as many as of a list. A page may be short of
// bytes and have millions of them.
type names []string

// UnmarshalJSON reads them one by one.
func (l *names) UnmarshalJSON(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	begin, err := dec.Token()
	if begin == nil || err != nil { // null, which is an empty list
		*l = nil
		return err
	}
	if begin != json.Delim('[') {
		return errors.New("names are in an array")
	}
	*l = make(names, 0, min(bytes.Count(raw, []byte(","))+1, maxListNames)) // else it grows, and leaves as much again behind
	for dec.More() {
		if len(*l) == maxListNames {
			return fmt.Errorf("%w: a list of more than %d entries", store.ErrTooLarge, maxListNames)
		}
		var name string
		if err := dec.Decode(&name); err != nil {
			return err
		}
		*l = append(*l, name)
	}
	return nil
}

// nameList is a list of names in pages: tags or repositories.
type nameList struct {
	client *client
	req    wire.Request
	after  string
	decode func([]byte) ([]string, error)
}

// run hands each name to yield, until that says false.
func (l nameList) run(ctx context.Context, yield func(string) bool) error {
	given := false
	err := l.pages(ctx, l.req, func(name string) bool {
		given = true
		return yield(name)
	})
	if l.after != "" && !given && statusOf(err, http.StatusNotFound, http.StatusBadRequest) != nil {
		// zot answers 404 to a last that is no tag: list all, and pass over
		// what comes before.
		whole := l.req
		whole.Last = ""
		return l.pages(ctx, whole, yield)
	}
	return err
}

func (l nameList) pages(ctx context.Context, req wire.Request, yield func(string) bool) error {
	return l.client.pages(ctx, call{Request: req}, boundsOfNames(l.client.opts), func(resp *http.Response, raw []byte) (int, bool, error) {
		names, err := l.decode(raw)
		if errors.Is(err, store.ErrTooLarge) {
			return 0, false, fmt.Errorf("%s: %w", req.URL().Path, err)
		}
		if err != nil {
			return 0, false, fmt.Errorf("%w: %s is not a list in JSON (%s): %s", store.ErrInvalid,
				req.URL().Path, resp.Header.Get("Content-Type"), err)
		}
		for _, name := range names {
			if !before(name, l.after) && !yield(name) {
				return len(names), false, nil
			}
		}
		return len(names), true, nil
	})
}

// before says whether name stands up to and with after, in a registry that
// took no notice of ?last=. Registries order by bytes or without case; only a
// name that is before in both is left out, so that none is lost.
func before(name, after string) bool {
	return after != "" && (name == after || name < after && strings.ToLower(name) < strings.ToLower(after))
}

// readPage gives how many entries a page had, and whether to go on.
type readPage func(resp *http.Response, raw []byte) (n int, more bool, err error)

// pages sends first and then follows Link.
func (c *client) pages(ctx context.Context, first call, most listBounds, read readPage) error {
	visited := map[[sha256.Size]byte]bool{place(c.base.ResolveReference(first.Request.URL())): true}
	empty, all := 0, 0
	left := most.all
	for range maxPages {
		next, n, more, err := c.page(ctx, first, most.page, func(resp *http.Response, raw []byte) (int, bool, error) {
			left -= int64(len(raw)) // below zero, where it comes to that: a page has a bound of its own
			return read(resp, raw)
		})
		if err != nil || !more || next == nil {
			return err
		}
		if all += n; all > maxListNames || left <= 0 {
			return fmt.Errorf("%w: %s: a list of more than %d entries or %d bytes", store.ErrTooLarge, next.Path, maxListNames, most.all)
		}
		if n > 0 {
			empty = 0
		} else if empty++; empty >= maxEmptyPages {
			return fmt.Errorf("%w: %s: %d pages in a row are empty and more are promised", store.ErrInvalid, next.Path, empty)
		}
		if visited[place(next)] {
			if n == 0 {
				return nil // zot ends a list with a page that leads to itself
			}
			return fmt.Errorf("%w: %s: the pages of the list lead in a circle", store.ErrInvalid, next.Path)
		}
		visited[place(next)] = true
		first.Location = next
	}
	return fmt.Errorf("%w: %s: a list of more than %d pages", store.ErrTooLarge, first.Location.Path, maxPages)
}

// place stands for a URL in what was visited. A registry can make URLs as long
// as it likes, and ten thousand of them would fill the memory.
func place(u *url.URL) [sha256.Size]byte { return sha256.Sum256([]byte(u.String())) }

// page reads one page.
func (c *client) page(ctx context.Context, call call, most int64, read readPage) (*url.URL, int, bool, error) {
	var resp *http.Response
	var raw []byte
	err := c.document(ctx, call, most, func(r *http.Response, all []byte) { resp, raw = r, all })
	if err != nil {
		return nil, 0, false, err
	}
	n, more, err := read(resp, raw)
	if err != nil || !more {
		return nil, n, false, c.clean(err)
	}
	next, err := c.nextPage(resp)
	return next, n, true, c.clean(err)
}
