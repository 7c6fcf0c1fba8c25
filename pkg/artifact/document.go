package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Documents are edited where they have to change and nowhere else: decoding a
// manifest into maps and encoding it again would lose the order of its names,
// its numbers and its escapes, and with them its digest.

// member is a name and value of a JSON object, as they stand in the document.
type member struct {
	name  string
	key   json.RawMessage // the name with its quotes and escapes
	value json.RawMessage
	at    int // where value begins
}

func (m member) end() int { return m.at + len(m.value) }

// isNull: who writes null and who leaves a name out mean the same.
func (m member) isNull() bool { return string(m.value) == "null" }

// members are the names and values of the object raw, in its order. Anything
// that is no object is ErrInvalid.
func members(raw []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, fmt.Errorf("%w: %q is not a JSON object", store.ErrInvalid, start(raw))
	}
	var all []member
	for dec.More() {
		from := dec.InputOffset()
		tok, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", store.ErrInvalid, err)
		}
		name, _ := tok.(string)
		m := member{name: name, key: bytes.TrimLeft(raw[from:dec.InputOffset()], " \t\r\n,")}
		if m.value, m.at, err = element(dec); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// elements are the values of the array raw, with where each begins.
func elements(raw []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return nil, fmt.Errorf("%w: %q is not a JSON array", store.ErrInvalid, start(raw))
	}
	var all []member
	for dec.More() {
		value, at, err := element(dec)
		if err != nil {
			return nil, err
		}
		all = append(all, member{value: value, at: at})
	}
	return all, nil
}

func element(dec *json.Decoder) (json.RawMessage, int, error) {
	var v json.RawMessage
	if err := dec.Decode(&v); err != nil {
		return nil, 0, fmt.Errorf("%w: %s", store.ErrInvalid, err)
	}
	return v, int(dec.InputOffset()) - len(v), nil
}

// start is the beginning of a document, for an error.
func start(raw []byte) []byte { return raw[:min(len(raw), 40)] }

// edit puts other bytes in place of a part of a document.
type edit struct {
	at, end int
	with    []byte
}

// apply makes the edits, which stand in the order of the document.
func apply(raw []byte, edits []edit) []byte {
	var out []byte
	done := 0
	for _, e := range edits {
		out = append(append(out, raw[done:e.at]...), e.with...)
		done = e.end
	}
	return append(out, raw[done:]...)
}

// quote is s as a JSON string, with no escapes that JSON does not ask for.
func quote(s string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// named is a manifest with a digest of the same algorithm as the one that it
// stands for.
func named(mediaType string, raw []byte, like digest.Digest) store.Manifest {
	return store.Manifest{
		Descriptor: store.Descriptor{MediaType: mediaType, Digest: like.Algorithm().FromBytes(raw), Size: int64(len(raw))},
		Raw:        raw,
	}
}
