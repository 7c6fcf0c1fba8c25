package artifact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/pkg/store"
)

// item is a descriptor with the fields that store.Descriptor does not have, or
// that are seldom worth a word.
type item struct {
	store.Descriptor
	name string // by which it is found on the other side; may be ""
	rest map[string]any
}

// side is one of two manifests that are compared.
type side struct {
	*store.Outline
	artifactType      string // as it stands; the Outline takes the config's media type in its place
	config, subject   *item
	layers, manifests []item
	rest              map[string]any // fields that the Outline does not have
}

// readSide reads a manifest for comparison: nothing that it says is left out.
func readSide(m store.Manifest) (*side, error) {
	o, err := store.ParseOutline(m)
	if err != nil {
		return nil, err
	}
	s := &side{Outline: o}
	if s.rest, err = decodeObject(m.Raw); err != nil {
		return nil, err
	}
	raws := map[string]any{}
	for _, name := range comparedFields(m.MediaType) {
		raws[name] = s.rest[name]
		delete(s.rest, name)
	}
	s.artifactType, _ = raws["artifactType"].(string)
	if o.Config != nil {
		config := newItem(*o.Config, raws["config"])
		s.config = &config
	}
	if o.Subject != nil {
		subject := newItem(*o.Subject, either(raws["subject"], raws["refers"]))
		s.subject = &subject
	}
	layers, _ := either(raws["layers"], raws["blobs"]).([]any)
	for i, d := range o.Layers {
		it := newItem(d, layers[i])
		it.name = d.Annotations[ocispec.AnnotationTitle]
		s.layers = append(s.layers, it)
	}
	manifests, _ := raws["manifests"].([]any)
	for i, d := range o.Manifests {
		it := newItem(d, manifests[i])
		it.name = platformName(d.Platform)
		s.manifests = append(s.manifests, it)
	}
	return s, nil
}

// comparedFields are the fields of a manifest that are compared with words of
// their own; all others are compared as they are.
func comparedFields(mediaType string) []string {
	fields := []string{"artifactType", "subject", "annotations"}
	switch {
	case store.IsExtinct(mediaType):
		return append(fields, "refers", "blobs")
	case mediaType == store.MediaTypeIndex, mediaType == store.MediaTypeDockerIndex:
		return append(fields, "manifests")
	}
	return append(fields, "config", "layers")
}

func either(a, b any) any {
	if a == nil {
		return b
	}
	return a
}

func newItem(d store.Descriptor, raw any) item {
	fields, _ := raw.(map[string]any)
	rest := map[string]any{}
	for k, v := range fields {
		if !slices.Contains([]string{"mediaType", "digest", "size", "annotations"}, k) {
			rest[k] = v
		}
	}
	return item{Descriptor: d, rest: rest}
}

// platformName is OS/ARCH[/VARIANT][:OSVERSION], or "".
func platformName(p *ocispec.Platform) string {
	if p == nil {
		return ""
	}
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	if p.OSVersion != "" {
		name += ":" + p.OSVersion
	}
	return name
}

func decodeObject(raw []byte) (map[string]any, error) {
	v, err := decodeValue(raw)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: not a JSON object", store.ErrInvalid)
	}
	return object, nil
}

// decodeValue keeps numbers as they are written.
func decodeValue(raw []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("%w: %s", store.ErrInvalid, err)
	}
	return v, nil
}

// pairing is an item of each side that stand for each other, by their places,
// or one of one side, with -1 for the other.
type pairing struct {
	from, to int
	name     string
}

// match finds what stands for what: items of one name, and among those the
// equal ones first, so that one more layer does not shift all others. It gives
// them in the order of the first side, and what is left of either.
func match(from, to []item) (pairs, left, right []pairing) {
	byName := func(items []item) map[string][]int {
		m := map[string][]int{}
		for i, it := range items {
			m[it.name] = append(m[it.name], i)
		}
		return m
	}
	as, bs := byName(from), byName(to)
	partner := make([]int, len(from))
	taken := make([]bool, len(to))
	for name, places := range as {
		pair(from, to, places, bs[name], func(i, j int) {
			partner[i], taken[j] = j+1, true
		})
	}
	for i, it := range from {
		p := pairing{from: i, to: partner[i] - 1, name: label(it.name, i, as)}
		if p.to < 0 {
			left = append(left, p)
		} else {
			pairs = append(pairs, p)
		}
	}
	for j, it := range to {
		if !taken[j] {
			right = append(right, pairing{from: -1, to: j, name: label(it.name, j, bs)})
		}
	}
	return pairs, left, right
}

// pair joins the places of one name, equal content first, the others in order.
func pair(from, to []item, as, bs []int, join func(i, j int)) {
	equal := map[digest.Digest][]int{}
	for _, j := range bs {
		equal[to[j].Digest] = append(equal[to[j].Digest], j)
	}
	used := map[int]bool{}
	var rest []int
	for _, i := range as {
		if same := equal[from[i].Digest]; len(same) > 0 {
			equal[from[i].Digest] = same[1:]
			used[same[0]] = true
			join(i, same[0])
		} else {
			rest = append(rest, i)
		}
	}
	for _, j := range bs {
		if !used[j] && len(rest) > 0 {
			join(rest[0], j)
			rest = rest[1:]
		}
	}
}

// label is what an item is called in a path: its name, or where that does not
// tell it apart, its place.
func label(name string, at int, all map[string][]int) string {
	switch {
	case name == "":
		return strconv.Itoa(at)
	case len(all[name]) > 1:
		return name + "#" + strconv.Itoa(slices.Index(all[name], at))
	}
	return name
}

// names are the items in their order, for a difference of the order.
func names(items []item) string {
	var all []string
	for _, it := range items {
		all = append(all, cmp.Or(it.name, it.Digest.String()))
	}
	return strings.Join(all, ", ")
}
