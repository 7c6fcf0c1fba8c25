package artifact

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// Filter chooses among the titles of an artifact. The zero Filter takes all.
//
// A pattern is a path whose parts are those of path.Match: "*" and "?" stop at
// a slash. "**" as a whole part is any number of parts, and at the end at least
// one. A pattern without a slash is held against the last part of a title, as in
// .gitignore; with one, also at its beginning, against the whole title.
type Filter struct {
	Include []string // one of them has to match, unless there is none
	Exclude []string // none of them may match
}

// Check is ErrUsage for a pattern that can match nothing.
func (f Filter) Check() error {
	for _, list := range [][]string{f.Include, f.Exclude} {
		for _, p := range list {
			if err := checkPattern(p); err != nil {
				return fmt.Errorf("%w: pattern %q: %w", store.ErrUsage, p, err)
			}
		}
	}
	return nil
}

func checkPattern(pattern string) error {
	if strings.Trim(pattern, "/") == "" {
		return errors.New("it is empty")
	}
	if strings.HasSuffix(pattern, "/") {
		return fmt.Errorf("it ends with a slash; what lies below is %q", pattern+"**")
	}
	_, err := path.Match(pattern, "")
	return err
}

// Takes says whether the filter chooses a title.
func (f Filter) Takes(title string) bool {
	for _, p := range f.Exclude {
		if matches(p, title) {
			return false
		}
	}
	for _, p := range f.Include {
		if matches(p, title) {
			return true
		}
	}
	return len(f.Include) == 0
}

// Unmatched are the patterns of Include that match none of the titles.
func (f Filter) Unmatched(titles []string) (patterns []string) {
	for _, p := range f.Include {
		found := false
		for _, t := range titles {
			found = found || matches(p, t)
		}
		if !found {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

// matches holds one pattern against one title.
func matches(pattern, title string) bool {
	title = strings.Trim(path.Clean(title), "/")
	if !strings.Contains(pattern, "/") {
		pattern = "**/" + pattern
	}
	return matchParts(strings.Split(strings.TrimPrefix(pattern, "/"), "/"), strings.Split(title, "/"))
}

func matchParts(pattern, parts []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			if len(pattern) == 1 {
				return len(parts) > 0
			}
			for i := range parts {
				if matchParts(pattern[1:], parts[i:]) {
					return true
				}
			}
			return false
		}
		if len(parts) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], parts[0]); !ok || err != nil {
			return false
		}
		pattern, parts = pattern[1:], parts[1:]
	}
	return len(parts) == 0
}
