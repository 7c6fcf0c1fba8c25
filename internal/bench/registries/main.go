// registries serves one of the registries that exist as Go modules, each in a
// process of its own as a registry is: so the benchmark's workers do not link
// them, and their memory is not counted.
//
//	registries distribution|olareg ADDRESS DIR
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/olareg/olareg"
	olaregconfig "github.com/olareg/olareg/config"
	"github.com/sirupsen/logrus"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "registries:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: registries distribution|olareg ADDRESS DIR")
	}
	h, err := handler(args[0], args[2])
	if err != nil {
		return err
	}
	server := &http.Server{Addr: args[1], Handler: h, ErrorLog: log.New(io.Discard, "", 0)} // what a client broke off is no news
	return server.ListenAndServe()
}

func handler(kind, dir string) (http.Handler, error) {
	switch kind {
	case "distribution":
		return distribution(dir), nil
	case "olareg":
		yes := true
		return olareg.New(olaregconfig.Config{
			Storage: olaregconfig.ConfigStorage{StoreType: olaregconfig.StoreDir, RootDir: dir},
			API:     olaregconfig.ConfigAPI{DeleteEnabled: &yes, Blob: olaregconfig.ConfigAPIBlob{DeleteEnabled: &yes}},
		}), nil
	}
	return nil, fmt.Errorf("there is no registry %q", kind)
}

// distribution is CNCF Distribution as Debian's docker-registry is set up here:
// files in a directory, no cache, no log.
func distribution(dir string) http.Handler {
	logrus.SetOutput(io.Discard)
	config := &configuration.Configuration{
		Version: "0.1",
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": dir},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	config.Catalog.MaxEntries = 1000
	return handlers.NewApp(context.Background(), config)
}
