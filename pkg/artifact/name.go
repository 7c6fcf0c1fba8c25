package artifact

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/stet-oci/stet/pkg/store"
)

// The bounds of a path. File systems in common use agree on how many bytes one
// element of it may have, and systems on how many all of it; directories in
// directories have no bound, but each level costs a step for every level above
// it, so that one title could keep pull at work for minutes.
const (
	maxName  = 255
	maxPath  = 4095
	maxLevel = 255
)

// classed gives what checkName and checkLink say a class: ErrPath, which they
// name themselves, else ErrInvalid.
func classed(err error) error {
	if errors.Is(err, store.ErrPath) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrInvalid, err)
}

// checkName says why a slash-separated name must not become a path below a
// directory, or nil. A name that leads out is ErrPath; other faults have no
// class, since it depends on who made the name. Windows reads more characters and names as special; the
// flag is a parameter so that its rules are tested everywhere.
func checkName(name string, windows bool) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case strings.HasPrefix(name, "/"):
		return fmt.Errorf("%w: it is absolute", store.ErrPath)
	case path.Clean(name) == ".":
		return errors.New("the path names the directory itself")
	}
	switch {
	case strings.IndexFunc(name, unicode.IsControl) >= 0:
		return errors.New("it has control characters")
	case len(name) > maxPath:
		return fmt.Errorf("it is longer than %d bytes", maxPath)
	case strings.Count(name, "/") > maxLevel:
		return fmt.Errorf("it is more than %d directories deep", maxLevel)
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return fmt.Errorf(`%w: by ".."`, store.ErrPath)
		}
		if len(part) > maxName {
			return fmt.Errorf("a part of it is longer than %d bytes", maxName)
		}
		if windows {
			if err := checkWindowsPart(part); err != nil {
				return err
			}
		}
	}
	return checkForeign(name)
}

// checkForeign refuses a name that a partial file or stage may have: what came by it
// would be taken for content that is proven already, or removed with what a dead
// process left. Some file systems take capitals for the same name.
func checkForeign(name string) error {
	for _, part := range strings.Split(strings.ToLower(name), "/") {
		if _, _, ok := splitPartial(part); ok {
			return fmt.Errorf("%q is a name of the files that pull has while they are not whole", part)
		}
	}
	return nil
}

// checkWindowsPart refuses what Windows takes for something else than a file
// of that name.
func checkWindowsPart(part string) error {
	if i := strings.IndexAny(part, `\:<>"|?*`); i >= 0 {
		return fmt.Errorf("%q is not allowed in names on Windows", part[i])
	}
	if part != "" && part != "." && strings.HasSuffix(strings.TrimRight(part, " "), ".") || strings.HasSuffix(part, " ") {
		return errors.New("a dot or space at the end of a name is dropped on Windows")
	}
	stem, _, _ := strings.Cut(strings.ToUpper(part), ".")
	stem = strings.TrimRight(stem, " ")
	device := slices.Contains([]string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}, stem)
	if digit, ok := strings.CutPrefix(stem, "COM"); ok {
		device = device || isPortDigit(digit)
	}
	if digit, ok := strings.CutPrefix(stem, "LPT"); ok {
		device = device || isPortDigit(digit)
	}
	if device {
		return fmt.Errorf("%s is a device on Windows", stem)
	}
	return nil
}

func isPortDigit(s string) bool {
	return slices.Contains([]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³"}, s)
}

// checkLink says why the target of a symbolic link may lead out of the
// directory, which is ErrPath, or nil. name is the link's own path below that directory.
//
// A target is any number of ".." and then names. With ".." after a name the
// text does not tell where the kernel ends up, because the name may be a link
// itself; without, every link that is met on the way stays inside for the same
// reason as this one.
func checkLink(name, target string, windows bool) error {
	if windows && strings.ContainsAny(target, `\:`) || strings.HasPrefix(target, "/") || target == "" {
		return fmt.Errorf("%w: by the symbolic link to %q", store.ErrPath, target)
	}
	if strings.ContainsRune(target, 0) {
		return errors.New("the target of the symbolic link has a NUL")
	}
	depth := strings.Count(path.Clean(name), "/")
	down := false
	for _, part := range strings.Split(target, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = true
		case down:
			return fmt.Errorf(`%w: the symbolic link to %q goes down and up again, so that it may lead anywhere`, store.ErrPath, target)
		case depth == 0:
			return fmt.Errorf("%w: by the symbolic link to %q", store.ErrPath, target)
		default:
			depth--
		}
	}
	return nil
}
