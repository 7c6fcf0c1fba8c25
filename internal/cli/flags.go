package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

// remoteFlags say how to reach a registry. A command with two sides has them
// twice, with the prefixes "from-" and "to-".
type remoteFlags struct {
	prefix string

	username, password, identityToken     string
	passwordFromStdin, identityTokenStdin bool
	insecure, plainHTTP                   bool
	caFile, certFile, keyFile             string
	resolve, registryConfig, headers      []string
	set                                   *pflag.FlagSet

	signsIn bool // login, which asks for what is missing, and hands the credential over itself
}

func (f *remoteFlags) register(fs *pflag.FlagSet) {
	f.set = fs
	p, side := f.prefix, ""
	if p != "" {
		side = " (" + strings.TrimSuffix(p, "-") + ")"
	}
	user, pass, header := "u", "p", "H"
	if p != "" {
		user, pass, header = "", "", ""
	}
	fs.StringVarP(&f.username, p+"username", user, "", "registry `USER` name"+side)
	fs.StringVarP(&f.password, p+"password", pass, "", "registry `PASSWORD` or, without a user name, identity token"+side)
	fs.StringVar(&f.identityToken, p+"identity-token", "", "registry identity `TOKEN`"+side)
	if p == "" {
		fs.BoolVar(&f.passwordFromStdin, "password-stdin", false, "read the password from standard input")
		fs.BoolVar(&f.identityTokenStdin, "identity-token-stdin", false, "read the identity token from standard input")
	}
	fs.BoolVar(&f.insecure, p+"insecure", false, "take any TLS certificate"+side)
	fs.BoolVar(&f.plainHTTP, p+"plain-http", false, "use http instead of https; only localhost does by default"+side)
	fs.StringVar(&f.caFile, p+"ca-file", "", "`FILE` of PEM certificates to trust beside the system's"+side)
	fs.StringVar(&f.certFile, p+"cert-file", "", "`FILE` of the client certificate"+side)
	fs.StringVar(&f.keyFile, p+"key-file", "", "`FILE` of the client key"+side)
	fs.StringArrayVar(&f.resolve, p+"resolve", nil, "connect to `HOST:PORT:ADDRESS[:PORT]` instead of what DNS says"+side)
	fs.StringArrayVar(&f.registryConfig, p+"registry-config", nil, "`FILE` with credentials; the first is written by login"+side)
	fs.StringArrayVarP(&f.headers, p+"header", header, nil, "add the header `\"Name: value\"` to requests to the registry"+side)
}

// options makes the remote's options of the flags.
func (f *remoteFlags) options(a *app) (remote.Options, error) {
	o := remote.Options{
		Insecure: f.insecure, CAFile: f.caFile, CertFile: f.certFile, KeyFile: f.keyFile,
		UserAgent: "stet/" + versionOf().Version, Now: a.now, CertDirs: a.certDirs(),
		Collect: runtime.GC,
	}
	if f.set.Changed(f.prefix + "plain-http") {
		o.PlainHTTP = &f.plainHTTP
	}
	if (f.certFile == "") != (f.keyFile == "") {
		return o, fmt.Errorf("%w: --%scert-file and --%skey-file go together", store.ErrUsage, f.prefix, f.prefix)
	}
	var err error
	if o.Header, err = parseHeaders(f.headers); err != nil {
		return o, err
	}
	if o.Resolve, err = parseResolve(f.resolve); err != nil {
		return o, err
	}
	o.Credentials, err = f.credentials(a)
	return o, err
}

// credentials are those of the flags, else those of the files.
func (f *remoteFlags) credentials(a *app) (remote.Credentials, error) {
	if f.signsIn {
		return nil, nil
	}
	c, err := f.given(a)
	switch {
	case err != nil:
		return nil, err
	case c.Username != "" && c.Password == "" && c.IdentityToken == "": // which would be sent as an empty one, or not at all
		return nil, fmt.Errorf("%w: --%susername comes with a password: %s", store.ErrUsage, f.prefix, f.passwords(a))
	case c != (remote.Credential{}):
		return remote.Static(c), nil
	}
	for _, path := range f.registryConfig {
		if _, err := os.Stat(path); err != nil { // login may make it; who only reads means one that is there
			return nil, fmt.Errorf("--%sregistry-config: %w", f.prefix, err)
		}
	}
	return a.credentialFiles(f.registryConfig)
}

// passwords says how a password can be given.
func (f *remoteFlags) passwords(a *app) string {
	if f.prefix != "" {
		return fmt.Sprintf("give --%spassword, or sign in with `%s login`", f.prefix, a.name)
	}
	return fmt.Sprintf("give --password-stdin or -p, or sign in with `%s login`", a.name)
}

// given is the credential of the flags; the zero Credential when there is none.
func (f *remoteFlags) given(a *app) (remote.Credential, error) {
	ways := 0
	for _, given := range []bool{f.password != "", f.passwordFromStdin, f.identityToken != "", f.identityTokenStdin} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return remote.Credential{}, fmt.Errorf("%w: give one of password and identity token, once", store.ErrUsage)
	}
	c := remote.Credential{Username: f.username, Password: f.password, IdentityToken: f.identityToken}
	if f.passwordFromStdin || f.identityTokenStdin {
		secret, err := readSecret(a.streams.In)
		if err == nil && secret == "" { // of a CI job without its secret, say
			err = fmt.Errorf("%w: the password or token on standard input is empty", store.ErrUsage)
		}
		if err != nil {
			return c, err
		}
		if f.passwordFromStdin {
			c.Password = secret
		} else {
			c.IdentityToken = secret
		}
	}
	if f.password != "" || f.identityToken != "" {
		instead := "--password-stdin"
		if f.prefix != "" {
			instead = "`" + a.name + " login`"
		}
		fmt.Fprintf(a.streams.Err, "%s: warning: a secret on the command line can be seen by others; use %s\n", a.name, instead)
	}
	if c.Username == "" && c.Password != "" {
		c.IdentityToken, c.Password = c.Password, ""
	}
	return c, nil
}

