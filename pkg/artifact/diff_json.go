package artifact

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// maxDiffJSON bounds the documents that are compared value by value, and
// maxDiffList how many differences of one are listed.
const (
	maxDiffJSON = 4 << 20
	maxDiffList = 1000
)

// diffJSON compares two decoded JSON values. Both came through store.CheckJSON,
// which bounds their depth.
func diffJSON(kind DiffKind, path string, from, to any) []Difference {
	w := &jsonDiff{kind: kind}
	w.values(path, from, to)
	if w.more > 0 {
		w.list = append(w.list, Difference{
			Path: path, Kind: kind, Change: Changed, Why: fmt.Sprintf("and %d more", w.more),
		})
	}
	return w.list
}

type jsonDiff struct {
	kind DiffKind
	list []Difference
	more int
}

func (w *jsonDiff) add(d Difference) {
	if len(w.list) == maxDiffList {
		w.more++
		return
	}
	d.From, d.To = shorten(d.From), shorten(d.To)
	w.list = append(w.list, d)
}

func (w *jsonDiff) values(path string, from, to any) {
	switch a := from.(type) {
	case map[string]any:
		if b, ok := to.(map[string]any); ok {
			w.objects(path, a, b)
			return
		}
	case []any:
		if b, ok := to.([]any); ok {
			w.arrays(path, a, b)
			return
		}
	}
	if a, b := compact(from), compact(to); a != b {
		w.add(changed(w.kind, path, a, b))
	}
}

func (w *jsonDiff) objects(path string, a, b map[string]any) {
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, both := a[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		from, inA := a[name]
		to, inB := b[name]
		switch at := join(path, name); {
		case !inA:
			w.add(added(w.kind, at, compact(to)))
		case !inB:
			w.add(removed(w.kind, at, compact(from)))
		default:
			w.values(at, from, to)
		}
	}
}

func (w *jsonDiff) arrays(path string, a, b []any) {
	for i := range max(len(a), len(b)) {
		switch at := path + "[" + strconv.Itoa(i) + "]"; {
		case i >= len(a):
			w.add(added(w.kind, at, compact(b[i])))
		case i >= len(b):
			w.add(removed(w.kind, at, compact(a[i])))
		default:
			w.values(at, a[i], b[i])
		}
	}
}

// maxDiffValue bounds one value in a list of differences.
const maxDiffValue = 400

// compact is a value as one line of JSON. What was decoded from JSON has one.
func compact(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// shorten is the beginning of a long value, with its length.
func shorten(s string) string {
	if len(s) <= maxDiffValue {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:maxDiffValue], ""), len(s))
}

// diffDocuments compares two configs value by value, if both are JSON. why is
// what is known of them beside the list.
func diffDocuments(path string, a, b []byte) (list []Difference, why string) {
	if store.CheckJSON(a) != nil || store.CheckJSON(b) != nil {
		return nil, ""
	}
	from, err := decodeValue(a)
	if err != nil {
		return nil, ""
	}
	to, err := decodeValue(b)
	if err != nil {
		return nil, ""
	}
	list = diffJSON(DiffConfig, path, from, to)
	if len(list) == 0 {
		why = sameMeaning(a, b)
	}
	return list, why
}
