// Command stet moves OCI artifacts between files, registries and layouts, and
// the digest of an artifact never moves with them.
package main

import (
	"os"

	"github.com/stet-oci/stet/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
