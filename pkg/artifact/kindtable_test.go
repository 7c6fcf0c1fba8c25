package artifact

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// kindTable renders what Decide answers to every combination as a Markdown
// table, for the documentation and for the test that holds it.
func kindTable() string {
	var b strings.Builder
	b.WriteString("| kind | artifact type | config | subject | platform | is packed as |\n|---|---|---|---|---|---|\n")
	for _, r := range requests() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", orElse(string(r.Kind), "–"), mark(r.ArtifactType != "", "given"),
			mark(r.Config, orElse(r.ConfigType, "untyped")), mark(r.Subject, "given"), mark(r.Platform, "given"), outcome(r))
	}
	return b.String()
}

// requests are all combinations of what Decide looks at; Files decides nothing
// but EmptyLayer.
func requests() []Request {
	var all []Request
	bools := []bool{false, true}
	for _, kind := range append([]Kind{""}, Kinds()...) {
		for _, artifactType := range []string{"", "application/vnd.example.thing"} {
			for _, config := range []Request{{}, {Config: true}, {Config: true, ConfigType: "application/vnd.example.config"}} {
				for _, subject := range bools {
					for _, platform := range bools {
						all = append(all, Request{
							Kind: kind, ArtifactType: artifactType, Config: config.Config, ConfigType: config.ConfigType,
							Subject: subject, Platform: platform,
						})
					}
				}
			}
		}
	}
	return all
}

func mark(is bool, what string) string {
	if is {
		return what
	}
	return "–"
}

// outcome is the last column.
func outcome(r Request) string {
	d, err := Decide(r)
	if errors.Is(err, store.ErrUsage) {
		return "refused: " + strings.TrimPrefix(err.Error(), store.ErrUsage.Error()+": ")
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return fmt.Sprintf("%s, artifactType %s, config %s", d.Kind, orElse(d.ArtifactType, "–"), orElse(d.ConfigMediaType, "–"))
}
