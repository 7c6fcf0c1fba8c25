package remote

import (
	"context"

	"github.com/stet-oci/stet/pkg/store"
)

// Takes says what is known of a media type: until it is asked, nothing.
func (r *repository) Takes(context.Context, string) (store.Finding, error) {
	return r.Support()[store.AbilityArtifactManifests], nil
}
