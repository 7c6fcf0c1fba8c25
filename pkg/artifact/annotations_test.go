package artifact

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/store"
)

// An annotation file is wrong usage or means what encoding/json reads in it:
// nothing is left out, nothing made up.
func FuzzParseAnnotationFile(f *testing.F) {
	f.Add([]byte(`{"$manifest":{"a":"1"},"$config":{},"a.txt":{"k":"\u003c\ud83d\ude00"}}`))
	f.Add([]byte(`{"a":{"b":"1","b":"2"}}`))
	f.Add([]byte(`{"a":null} {}`))
	f.Add([]byte("{\"a\xff\":{}}"))
	f.Add([]byte(`{"\ud800":{"\udc00":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := ParseAnnotationFile(raw)
		if err != nil {
			if !errors.Is(err, store.ErrUsage) {
				t.Fatalf("%v is not ErrUsage", err)
			}
			return
		}
		var want Annotations
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("%q was read: %v", raw, err)
		}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", raw, diff)
		}
	})
}
