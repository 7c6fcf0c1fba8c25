package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stet-oci/stet/internal/lockfile"
	"github.com/stet-oci/stet/pkg/store"
)

// Store keeps a credential for key, a host or host/path: in the helper that
// the first file names for it, else in the file. where says which.
func (f *Files) Store(ctx context.Context, key string, c Credential) (where string, err error) {
	key = normalKey(key)
	name, path, err := f.home(key)
	if err != nil {
		return "", err
	}
	if name != "" {
		return "docker-credential-" + name, f.helper(name).store(ctx, serverKey(key), c)
	}
	return path, edit(ctx, path, func(auths object) (object, error) {
		return auths.setEntry(key, c)
	})
}

// Erase forgets what is kept for key, a host or host/path, in the first file
// and its helper. That nothing was there is no error.
func (f *Files) Erase(ctx context.Context, key string) error {
	key = normalKey(key)
	name, path, err := f.home(key)
	if err != nil {
		return err
	}
	if name != "" {
		if err := f.helper(name).erase(ctx, serverKey(key)); err != nil {
			return err
		}
	}
	return edit(ctx, path, func(auths object) (object, error) {
		return auths.withoutEntry(key), nil
	})
}

// home is where a credential is kept: with a helper, or in the first file.
// The file is read anew; it may have changed since LoadFiles.
func (f *Files) home(key string) (helper, path string, err error) {
	if len(f.opts.Paths) == 0 {
		return "", "", fmt.Errorf("%w: no file to keep credentials in", store.ErrUsage)
	}
	path = f.opts.Paths[0]
	raw, err := readConfig(path)
	if err != nil {
		return "", "", err
	}
	cf, err := parseConfig(raw, path)
	if err != nil {
		return "", "", err
	}
	return helperFor(cf, key), path, nil
}

// lockTimeout is how long another process may hold a file of credentials.
const lockTimeout = 30 * time.Second

// edit changes the auths of a file and nothing else in it. It holds a lock on
// a side file, so that logins at the same time lose nothing, and replaces the
// file at once, so that no reader sees half of it. A file that does not parse
// stays as it is.
func edit(ctx context.Context, path string, change func(auths object) (object, error)) error {
	path, err := target(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	lock, err := lockfile.New(path + lockSuffix)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	if _, err := lock.TryLockContext(within, 20*time.Millisecond); err != nil {
		if ctx.Err() == nil && within.Err() != nil {
			return fmt.Errorf("%w: %s", store.ErrLocked, path)
		}
		return fmt.Errorf("lock %s: %w", path, err)
	}
	defer lock.Close()
	raw, err := readConfig(path)
	if err != nil {
		return err
	}
	if _, err := parseConfig(raw, path); err != nil {
		return err
	}
	out, err := changeAuths(raw, change)
	if err != nil {
		return fmt.Errorf("%s is left as it is: %w", path, err)
	}
	if bytes.Equal(out, raw) {
		return nil
	}
	return replace(path, out)
}

// changeAuths applies change to the member "auths" of a document.
func changeAuths(raw []byte, change func(object) (object, error)) ([]byte, error) {
	doc, err := parseFields(raw)
	if err != nil {
		return nil, err
	}
	auths, err := parseObject(doc.get("auths"))
	if err != nil {
		return nil, err
	}
	before := len(auths)
	if auths, err = change(auths); err != nil {
		return nil, err
	}
	if before == 0 && len(auths) == 0 {
		return raw, nil
	}
	doc = doc.set("auths", auths.bytes())
	var out bytes.Buffer
	if err := json.Indent(&out, doc.bytes(), "", "\t"); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// target follows symbolic links, so that a linked file stays a link.
func target(path string) (string, error) {
	for range 40 {
		to, err := os.Readlink(path)
		if err != nil { // no link, or nothing there
			return path, nil
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", fmt.Errorf("%w: %s: too many symbolic links", store.ErrUsage, path)
}

// replace writes a file that only its owner may read, under its final name at once.
func replace(path string, content []byte) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			temp.Close()
			os.Remove(temp.Name())
		}
	}()
	if _, err := temp.Write(content); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync() // not every system can
		dir.Close()
	}
	return nil
}

// object is a JSON object whose members keep their order and their bytes.
type object []member

type member struct {
	key   string
	value json.RawMessage
}

// parseObject reads an object; nothing and null are an empty one. A name that
// stands twice is ErrConfig: one of the two would be changed, and perhaps the
// other one be read.
func parseObject(raw []byte) (object, error) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(fmt.Errorf("%w: no JSON object", store.ErrConfig), err)
	}
	var o object
	names := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{key: t.(string)} // the decoder has no other keys
		if names[m.key] {
			return nil, fmt.Errorf("%w: the name %q stands twice", store.ErrConfig, m.key)
		}
		names[m.key] = true
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		o = append(o, m)
	}
	_, err := dec.Token()
	return o, err
}

// parseFields is parseObject for names that docker reads without regard to case.
func parseFields(raw []byte) (object, error) {
	o, err := parseObject(raw)
	names := map[string]string{}
	for _, m := range o {
		name := strings.ToLower(m.key)
		if other, twice := names[name]; twice {
			return nil, fmt.Errorf("%w: the name %q stands for %q", store.ErrConfig, m.key, other)
		}
		names[name] = m.key
	}
	return o, err
}

// find is the place of a field, -1 where there is none.
func (o object) find(key string) int {
	return slices.IndexFunc(o, func(m member) bool { return strings.EqualFold(m.key, key) })
}

func (o object) get(key string) json.RawMessage {
	if i := o.find(key); i >= 0 {
		return o[i].value
	}
	return nil
}

// set replaces a field in its place, or adds it at the end.
func (o object) set(key string, value json.RawMessage) object {
	if i := o.find(key); i >= 0 {
		o[i].value = value
		return o
	}
	return append(o, member{key, value})
}

func (o object) bytes() json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quote(m.key))
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// quote is a JSON string as its writer would have it, with < and & as they are.
func quote(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string has an encoding
	return bytes.TrimSpace(b.Bytes())
}

// setEntry puts a credential under key. It takes the place of the entry that
// is already there under any of key's spellings, whose other members stay.
func (o object) setEntry(key string, c Credential) (object, error) {
	i := slices.IndexFunc(o, func(m member) bool { return normalKey(m.key) == key })
	if i < 0 {
		o = append(o, member{key: serverKey(key)})
		i = len(o) - 1
	}
	entry, err := parseFields(o[i].value)
	if err != nil {
		return nil, err
	}
	secret := []string{"auth", "identitytoken", "registrytoken", "username", "password"}
	entry = slices.DeleteFunc(entry, func(m member) bool { return slices.Contains(secret, strings.ToLower(m.key)) })
	fields := c.entry()
	for _, name := range secret {
		if v, ok := fields[name]; ok {
			entry = append(entry, member{name, quote(v)})
		}
	}
	o[i].value = entry.bytes()
	// Other spellings would still hold the old secret.
	kept := o[:0]
	for j, m := range o {
		if j == i || normalKey(m.key) != key {
			kept = append(kept, m)
		}
	}
	return kept, nil
}

// withoutEntry forgets all spellings of a key.
func (o object) withoutEntry(key string) object {
	return slices.DeleteFunc(o, func(m member) bool { return normalKey(m.key) == key })
}
