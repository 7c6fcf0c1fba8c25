package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/stet-oci/stet/pkg/artifact"
	"github.com/stet-oci/stet/pkg/store"
)

// stdinPath is the FILE that stands for standard input.
const stdinPath = "-"

// files reads the FILE[:TYPE] arguments.
func (f *packFlags) files(a *app, args []string) (files []artifact.File, err error) {
	for _, arg := range args {
		file, err := artifact.ParseFileArg(arg)
		if err == nil && file.Path == stdinPath {
			file, err = f.standardInput(a, file)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	if f.stdinAs != "" && !f.stdin {
		return nil, fmt.Errorf("%w: --stdin-as is given, but no file is standard input (-)", store.ErrUsage)
	}
	return files, nil
}

// standardInput is the file "-" as --stdin-as describes it.
func (f *packFlags) standardInput(a *app, file artifact.File) (artifact.File, error) {
	switch {
	case f.stdin:
		return file, fmt.Errorf("%w: standard input (-) is given twice, and can be read only once", store.ErrUsage)
	case f.stdinAs == "":
		return file, fmt.Errorf("%w: standard input has no name to be pulled under; give one with --stdin-as (a file called - is ./-)", store.ErrUsage)
	}
	as, err := artifact.ParseFileArg(f.stdinAs)
	if err != nil {
		return file, err
	}
	if file.MediaType != "" && as.MediaType != "" {
		return file, fmt.Errorf("%w: standard input has two types, %s and %s", store.ErrUsage, file.MediaType, as.MediaType)
	}
	f.stdin = true
	file.MediaType += as.MediaType
	file.Title, file.Content = as.Path, store.ReadOnce(a.streams.In)
	return file, nil
}

// checkStdin refuses what cannot be done with a file that is read once: it is a
// secret as well, or its digest, which an upload in chunks ends with, would have to
// be known before.
func (t *targetFlags) checkStdin(p *packFlags) error {
	switch {
	case !p.stdin:
		return nil
	case t.passwordFromStdin || t.identityTokenStdin:
		return fmt.Errorf("%w: standard input cannot be both a file and a secret", store.ErrUsage)
	case t.chunkSize != "":
		return fmt.Errorf("%w: --chunk-size needs digests before anything is sent, and standard input can be read once; push a file", store.ErrUsage)
	}
	return nil
}

// allAnnotations are those of the flags or of the annotation file.
func (f *packFlags) allAnnotations(files []artifact.File) (artifact.Annotations, error) {
	if f.annotationFile != "" {
		raw, err := os.ReadFile(f.annotationFile)
		if err != nil {
			return nil, err
		}
		all, err := artifact.ParseAnnotationFile(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.annotationFile, err)
		}
		return all, nil
	}
	pairs := map[string][]string{}
	if len(f.annotations) > 0 {
		pairs[artifact.AnnotationsManifest] = f.annotations
	}
	for _, s := range f.fileAnnotations {
		name, pair, err := splitFileAnnotation(s, files)
		if err != nil {
			return nil, err
		}
		pairs[name] = append(pairs[name], pair)
	}
	all := artifact.Annotations{}
	for owner, list := range pairs {
		var err error
		if all[owner], err = artifact.ParseAnnotations(list); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// splitFileAnnotation finds the file that FILE:KEY=VALUE begins with. Names and
// keys may have colons, so it is the longest of the names that were typed.
func splitFileAnnotation(s string, files []artifact.File) (name, pair string, err error) {
	found := false
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
		if rest, ok := strings.CutPrefix(s, f.Path+":"); ok && (!found || len(f.Path) > len(name)) {
			name, pair, found = f.Path, rest, true
		}
	}
	if !found {
		return "", "", fmt.Errorf("%w: --file-annotation %q is FILE:KEY=VALUE with a file as it is named on the command line; there are %q",
			store.ErrUsage, s, names)
	}
	return name, pair, nil
}
