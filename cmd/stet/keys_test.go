package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// checkKeys compares the keys of a JSON document with a list of them:
//
//	keys FILE LIST
//
// A line of LIST is a path and the type that stands there, such as
//
//	files        array
//	files[]      object
//	files[].path string
//
// A path that ends with ? may be absent; the type any is not looked into. A
// document with another path or type fails, and so does one that lacks a path,
// unless what holds it is absent or an empty array.
func checkKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keys FILE LIST")
	}
	var doc any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &doc))
	want, optional := map[string]string{}, map[string]bool{}
	for _, line := range strings.Split(ts.ReadFile(args[1]), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		path, maybe := strings.CutSuffix(fields[0], "?")
		want[path], optional[path] = fields[1], maybe
	}
	k := &keys{want: want, seen: map[string]bool{}}
	k.walk("", doc)
	for path := range want {
		parent := path[:max(strings.LastIndexByte(path, '.'), strings.LastIndex(path, "[]"), 0)]
		if !optional[path] && !k.seen[path] && (parent == "" || k.seen[parent]) && !strings.HasSuffix(path, "[]") {
			k.faults = append(k.faults, "it lacks "+path)
		}
	}
	if len(k.faults) > 0 {
		slices.Sort(k.faults)
		ts.Fatalf("%s:\n%s", strings.Join(slices.Compact(k.faults), "\n"), ts.ReadFile(args[0]))
	}
}

type keys struct {
	want   map[string]string
	seen   map[string]bool
	faults []string
}

func (k *keys) walk(path string, v any) {
	is := typeOf(v)
	if path != "" {
		k.seen[path] = true
		switch want := k.want[path]; want {
		case "any":
			return
		case "":
			k.faults = append(k.faults, fmt.Sprintf("it has %s, which is not on the list", path))
			return
		default:
			if is != want {
				k.faults = append(k.faults, fmt.Sprintf("%s is %s, want %s", path, is, want))
				return
			}
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			k.walk(strings.TrimPrefix(path+"."+name, "."), child)
		}
	case []any:
		for _, child := range v {
			k.walk(path+"[]", child)
		}
	}
}

func typeOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "bool"
	}
	return "null"
}
