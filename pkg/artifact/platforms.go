package artifact

import (
	"fmt"

	"github.com/stet-oci/stet/pkg/store"
)

// SelectManifests is index with those entries alone that keep says yes to. The
// entries, and everything else in the document, stay as they are, byte for
// byte. It is another index with another digest, unless all entries are kept.
// Without a single one it is ErrNotFound.
func SelectManifests(index store.Manifest, keep func(store.Descriptor) bool) (store.Manifest, error) {
	if index.MediaType != store.MediaTypeIndex && index.MediaType != store.MediaTypeDockerIndex {
		return store.Manifest{}, fmt.Errorf("%w: a %s has no manifests to select", store.ErrUnsupported, index.MediaType)
	}
	o, err := store.ParseOutline(index)
	if err != nil {
		return store.Manifest{}, err
	}
	fields, err := members(index.Raw)
	if err != nil {
		return store.Manifest{}, err
	}
	for _, f := range fields {
		if f.name != "manifests" || f.isNull() {
			continue
		}
		entries, err := elements(f.value)
		if err != nil {
			return store.Manifest{}, err
		}
		list, kept := pick(f.value, entries, func(i int) bool { return keep(o.Manifests[i]) })
		switch kept {
		case 0:
		case len(entries):
			return index, nil
		default:
			raw := apply(index.Raw, []edit{{at: f.at, end: f.end(), with: list}})
			return named(index.MediaType, raw, index.Digest), nil
		}
	}
	return store.Manifest{}, fmt.Errorf("%w: no manifest in the index %s is selected", store.ErrNotFound, index.Digest)
}

// pick is an array with some of its elements, and how many. What stood before
// an element, a comma and white space, goes with it.
func pick(array []byte, entries []member, keep func(int) bool) (list []byte, kept int) {
	if len(entries) == 0 {
		return array, 0
	}
	list = append(list, array[:entries[0].at]...)
	for i, e := range entries {
		if !keep(i) {
			continue
		}
		if kept > 0 {
			list = append(list, array[entries[i-1].end():e.at]...)
		}
		list = append(list, e.value...)
		kept++
	}
	return append(list, array[entries[len(entries)-1].end():]...), kept
}
