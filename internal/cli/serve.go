package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/local"
	"github.com/stet-oci/stet/pkg/serve"
	"github.com/stet-oci/stet/pkg/store"
)

type serveOptions struct {
	addr    string
	imitate string
	quirks  []string
	user    string
	log     bool
}

// defaultAddr is where serve listens: on this machine alone.
const defaultAddr = "localhost:5000"

func newServe(a *app) *cobra.Command {
	o := &serveOptions{}
	cmd := &cobra.Command{
		Use:   "serve [flags] [DIRECTORY|oci:DIRECTORY|tar:FILE]",
		Short: "Run a registry, in memory or over a directory or archive",
		Long: `Run an OCI registry for tests and pipelines: in memory, over a directory in which
each repository is an OCI image layout, or over a tar of the same form, such as a
backup. A directory or tar that is itself a layout is one repository, called as it
is. A tar is served read-only. It imitates the limits of other registries on
request.

It prints its address when it can be used, and ends at Ctrl-C or SIGTERM.

--imitate takes a registry of the field as a whole, as far as it is known;
docs/imitations.md says what each does, and from where that is known. --quirk
adds to it or takes from it: --quirk no-delete=off.

Imitations:
` + imitationHelp() + `

Quirks, where ANSWER is a status and a code (405:UNSUPPORTED) or a status (405):
` + quirkHelp(),
		Example: `  {name} serve
  {name} serve --addr localhost:0 ./registry
  {name} serve tar:backup.tar
  {name} serve --quirk no-referrers-api --quirk page-size=1
  {name} serve --imitate ecr
  {name} serve --imitate zot --quirk no-delete`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runServe(cmd.Context(), a, o, args) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.addr, "addr", defaultAddr, "`HOST:PORT` to listen on; port 0 takes a free one")
	fs.StringVar(&o.imitate, "imitate", "", "imitate the registry `NAME`, such as distribution-2.8")
	fs.StringArrayVar(&o.quirks, "quirk", nil, "imitate a `LIMIT`, such as no-referrers-api")
	fs.StringVar(&o.user, "user", "", "ask for this `NAME`; the password is in $STET_SERVE_PASSWORD")
	fs.BoolVar(&o.log, "log", false, "print a line for each request to stderr")
	var names []string
	for _, q := range serve.QuirkNames() {
		names = append(names, q.Name)
	}
	complete(cmd, "quirk", names...)
	names = nil
	for _, i := range serve.Imitations() {
		names = append(names, i.Name)
	}
	complete(cmd, "imitate", names...)
	return cmd
}

func imitationHelp() string {
	var b strings.Builder
	for _, i := range serve.Imitations() {
		fmt.Fprintf(&b, "  %-22s %s\n", i.Name, i.Help)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func quirkHelp() string {
	var b strings.Builder
	for _, q := range serve.QuirkNames() {
		fmt.Fprintf(&b, "  %-28s %s\n", q.Name, q.Help)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func runServe(ctx context.Context, a *app, o *serveOptions, args []string) error {
	opts, err := o.options(a)
	if err != nil {
		return err
	}
	reg := local.NewMemoryRegistry()
	if len(args) == 1 {
		if reg, err = a.openServed(ctx, args[0], &opts.Quirks); err != nil {
			return cannot("serve "+args[0], store.Ref{}, err)
		}
	}
	defer reg.Close()
	listener, err := net.Listen("tcp", o.addr)
	if _, _, bad := net.SplitHostPort(o.addr); bad != nil {
		err = fmt.Errorf("%w: %w", store.ErrUsage, bad)
	}
	if err != nil {
		return cannot("listen on "+o.addr, store.Ref{}, err)
	}
	handler := serve.New(reg, opts)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	if _, err := fmt.Fprintf(a.streams.Out, "Serving http://%s\n", address(o.addr, listener)); err != nil {
		return errors.Join(err, listener.Close())
	}
	return serveUntil(ctx, server, handler, listener)
}

// openServed opens the registry in a directory, which is made where it is not
// there, or in a tar. A tar is written when it is closed, at once: what clients
// were told is there would not be until then. So it is only read.
func (a *app) openServed(ctx context.Context, arg string, quirks *serve.Quirks) (store.Registry, error) {
	ref := store.Ref{Scheme: store.SchemeLayout, Path: strings.TrimPrefix(arg, "oci:")}
	file, archive := strings.CutPrefix(arg, "tar:")
	if archive {
		ref = store.Ref{Scheme: store.SchemeArchive, Path: file}
		if _, err := os.Stat(file); err != nil {
			return nil, err
		}
	} else if err := isDirectory(ref, arg); err != nil {
		return nil, err
	} else if err := os.MkdirAll(ref.Path, 0o777); err != nil {
		return nil, err
	}
	found, err := local.Look(ctx, ref.Path)
	if err != nil {
		return nil, err
	}
	reg, err := a.openRegistry(ref, nil, nil)
	if err != nil {
		return nil, err
	}
	if found == local.FoundLayout {
		for name, err := range reg.Repositories(ctx, "") {
			if err != nil {
				return nil, errors.Join(err, reg.Close())
			}
			fmt.Fprintf(a.streams.Err, "%s: the repository is %s\n", a.name, ui.Escape(name))
			break
		}
	}
	if archive {
		fmt.Fprintf(a.streams.Err, "%s: %s is served read-only\n", a.name, ui.Escape(file))
		quirks.ReadOnly = true // refuse before a byte is sent
		reg = store.ReadOnlyRegistry(reg)
	}
	return reg, nil
}

func (o *serveOptions) options(a *app) (serve.Options, error) {
	var quirks serve.Quirks
	if o.imitate != "" {
		var err error
		if quirks, err = serve.Imitate(o.imitate); err != nil {
			return serve.Options{}, err
		}
	}
	for _, q := range o.quirks {
		if err := quirks.Set(q); err != nil {
			return serve.Options{}, err
		}
	}
	opts := serve.Options{Quirks: quirks, Now: a.now}
	if o.user != "" {
		password := a.getenv("STET_SERVE_PASSWORD")
		if password == "" {
			return opts, fmt.Errorf("%w: --user needs a password in $STET_SERVE_PASSWORD", store.ErrUsage)
		}
		opts.Basic = map[string]string{o.user: password}
	}
	if o.log {
		opts.OnRequest = func(method, uri string, status int) {
			fmt.Fprintf(a.streams.Err, "%s %s %d\n", method, uri, status)
		}
	}
	opts.OnError = func(method, uri string, err error) {
		if errors.Is(err, context.Canceled) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.ErrUnexpectedEOF) {
			return // the client left
		}
		fmt.Fprintf(a.streams.Err, "%s serve: %s %s: %v\n", a.name, method, uri, err)
	}
	return opts, nil
}

// address is what clients type: the host as it was given, with the real port.
func address(asked string, l net.Listener) string {
	host, _, err := net.SplitHostPort(asked)
	_, port, err2 := net.SplitHostPort(l.Addr().String())
	if err != nil || err2 != nil || host == "" {
		return l.Addr().String()
	}
	return net.JoinHostPort(host, port)
}

// drain is how long requests under way may take after the signal.
const drain = time.Second

// serveUntil serves until the context ends, which is how a server is meant to
// end: no error.
func serveUntil(ctx context.Context, server *http.Server, handler *serve.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		quiet, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		if server.Shutdown(quiet) != nil {
			server.Close()
		}
	})
	defer stop()
	err := server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, handler.Close())
}