// maxSecret bounds a password or token that is read from standard input.
const maxSecret = 64 << 10

func readSecret(r io.Reader) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("standard input: %w", err)
	}
	if len(raw) > maxSecret {
		return "", fmt.Errorf("%w: a secret of more than %d bytes on standard input", store.ErrUsage, maxSecret)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

func parseHeaders(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, fmt.Errorf("%w: header %q is not \"Name: value\"", store.ErrUsage, line)
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}

// parseResolve reads HOST:PORT:ADDRESS[:PORT]; an IPv6 address stands in brackets.
func parseResolve(entries []string) (map[string]string, error) {
	m := map[string]string{}
	for _, e := range entries {
		parts := strings.SplitN(e, ":", 3)
		if len(parts) < 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
			return nil, fmt.Errorf("%w: --resolve %q is not HOST:PORT:ADDRESS[:PORT]", store.ErrUsage, e)
		}
		to := parts[2]
		if _, _, err := net.SplitHostPort(to); err != nil {
			to = net.JoinHostPort(strings.Trim(to, "[]"), parts[1])
		}
		m[parts[0]+":"+parts[1]] = to
	}
	return m, nil
}

// formatFlags are --format and --template.
type formatFlags struct{ format, template string }

func (f *formatFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.format, "format", string(ui.KindText), "`FORM` of the result: text, json or go-template[=TEMPLATE]")
	cmd.Flags().StringVar(&f.template, "template", "", templateUsage)
	complete(cmd, "format", "text", "json", "go-template")
}

func (f *formatFlags) parse() (ui.Format, error) { return ui.ParseFormat(f.format, f.template) }

// progressFlags say how the progress is shown, and whether requests are logged.
type progressFlags struct {
	mode     string
	noTTY    bool
	debug    bool
	verbose  bool
	patience patienceFlags
}

func (f *progressFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.mode, "progress", string(ui.DefaultMode), "`MODE` of the progress on stderr: auto, live, plain, json or none")
	fs.BoolVar(&f.noTTY, "no-tty", false, "plain progress lines, also on a terminal")
	f.registerDebug(cmd)
	var modes []string
	for _, m := range ui.Modes() {
		modes = append(modes, string(m))
	}
	complete(cmd, "progress", modes...)
}

func (f *progressFlags) registerDebug(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVarP(&f.debug, "debug", "d", false, "log every request to stderr, without secrets; no live progress")
	fs.BoolVarP(&f.verbose, "verbose", "v", true, "")
	_ = fs.MarkHidden("verbose") // old scripts written for ORAS give it; it never changed much
}

// told is how a command tells what happens: events go to sink, seen keeps what
// its result says of them, finish ends the display.
type told struct {
	sink   store.Sink
	seen   *ui.Recorder
	finish func()
}

func (f *progressFlags) start(a *app, verbs ui.Verbs) (told, error) {
	mode, err := ui.ParseMode(f.mode)
	if err != nil {
		return told{}, err
	}
	if mode == ui.ModeAuto && (f.noTTY || f.debug) {
		mode = ui.ModePlain
	}
	t := told{seen: &ui.Recorder{}}
	show, finish := ui.Progress(mode, verbs, a.streams)
	if mode != ui.ModeJSON {
		show = f.worthTelling(show)
	}
	t.sink, t.finish = ui.Tee(show, t.seen.Event), finish
	return t, nil
}

// worthTelling leaves out what makes no difference to anybody and happens on
// every push to the most common registry; --debug and results have it.
func (f *progressFlags) worthTelling(show store.Sink) store.Sink {
	if f.debug {
		return show
	}
	return func(e store.Event) {
		if e.Kind != store.Fallback || !ui.IsDetail(e.Choice) {
			show(e)
		}
	}
}

// quiet tells fallbacks and warnings only: for commands that move nothing large.
func (f *progressFlags) quiet(a *app) told {
	show, finish := ui.Progress(ui.ModePlain, ui.Verbs{}, a.streams)
	show = f.worthTelling(show)
	t := told{seen: &ui.Recorder{}, finish: finish}
	t.sink = ui.Tee(func(e store.Event) {
		if e.Kind == store.Fallback || e.Kind == store.Warning || e.Kind == store.Retrying {
			show(e)
		}
	}, t.seen.Event)
	return t
}

// complete offers fixed values for a flag in shell completion.
func complete(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// pinUsage is the help of --concurrency.
const pinUsage = "`NUMBER` of blobs that move at once; given, also the requests that a registry gets at once, which else adapt to it"

// concurrencyFlag adds --concurrency, a number of at least 1.
func concurrencyFlag(cmd *cobra.Command, to *int, otherwise int) {
	*to = otherwise
	cmd.Flags().Var((*atLeastOne)(to), "concurrency", pinUsage)
}

// atLeastOne is a pflag.Value.
type atLeastOne int

func (n *atLeastOne) String() string { return strconv.Itoa(int(*n)) }
func (n *atLeastOne) Type() string   { return "int" }

func (n *atLeastOne) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil || v < 1 {
		return errors.New("it is a number of at least 1")
	}
	*n = atLeastOne(v)
	return nil
}
