package artifact

import (
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// UntitledName is the name of the file for a layer that has no title: all digits
// of the digest, so that two contents never share a name, and an extension where
// the media type tells one.
func UntitledName(d store.Descriptor) string {
	// The ends of names by the ends of media types; the first that fits decides.
	extensions := []struct{ mediaType, name string }{
		{"helm.chart.content.v1.tar+gzip", ".tgz"}, // what Helm itself calls it
		{"helm.chart.provenance.v1.prov", ".prov"},
		{"tar+gzip", ".tar.gz"},
		{"tar.gzip", ".tar.gz"}, // Docker's
		{"tar+zstd", ".tar.zst"},
		{"tar.zstd", ".tar.zst"},
		{"tar", ".tar"},
		{"json", ".json"},
		{"yaml", ".yaml"},
		{"xml", ".xml"},
		{"zip", ".zip"},
		{"gzip", ".gz"},
		{"zstd", ".zst"},
		{"wasm", ".wasm"},
		{"text/plain", ".txt"},
		{"text/html", ".html"},
	}
	mediaType := strings.ToLower(d.MediaType)
	for _, e := range extensions {
		before, ok := strings.CutSuffix(mediaType, e.mediaType)
		if ok && (before == "" || strings.ContainsAny(before[len(before)-1:], "/+.")) {
			return d.Digest.Encoded() + e.name
		}
	}
	return d.Digest.Encoded()
}
