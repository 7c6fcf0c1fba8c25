package cli

import (
	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
)

// templateUsage is the help of --template.
const templateUsage = "`TEMPLATE` for --format go-template; sees the keys of the JSON (see: help templates)"

// newTemplates is a page of the help, and no command that does anything.
func newTemplates() *cobra.Command {
	return &cobra.Command{
		Use:   "templates",
		Short: "What --format go-template takes",
		Long: `--format go-template=TEMPLATE prints what a template of Go's text/template makes of
a result (https://pkg.go.dev/text/template). Its keys are those of the JSON, which
--format json shows. A key that is not there prints <no value>, as in ORAS, and is
no error; {{default "none" .key}} gives another word.

Examples:
  {name} push --format go-template='{{.digest}}{{"\n"}}' localhost:5000/app:v1 hello.txt
  {name} discover --format go-template='{{range .referrers}}{{.reference}}{{"\n"}}{{end}}' localhost:5000/app:v1
  {name} pull --format go-template='{{(index .files 0).path}}' localhost:5000/app:v1

Functions:
` + ui.TemplateFunctions(),
	}
}
