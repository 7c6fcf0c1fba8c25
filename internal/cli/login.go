package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stet-oci/stet/internal/ui"
	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

type loginOptions struct {
	formatFlags
	progressFlags
	targetFlags
}

func newLogin(a *app) *cobra.Command {
	o := &loginOptions{}
	cmd := &cobra.Command{
		Use:   "login [flags] HOST[:PORT]",
		Short: "Sign in to a registry",
		Long: `Sign in to a registry: the credential is tried first and stored only if the
registry takes it.

It is stored in the file given by --registry-config, else the one that
$REGISTRY_AUTH_FILE names, else docker's config.json ($DOCKER_CONFIG or
~/.docker), through the credential helper that the file names if it names one.
Commands look there in the same order, and last in Podman's auth.json.`,
		Example: `  {name} login -u alice --password-stdin localhost:5000 < password.txt`,
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runLogin(cmd.Context(), a, o, args[0]) },
	}
	o.progress = &o.progressFlags
	o.remoteFlags.register(cmd.Flags())
	cmd.ValidArgsFunction = a.completeHosts(&o.registryConfig)
	o.registerDebug(cmd)
	o.patience.register(cmd)
	o.formatFlags.register(cmd)
	return cmd
}

// loginResult is the JSON of login and logout.
type loginResult struct {
	Registry string `json:"registry"`
	Username string `json:"username,omitempty"`
	Verified *bool  `json:"verified,omitempty"` // false: the registry lets everybody in
	Stored   string `json:"stored,omitempty"`   // the file or helper that has the credential
}

func runLogin(ctx context.Context, a *app, o *loginOptions, arg string) error {
	format, err := o.formatFlags.parse()
	if err != nil {
		return err
	}
	host, err := store.ParseHost(arg)
	if err != nil {
		return cannot("sign in to "+arg, store.Ref{}, err)
	}
	files, err := a.credentialFiles(o.registryConfig)
	if err != nil {
		return cannotSignIn(host, err)
	}
	cred, err := o.given(a)
	if err == nil && cred.Password == "" && cred.IdentityToken == "" {
		cred, err = a.ask(ctx, cred.Username)
	}
	if err != nil {
		return cannotSignIn(host, err)
	}
	o.signsIn = true
	opts, err := o.remoteOptions(a, nil)
	if err != nil {
		return cannotSignIn(host, err)
	}
	id, err := remote.Login(ctx, host, cred, opts)
	if err != nil {
		return cannotSignIn(host, err)
	}
	if !id.Verified {
		fmt.Fprintf(a.streams.Err, "%s: warning: %s lets everybody in, so the password was not checked\n", a.name, host)
	}
	where, err := files.Store(ctx, host, id.Credential)
	if err != nil {
		return &failure{what: "store the credential of " + host, err: err, do: "check the file that --registry-config or $DOCKER_CONFIG names, and the credential helper in it"}
	}
	fmt.Fprintf(a.streams.Err, "%s: the credential is in %s\n", a.name, where)
	value := loginResult{Registry: host, Username: id.Credential.Username, Verified: &id.Verified, Stored: where}
	return ui.Print(a.streams.Out, format, value, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "Login Succeeded")
		return err
	})
}

// cannotSignIn does not send who signs in to the login command.
func cannotSignIn(host string, err error) error {
	f := &failure{what: "sign in to " + host, err: err}
	if errors.Is(err, store.ErrUnauthorized) || errors.Is(err, store.ErrDenied) {
		f.do = "check user and password"
	}
	return f
}

func newLogout(a *app) *cobra.Command {
	var configs []string
	var p progressFlags
	f := &formatFlags{}
	cmd := &cobra.Command{
		Use:     "logout [flags] HOST[:PORT]",
		Short:   "Forget the credential of a registry",
		Example: `  {name} logout localhost:5000`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := f.parse()
			if err != nil {
				return err
			}
			host, err := store.ParseHost(args[0])
			if err != nil {
				return cannot("sign out of "+args[0], store.Ref{}, err)
			}
			files, err := a.credentialFiles(configs)
			if err == nil {
				err = files.Erase(cmd.Context(), host)
			}
			if err != nil {
				return cannot("sign out of "+host, store.Ref{}, err)
			}
			nothing := func(io.Writer) error { return nil } // as in ORAS
			return ui.Print(a.streams.Out, format, loginResult{Registry: host}, nothing)
		},
	}
	cmd.Flags().StringArrayVar(&configs, "registry-config", nil, "`FILE` with credentials")
	cmd.ValidArgsFunction = a.completeHosts(&configs)
	p.registerDebug(cmd)
	f.register(cmd)
	return cmd
}
