package graph

import (
	"cmp"
	"regexp"
	"strings"
)

// versionGrammar is semver.org 2.0.0 for tags: "v" may stand before it, minor
// and patch may be missing and count as 0, and "_" stands for the "+" that no
// tag can have.
var versionGrammar = regexp.MustCompile(`^v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-([0-9A-Za-z.-]+))?(?:[_+][0-9A-Za-z._-]+)?$`)

// CompareVersions orders tags by the precedence of semver.org §11, pre-releases
// before their release. Tags of equal precedence stand by name, and so do
// those that are no versions, after all others.
func CompareVersions(a, b string) int {
	va, vb := versionGrammar.FindStringSubmatch(a), versionGrammar.FindStringSubmatch(b)
	switch {
	case va == nil && vb == nil:
		return strings.Compare(a, b)
	case va == nil:
		return 1
	case vb == nil:
		return -1
	}
	for i := 1; i <= 3; i++ {
		if c := compareNumbers(va[i], vb[i]); c != 0 {
			return c
		}
	}
	return cmp.Or(comparePrereleases(va[4], vb[4]), strings.Compare(a, b))
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
