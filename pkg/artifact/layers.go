package artifact

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stet-oci/stet/pkg/store"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layer is a layer and the name of the file that Unpack makes of it.
type Layer struct {
	store.Descriptor
	Title string

	named bool // the title is not the layer's own
}

// layers lists what Unpack could make files of, and the layers that have no name.
func (o UnpackOptions) layers(outline *store.Outline) (all []Layer, untitled []store.Descriptor) {
	seen := map[string]bool{}
	for _, d := range outline.Layers {
		title := d.Annotations[ocispec.AnnotationTitle]
		switch {
		case title != "":
			all = append(all, Layer{Descriptor: d, Title: title})
		case d.MediaType == ocispec.MediaTypeEmptyJSON:
		case !o.NameUntitled:
			untitled = append(untitled, d)
		case !seen[UntitledName(d)]: // images have the same layer more than once
			seen[UntitledName(d)] = true
			all = append(all, Layer{d, UntitledName(d), true})
		}
	}
	return all, untitled
}

// Select lists the layers of manifests that the filter of the options chooses,
// each name with the same content once. It is ErrNotFound where a pattern that
// the user wants included matches nothing.
func Select(ms []store.Manifest, o UnpackOptions) ([]Layer, error) {
	var chosen []Layer
	var titles []string
	for _, m := range ms {
		outline, err := store.ParseOutline(m)
		if err != nil {
			return nil, err
		}
		layers, _ := o.layers(outline)
		for _, l := range layers {
			titles = append(titles, l.Title)
			same := func(c Layer) bool { return c.Title == l.Title && c.Digest == l.Digest }
			if o.Filter.Takes(l.Title) && !slices.ContainsFunc(chosen, same) {
				chosen = append(chosen, l)
			}
		}
	}
	if lost := o.Filter.Unmatched(titles); len(lost) > 0 {
		return nil, fmt.Errorf("%w: no title matches %s; there %s", store.ErrNotFound, quoted(lost), AreTitles(titles))
	}
	return chosen, nil
}

// maxListed is how many titles an error lists.
const maxListed = 20

// AreTitles is a list of titles for people: "is no file" or `are "a", "b"`.
func AreTitles(titles []string) string {
	titles = slices.Compact(slices.Sorted(slices.Values(titles)))
	switch n := len(titles); {
	case n == 0:
		return "is no file with a title"
	case n == 1:
		return "is " + quoted(titles)
	case n > maxListed:
		return fmt.Sprintf("are %s and %d more", quoted(titles[:maxListed]), n-maxListed)
	}
	return "are " + quoted(titles)
}

func quoted(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = strconv.Quote(w)
	}
	return strings.Join(q, ", ")
}
