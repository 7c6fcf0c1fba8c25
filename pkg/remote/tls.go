package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// tlsConfig is the TLS settings for a registry: what the options name, else
// what lies in its certs.d directory.
func (o Options) tlsConfig(host string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, fmt.Errorf("%w: a client certificate needs both its certificate and its key file", store.ErrUsage)
	}
	var cas []string
	pairs := [][2]string{}
	for _, dir := range o.CertDirs {
		found, err := readCertDir(filepath.Join(dir, host))
		if err != nil {
			return nil, err
		}
		if found != nil {
			cas, pairs = found.cas, found.pairs
			break
		}
	}
	if o.CAFile != "" {
		cas = []string{o.CAFile}
	}
	if o.CertFile != "" {
		pairs = [][2]string{{o.CertFile, o.KeyFile}}
	}
	for _, pair := range pairs {
		cert, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			return nil, fmt.Errorf("%w: client certificate %s, %s: %w", store.ErrUsage, pair[0], pair[1], err)
		}
		conf.Certificates = append(conf.Certificates, cert)
	}
	return conf, addCAs(conf, cas)
}

// addCAs adds the certificates in the files to the system's.
func addCAs(conf *tls.Config, files []string) error {
	if len(files) == 0 {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any is no reason to fail
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%w: CA file: %w", store.ErrUsage, err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%w: CA file %s holds no PEM certificate", store.ErrUsage, file)
		}
	}
	conf.RootCAs = pool
	return nil
}

// certDir is what a directory of the certs.d convention holds: X.crt is a CA,
// X.cert with X.key is a client certificate.
type certDir struct {
	cas   []string
	pairs [][2]string
}

// readCertDir is nil for a directory that is not there or not ours to read.
func readCertDir(dir string) (*certDir, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUsage, err)
	}
	has := map[string]bool{}
	for _, e := range entries {
		has[e.Name()] = true
	}
	found := &certDir{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		base, ext := strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())), filepath.Ext(e.Name())
		switch {
		case ext == ".crt":
			found.cas = append(found.cas, path)
		case ext == ".cert" && has[base+".key"]:
			found.pairs = append(found.pairs, [2]string{path, filepath.Join(dir, base+".key")})
		case ext == ".cert", ext == ".key" && !has[base+".cert"]:
			return nil, fmt.Errorf("%w: %s is half of a client certificate: X.cert and X.key belong together", store.ErrUsage, path)
		}
	}
	return found, nil
}
