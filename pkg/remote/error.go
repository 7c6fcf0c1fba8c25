package remote

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// Error is a refusal by a registry or its token server.
type Error struct {
	Method string
	URL    string // without what may be secret in its query
	Status int
	Errors []ErrorInfo // what the answer says; may be empty
	Note   string      // what was or was not done about it, such as "tried 6 times"

	// Anonymous says that credentials were asked for and there were none.
	Anonymous bool

	noToken bool // the token server refused, so that the registry was not asked
	tooLong bool // it came with a wait that is longer than may be: nothing is tried again

	maybeDone bool // an earlier try may have done what this one was refused
}

// ErrorInfo is one error of an error answer (distribution-spec "Error codes").
type ErrorInfo struct {
	Code    string // "" where the answer is no JSON of the specification
	Message string
	Detail  string // any JSON, as compact text
}

// Limits of what is read and kept of an error answer.
const (
	maxErrorBody = 64 << 10
	maxErrors    = 10
	maxErrorText = 1000
)

// newError reads a refusal and closes its body. Secrets that we sent and the
// answer repeats are taken out.
func newError(resp *http.Response, t *trip, secrets []string) *Error {
	defer resp.Body.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &Error{
		Method: resp.Request.Method, Status: resp.StatusCode,
		Note: t.note, Anonymous: t.anonymous, tooLong: t.tooLong, maybeDone: t.maybeDone,
	}
	// What came before a break or the limit is still worth reading.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	clean := func(s string) string { return oneLine(without(secrets, s)) }
	e.URL = without(secrets, redactURL(resp.Request.URL)) // a redirect may have led into a path that repeats them
	for _, info := range parseErrors(body) {
		if len(e.Errors) < maxErrors {
			e.Errors = append(e.Errors, ErrorInfo{clean(info.Code), clean(info.Message), clean(info.Detail)})
		}
	}
	return e
}

// headerSecrets is what must not be shown of headers that were sent: the
// values, and what Basic encodes in them. Very short ones cannot be told from
// ordinary text.
func headerSecrets(h http.Header) []string {
	var secrets []string
	add := func(s string) {
		if len(s) < 4 {
			return
		}
		secrets = append(secrets, forms(s)...)
	}
	for _, values := range h {
		for _, v := range values {
			add(v)
			kind, value, ok := strings.Cut(v, " ")
			if !ok {
				continue
			}
			add(value)
			if raw, err := base64.StdEncoding.DecodeString(value); err == nil && strings.EqualFold(kind, "Basic") {
				_, password, _ := strings.Cut(string(raw), ":")
				add(string(raw))
				add(password)
			}
		}
	}
	return longestFirst(secrets)
}

// oneLine is s as one line of valid text of bearable length.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}

