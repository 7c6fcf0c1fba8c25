package remote

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/store"
)

// refusal is the error that an answer becomes.
func refusal(status int, body io.Reader) *Error {
	u := &url.URL{Scheme: "https", Host: "reg.io", Path: "/v2/app/manifests/v1"}
	resp := &http.Response{StatusCode: status, Body: io.NopCloser(body), Request: &http.Request{Method: "PUT", URL: u, Header: http.Header{}}}
	return newError(resp, &trip{}, headerSecrets(resp.Request.Header))
}

func TestErrorText(t *testing.T) {
	const at = "PUT https://reg.io/v2/app/manifests/v1: "
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"code":            {403, `{"errors":[{"code":"DENIED","message":"requested access is denied"}]}`, "403 DENIED: requested access is denied"},
		"detail text":     {400, `{"errors":[{"code":"NAME_INVALID","message":"bad name","detail":"why not"}]}`, "400 NAME_INVALID: bad name: why not"},
		"detail object":   {404, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"m","detail":{"Tag": "v1 <x>"}}]}`, `404 MANIFEST_UNKNOWN: m: {"Tag":"v1 <x>"}: not found`},
		"detail array":    {401, `{"errors":[{"code":"UNAUTHORIZED","detail":[{"Type":"repository"}]}]}`, `401 UNAUTHORIZED: [{"Type":"repository"}]`},
		"detail empty":    {401, `{"errors":[{"code":"UNAUTHORIZED","message":"m","detail":{}}]}`, "401 UNAUTHORIZED: m"},
		"two errors":      {400, `{"errors":[{"code":"A"},{"code":"B","message":"b"}]}`, "400 A; B: b"},
		"code is number":  {400, `{"errors":[{"code":17,"message":["x"]}]}`, `400 17: ["x"]`},
		"other JSON":      {400, `{"error":"invalid_grant","error_description":"no such user"}`, "400 invalid_grant: no such user"},
		"details":         {401, `{"details":"incorrect username or password"}`, "401 Unauthorized: incorrect username or password"},
		"null errors":     {500, `{"errors":null}`, "500 Internal Server Error"},
		"array":           {500, `[1]`, "500 Internal Server Error: [1]"},
		"text":            {502, "upstream\r\nmore", "502 Bad Gateway: upstream"},
		"page":            {502, "\n<!DOCTYPE html><HTML><Title>Bad\n &amp; gone</TITLE>" + strings.Repeat("x", 5000), "502 Bad Gateway: HTML page: Bad & gone"},
		"page, no title":  {502, "<html>", "502 Bad Gateway: HTML page: (no title)"},
		"nothing":         {404, "", "404 not found"},
		"unknown status":  {499, "", "499"},
		"not UTF-8":       {400, "a\xff\xfeb", "400 Bad Request: a\uFFFDb"},
		"lines in a code": {400, `{"errors":[{"code":"A\nB","message":"c\n\nd"}]}`, "400 A B: c d"},
	} {
		if diff := cmp.Diff(at+c.want, refusal(c.status, strings.NewReader(c.body)).Error()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestErrorClass(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{400, "MANIFEST_INVALID", store.ErrRefused},
		{401, "", store.ErrUnauthorized},
		{403, "DENIED", store.ErrDenied},
		{404, "NAME_UNKNOWN", store.ErrNotFound},
		{404, "MANIFEST_BLOB_UNKNOWN", store.ErrRefused},
		{404, "UNSUPPORTED", store.ErrNotFound},
		{400, "UNSUPPORTED", store.ErrUnsupported},
		{405, "", store.ErrUnsupported},
		{408, "", store.ErrUnavailable},
		{409, "", store.ErrRefused},
		{409, "TAG_ALREADY_EXISTS", store.ErrExists},
		{412, "IMMUTABLE", store.ErrExists},
		{413, "", store.ErrRefused},
		{415, "", store.ErrRefused},
		{416, "", store.ErrRange},
		{422, "", store.ErrRefused},
		{429, "TOOMANYREQUESTS", store.ErrUnavailable},
		{500, "", store.ErrUnavailable},
		{501, "", store.ErrUnsupported},
		{503, "", store.ErrUnavailable},
		{200, "", store.ErrInvalid},
		{302, "", store.ErrInvalid},
	} {
		e := refusal(c.status, strings.NewReader(`{"errors":[{"code":"`+c.code+`"}]}`))
		if !errors.Is(e, c.want) {
			t.Errorf("%d %s is %v, want %v", c.status, c.code, errors.Unwrap(e), c.want)
		}
		if errors.Is(e, store.ErrNotFound) && !strings.Contains(e.Error(), "not found") {
			t.Errorf("%d %s: %v does not say that it is not found", c.status, c.code, e)
		}
	}
}

type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.n += len(p)
	return len(p), nil
}

func TestErrorBodyIsBounded(t *testing.T) {
	body := &endless{}
	e := refusal(500, body)
	if body.n > 2*maxErrorBody || len(e.Error()) > 2*maxErrorText {
		t.Errorf("read %d bytes, and says %d", body.n, len(e.Error()))
	}
}

// Of an answer that is cut the codes are known all the same: they decide.
func TestErrorBodyThatIsCut(t *testing.T) {
	long := strings.Repeat("x", 2*maxErrorBody)
	for name, c := range map[string]struct {
		body string
		want []ErrorInfo
	}{
		"in a detail":      {`{"errors":[{"code":"UNSUPPORTED","message":"m","detail":"` + long, []ErrorInfo{{Code: "UNSUPPORTED", Message: "m"}}},
		"in the second":    {`{"errors":[{"code":"A","detail":{"b":1}},{"code":"UNSUPPORTED","message":"` + long, []ErrorInfo{{Code: "A", Detail: `{"b":1}`}, {Code: "UNSUPPORTED"}}},
		"between two":      {`{"errors":[{"code":"UNSUPPORTED"},`, []ErrorInfo{{Code: "UNSUPPORTED"}}},
		"after the list":   {`{"x":{"y":[1]},"errors":[{"code":"UNSUPPORTED"}],"z":"` + long, []ErrorInfo{{Code: "UNSUPPORTED"}}},
		"before the codes": {`{"x":"y`, []ErrorInfo{{Message: `{"x":"y`}}},
		"no object":        {`{"errors":["UNSUPPORTED"`, []ErrorInfo{{Message: `{"errors":["UNSUPPORTED"`}}},
		"no list":          {`{"errors":{"code":"UNSUPPORTED"`, []ErrorInfo{{Message: `{"errors":{"code":"UNSUPPORTED"`}}},
		"a name is cut":    {`{"errors":[{"code":"UNSUPPORTED","mess`, []ErrorInfo{{Code: "UNSUPPORTED"}}},
	} {
		e := refusal(400, strings.NewReader(c.body))
		if diff := cmp.Diff(c.want, e.Errors); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestReadLimited(t *testing.T) {
	if raw, err := readLimited(strings.NewReader("hello"), 5); err != nil || string(raw) != "hello" {
		t.Errorf("%q, %v", raw, err)
	}
	if _, err := readLimited(strings.NewReader("hello!"), 5); !errors.Is(err, store.ErrTooLarge) {
		t.Error(err)
	}
}
