package laws

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z0-9]\w+`)

// What docs/security-model.md says was tried is tried by a test: each that it
// names exists.
func TestSecurityModelNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/security-model.md")
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{"TestCaseNN": true, "TestBeyond": true} // which stand for all of them
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declaration.FindAllSubmatch(text, -1) {
			declared[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := testName.FindAllString(string(page), -1)
	if len(names) < 40 {
		t.Errorf("it names %d tests only", len(names))
	}
	for _, n := range names {
		if !declared[n] {
			t.Errorf("docs/security-model.md names %s, which is no test", n)
		}
	}
}