// parseErrors reads what an error answer says. Its Content-Type decides
// nothing: there are registries that send JSON as text/plain.
func parseErrors(body []byte) []ErrorInfo {
	body = bytes.TrimSpace(body)
	var doc struct {
		Errors []struct {
			Code    any             `json:"code"`
			Message any             `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		} `json:"errors"`
		// What token servers and gateways write instead (RFC 6749 section 5.2).
		Error       any `json:"error"`
		Description any `json:"error_description"`
		Message     any `json:"message"`
		Details     any `json:"details"`
	}
	switch {
	case len(body) == 0:
		return nil
	case json.Unmarshal(body, &doc) == nil && body[0] == '{':
		var out []ErrorInfo
		for _, e := range doc.Errors {
			out = append(out, ErrorInfo{text(e.Code), text(e.Message), compact(e.Detail)})
		}
		if other := (ErrorInfo{text(doc.Error), first(text(doc.Description), text(doc.Message)), text(doc.Details)}); len(out) == 0 && other != (ErrorInfo{}) {
			out = append(out, other)
		}
		return out
	case body[0] == '<':
		return []ErrorInfo{{Message: htmlPage + title(body)}}
	case body[0] == '{':
		if out := salvage(body); len(out) > 0 {
			return out
		}
	}
	line, _, _ := bytes.Cut(body, []byte("\n"))
	return []ErrorInfo{{Message: string(line)}}
}

// salvage reads the errors of an answer that was cut, by the limit or by the
// connection: a code decides what is done next, however long the detail after
// it is. Of the error that the cut went through it gives the fields before it.
func salvage(body []byte) []ErrorInfo {
	var out []ErrorInfo
	dec := json.NewDecoder(bytes.NewReader(body))
	_ = eachField(dec, func(name string) error {
		if !strings.EqualFold(name, "errors") {
			return dec.Decode(&json.RawMessage{})
		}
		if t, err := dec.Token(); err != nil || t != json.Delim('[') {
			return errNotWhole
		}
		for dec.More() {
			var info ErrorInfo
			err := eachField(dec, func(name string) error { return info.field(dec, name) })
			if info != (ErrorInfo{}) {
				out = append(out, info)
			}
			if err != nil {
				return err
			}
		}
		_, err := dec.Token()
		return err
	})
	return out
}

// errNotWhole ends salvage, which has kept what came before.
var errNotWhole = errors.New("the JSON is not whole")

// eachField calls read for each field of the object that comes next. read takes
// the value from dec.
func eachField(dec *json.Decoder, read func(name string) error) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errNotWhole
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return errNotWhole
		}
		if err := read(name); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// field reads the value of one field of an error.
func (i *ErrorInfo) field(dec *json.Decoder, name string) error {
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return err
	}
	switch strings.ToLower(name) { // as json.Unmarshal matches names
	case "code":
		i.Code = compact(raw)
	case "message":
		i.Message = compact(raw)
	case "detail":
		i.Detail = compact(raw)
	}
	return nil
}

// htmlPage begins the message of an answer that is a page for people.
const htmlPage = "HTML page: "

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// text is a JSON value that should have been a string.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return compact(raw)
}

// compact is a detail as text: a string as it is, nothing for what is empty,
// other JSON without its spaces and escapes.
func compact(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	if s, ok := v.(string); ok {
		return s
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return ""
	}
	switch s := strings.TrimSpace(b.String()); s {
	case "null", "{}", "[]":
		return ""
	default:
		return s
	}
}

// title is the title of a HTML page.
func title(page []byte) string {
	lower := bytes.ToLower(page)
	start := bytes.Index(lower, []byte("<title>"))
	end := bytes.Index(lower, []byte("</title>"))
	if start < 0 || end < start || len(lower) != len(page) {
		return "(no title)"
	}
	return html.UnescapeString(string(page[start+len("<title>") : end]))
}

// notFound are the words of store.ErrNotFound.
const notFound = "not found"

// Error is a line such as
// "PUT https://reg.io/v2/app/manifests/v1: 403 DENIED: requested access is denied".
// What is not there is "not found" in it, whatever the registry calls it: the
// answer to a HEAD says nothing, and scripts look for these words.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %d", e.Method, e.URL, e.Status)
	missing := e.Unwrap() == store.ErrNotFound
	switch uncoded := len(e.Errors) == 0 || e.Errors[0].Code == ""; {
	case uncoded && missing:
		b.WriteString(" " + notFound)
	case uncoded:
		b.WriteString(strings.TrimRight(" "+http.StatusText(e.Status), " "))
	}
	for i, info := range e.Errors {
		sep := ";"
		if i == 0 {
			sep = ""
		}
		if i == 0 && info.Code == "" {
			sep = ":"
		}
		b.WriteString(sep + " " + info.String())
	}
	if missing && !strings.Contains(b.String(), notFound) {
		b.WriteString(": " + notFound)
	}
	if e.Anonymous {
		b.WriteString(" (no credentials are known for it)")
	}
	if e.Note != "" {
		b.WriteString(" (" + e.Note + ")")
	}
	return b.String()
}

func (i ErrorInfo) String() string {
	s := i.Code
	for _, part := range []string{i.Message, i.Detail} {
		if part != "" && s != "" {
			s += ": "
		}
		s += part
	}
	return s
}

// Has says whether the registry gave the error code.
func (e *Error) Has(code string) bool {
	return slices.ContainsFunc(e.Errors, func(i ErrorInfo) bool { return strings.EqualFold(i.Code, code) })
}

// Unwrap is the sentinel of the status and codes.
func (e *Error) Unwrap() error {
	switch {
	case e.noToken: // codes of its own
	case e.Has("UNSUPPORTED") && e.Status != http.StatusNotFound:
		return store.ErrUnsupported
	case e.Has("MANIFEST_BLOB_UNKNOWN"), e.Has("MANIFEST_INVALID"): // with 404 too: what is missing is not what was asked for
		return store.ErrRefused
	case e.Has("TOOMANYREQUESTS"):
		return store.ErrUnavailable
	}
	switch e.Status {
	case http.StatusUnauthorized:
		return store.ErrUnauthorized
	case http.StatusForbidden:
		return store.ErrDenied
	case http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return store.ErrUnavailable
	}
	if e.noToken {
		return e.noTokenClass()
	}
	switch e.Status {
	case http.StatusNotFound:
		return store.ErrNotFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return store.ErrUnsupported
	case http.StatusRequestedRangeNotSatisfiable:
		return store.ErrRange
	case http.StatusConflict, http.StatusPreconditionFailed:
		if e.inTheWay() {
			return store.ErrExists
		}
	}
	switch e.Status / 100 {
	case 4:
		return store.ErrRefused
	case 5:
		return store.ErrUnavailable
	}
	return store.ErrInvalid // an answer that the protocol does not have here
}

// inTheWay says whether a code of the registry's own is about a tag that
// exists and may not be moved; the specification has none for it.
func (e *Error) inTheWay() bool {
	return slices.ContainsFunc(e.Errors, func(i ErrorInfo) bool {
		code := strings.ToUpper(i.Code)
		return strings.Contains(code, "EXISTS") || strings.Contains(code, "IMMUTABLE")
	})
}
