package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
)

// versionInfo is what the Go toolchain wrote into the binary.
type versionInfo struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	Time      string `json:"time,omitempty"`
	Modified  bool   `json:"modified,omitempty"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

func versionOf() versionInfo {
	v := versionInfo{Version: "(devel)", GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func newVersion(a *app) *cobra.Command {
	f := &formatFlags{}
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit, Go version and platform",
		Example: `  {name} version --format json`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			format, err := f.parse()
			if err != nil {
				return err
			}
			v := versionOf()
			return ui.Print(a.streams.Out, format, v, v.text)
		},
	}
	f.register(cmd)
	return cmd
}

func (v versionInfo) text(w io.Writer) error {
	fmt.Fprintf(w, "Version:        %s\n", v.Version)
	if v.Commit != "" {
		fmt.Fprintf(w, "Git commit:     %s\n", v.Commit)
	}
	if v.Modified {
		fmt.Fprintf(w, "Git tree state: modified\n")
	}
	_, err := fmt.Fprintf(w, "Go version:     %s\nOS/Arch:        %s\n", v.GoVersion, v.Platform)
	return err
}
