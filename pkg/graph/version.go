package graph

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// versionGrammar is semver.org 2.0.0 for tags: "v" may stand before it, minor
// and patch may be missing and count as 0, and "_" stands for the "+" that no
// tag can have.
var versionGrammar = regexp.MustCompile(`^v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-([0-9A-Za-z.-]+))?(?:[_+][0-9A-Za-z._-]+)?$`)

// SortVersions sorts tags by the precedence of semver.org §11, pre-releases
// before their release. Tags of equal precedence stand by name, and so do
// those that are no versions, after all others.
func SortVersions(tags []string) {
	versions := make([]version, len(tags))
	for i, tag := range tags {
		versions[i] = version{tag, versionGrammar.FindStringSubmatch(tag)}
	}
	slices.SortFunc(versions, compareVersions)
	for i, v := range versions {
		tags[i] = v.tag
	}
}

// version is a tag and what the grammar finds in it: nil where it is no version.
type version struct {
	tag   string
	parts []string // the whole, three numbers, the pre-release
}

func compareVersions(a, b version) int {
	switch {
	case a.parts == nil && b.parts == nil:
		return strings.Compare(a.tag, b.tag)
	case a.parts == nil:
		return 1
	case b.parts == nil:
		return -1
	}
	for i := 1; i <= 3; i++ {
		if c := compareNumbers(a.parts[i], b.parts[i]); c != 0 {
			return c
		}
	}
	return cmp.Or(comparePrereleases(a.parts[4], b.parts[4]), strings.Compare(a.tag, b.tag))
}

// compareNumbers compares digits of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(len(a)-len(b), strings.Compare(a, b))
}

// comparePrereleases: identifiers from left to right, numbers before words,
// the longer after the shorter that it begins with, none at all last.
func comparePrereleases(a, b string) int {
	if a == "" || b == "" {
		return len(b) - len(a)
	}
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		na, nb := strings.Trim(as[i], "0123456789") == "", strings.Trim(bs[i], "0123456789") == ""
		c := 0
		switch {
		case na && nb:
			c = compareNumbers(as[i], bs[i])
		case na != nb && na:
			c = -1
		case na != nb:
			c = 1
		default:
			c = strings.Compare(as[i], bs[i])
		}
		if c != 0 {
			return c
		}
	}
	return len(as) - len(bs)
}
