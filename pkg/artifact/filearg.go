package artifact

import (
	"context"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// File is a file or directory to pack.
type File struct {
	Path        string            // as typed; the key of an annotation file
	MediaType   string            // "" for the default of a file or directory
	Title       string            // "" derives it from Path
	Annotations map[string]string // of the layer, over those of PackRequest.Annotations

	// Content is read in place of a file at Path, such as store.ReadOnce of
	// standard input; then there has to be a Title. nil reads the file.
	Content func(ctx context.Context, offset int64) (io.ReadCloser, error)
}

// ParseFileArg reads FILE[:TYPE]. The last colon separates, so that a name
// with a colon needs one more at its end ("a:b:"); on Windows the colon of a
// drive does not count. A type that is no media type, or no file, is ErrUsage.
func ParseFileArg(arg string) (File, error) {
	return parseFileArg(arg, runtime.GOOS == "windows")
}

func parseFileArg(arg string, windows bool) (File, error) {
	name, mediaType := splitFileArg(arg, windows)
	if name == "" {
		return File{}, fmt.Errorf("%w: %q names no file; it is FILE[:TYPE]", store.ErrUsage, arg)
	}
	if strings.ContainsRune(name, 0) {
		return File{}, fmt.Errorf("%w: %q has a NUL", store.ErrUsage, arg)
	}
	if windows && strings.ContainsAny(name, `<>"|?*`) {
		return File{}, fmt.Errorf(`%w: %q has one of the characters <>"|?*, which Windows reserves`, store.ErrUsage, arg)
	}
	if windows && strings.Contains(name[min(2, len(name)):], ":") {
		return File{}, fmt.Errorf("%w: %q has a colon after the drive, which Windows reserves", store.ErrUsage, arg)
	}
	if mediaType != "" && !IsMediaType(mediaType) {
		return File{}, fmt.Errorf("%w: %q: %q is not a media type such as text/plain; a file name with a colon needs a colon at its end (%s:)",
			store.ErrUsage, arg, mediaType, arg)
	}
	return File{Path: name, MediaType: mediaType}, nil
}

// splitFileArg cuts at the last colon that is not a drive's.
func splitFileArg(arg string, windows bool) (name, mediaType string) {
	i := strings.LastIndexByte(arg, ':')
	drive := windows && i == 1 && len(arg) > 2 && isLetter(arg[0]) && (arg[2] == '\\' || arg[2] == '/')
	if i < 0 || drive {
		return arg, ""
	}
	return arg[:i], arg[i+1:]
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// titleOf is the title of a file: its path, cleaned and with slashes. An
// absolute path keeps the separators of its system, as ORAS writes it.
func titleOf(name string) string {
	name = filepath.Clean(name)
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.ToSlash(name)
}

// checkTitle refuses a title that pull will not write. ORAS lets ".." pass
// when pushing; then the artifact is stored and cannot be pulled, which the
// one who pushed it does not see.
func checkTitle(f File, title string, isDir bool) error {
	if title == "." && isDir {
		return nil // the output directory itself; all its entries lie inside
	}
	if filepath.IsAbs(title) || path.IsAbs(title) {
		return fmt.Errorf("%w: %s: an absolute path would be the name in the artifact; push it by a relative path, or disable path validation",
			store.ErrUsage, f.Path)
	}
	if err := checkName(title, false); err != nil {
		return fmt.Errorf("%w: %s: it could not be pulled under this name: %w; push it from its own directory, or disable path validation",
			store.ErrUsage, f.Path, err)
	}
	return nil
}
