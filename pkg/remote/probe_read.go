package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// readOnly asks what can be asked without changing anything. OPTIONS and
// _oci/ext/discover are not asked: the methods that the one names are not those
// that are allowed, and the other lists none of the abilities.
func (p *prober) readOnly(ctx context.Context, ref string) {
	tag := p.tagPaging(ctx)
	if ref == "" {
		ref = tag
	}
	if ref != "" {
		p.readSample(ctx, ref)
	}
	p.referrers(ctx, p.subject)
	p.filter(ctx, p.subject)
	p.ranges(ctx)
	p.catalog(ctx)
}

// tagPaging asks for one tag, and gives it. Neither last= with an invented tag
// nor n=0 is asked: one is 404 in zot, the other ends olareg.
func (p *prober) tagPaging(ctx context.Context) (tag string) {
	got, tags := p.tags(ctx, 1)
	link := got.header.Get("Link") != ""
	f := got.finding(store.Unknown, "Link", "")
	switch {
	case got.mute() != "":
	case tags == nil:
		f.Evidence.Note = joined(f.Evidence.Note, "no list of tags")
	case len(tags) > 1:
		f = got.finding(store.No, "Link", fmt.Sprintf("asked for 1 tag, got %d", len(tags)))
	case len(tags) == 1 && link:
		f = got.finding(store.Yes, "Link", "")
	default:
		// Are there more than the one?
		whole, all := p.tags(ctx, wire.NoLimit)
		if whole.mute() == "" && len(all) > 1 {
			f = got.finding(store.No, "Link", fmt.Sprintf("1 of %d tags without a Link to the others", len(all)))
			break
		}
		f.Evidence.Note = joined(f.Evidence.Note, fmt.Sprintf("all tags fit into one page: %d", len(tags)))
	}
	p.set(store.AbilityTagPaging, f)
	if len(tags) == 0 {
		return ""
	}
	return tags[0]
}

// tags is one page of tags; nil where the answer has no list.
func (p *prober) tags(ctx context.Context, n int) (reply, []string) {
	req := p.repo.request(wire.TagList)
	req.N = n
	got := p.ask(ctx, call{Request: req}, p.repo.client.opts.MaxManifest)
	var page struct {
		Tags *[]string `json:"tags"`
		Name string    `json:"name"`
	}
	if !got.is(http.StatusOK) || json.Unmarshal(got.body, &page) != nil || page.Tags == nil && page.Name == "" {
		return got, nil
	}
	if page.Tags == nil { // null in some registries
		return got, []string{}
	}
	return got, slices.DeleteFunc(*page.Tags, func(t string) bool { return checkRef(t) != nil || store.IsDigest(t) })
}

// readSample reads a manifest that is there, so that questions can be about
// something that exists. It is one GET, two for an index (T8: Docker Hub counts
// them).
func (p *prober) readSample(ctx context.Context, ref string) {
	for range 2 {
		if checkRef(ref) != nil {
			return
		}
		req := p.repo.request(wire.ManifestGet)
		req.Ref = ref
		got := p.ask(ctx, call{Request: req, Header: accept()}, p.repo.client.opts.MaxManifest)
		if !got.is(http.StatusOK) || got.mute() != "" {
			return
		}
		m, err := readManifest(got.resp, ref, got.body)
		if err != nil {
			p.note("the manifest " + ref + " could not be used: " + err.Error())
			return
		}
		if p.subject == "" {
			p.subject = m.Digest
		}
		o, err := store.ParseOutline(m)
		if err != nil {
			return
		}
		p.blobs = slices.DeleteFunc(o.Blobs(), func(b store.Descriptor) bool { return b.Size < 2 || len(b.URLs) > 0 })
		if len(o.Manifests) == 0 {
			return
		}
		ref = o.Manifests[0].Digest.String()
	}
}

// absent is a digest that nothing has.
const absent digest.Digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// referrers asks the referrers API, of a subject that is there if one is known:
// Quay answers 400 to others. It gives what is listed.
func (p *prober) referrers(ctx context.Context, subject digest.Digest) []store.Descriptor {
	known := subject != ""
	if !known {
		subject = absent
	}
	req := p.repo.request(wire.Referrers)
	req.Digest = subject
	got := p.ask(ctx, call{Request: req, Header: http.Header{"Accept": {store.MediaTypeIndex}}}, p.repo.client.opts.MaxManifest)
	f := got.finding(store.Unknown, "Content-Type", "")
	var list []store.Descriptor
	switch {
	case got.mute() != "":
	case got.is(http.StatusOK):
		var err error
		switch list, err = readReferrers(got); {
		case err != nil:
			f.Evidence.Note = err.Error()
		case list == nil:
			f.Evidence.Note = "{} is no list: Harbor before 2.9 answers so for what it does not have"
		case len(list) == 0: // T10
			f = got.finding(store.Yes, "Content-Type", "the list is empty, which does not show that anything would be in it")
		default:
			f = got.finding(store.Yes, "Content-Type", "")
		}
	case got.is(http.StatusNotFound) && got.refusal.Has("MANIFEST_UNKNOWN"):
		f.Evidence.Note = joined(f.Evidence.Note, "which is about the digest")
	case got.is(http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented):
		f = got.finding(store.No, "", "") // distribution-spec "Unavailable Referrers API"
	default:
		f.Evidence.Note = joined(f.Evidence.Note, "neither a list nor that there is no such endpoint")
	}
	p.set(store.AbilityReferrersAPI, f)
	return list
}

// readReferrers reads the index; nil is the empty object. T11: parameters of the
// Content-Type mean nothing.
func readReferrers(got reply) ([]store.Descriptor, error) {
	if bytes.Equal(bytes.TrimSpace(got.body), []byte("{}")) {
		return nil, nil
	}
	var index struct {
		SchemaVersion int             `json:"schemaVersion"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(got.body, &index); err != nil || index.SchemaVersion != 2 || index.Manifests == nil {
		return nil, fmt.Errorf("%w: the body is no image index", store.ErrInvalid)
	}
	list, err := decodeReferrers(mediaType(got.resp), got.body)
	if err == nil && list == nil {
		list = []store.Descriptor{}
	}
	return list, err
}

// filter asks the referrers API for a type that nothing has (end-12b). Harbor
// before 2.9 put the value of the filter where its name belongs, and there are
// registries that name it and do not do it.
func (p *prober) filter(ctx context.Context, subject digest.Digest) {
	api := p.report.Support[store.AbilityReferrersAPI]
	if api.Answer != store.Yes {
		f := api
		f.Evidence.Note = joined(f.Evidence.Note, "without the referrers API there is no filter")
		p.set(store.AbilityReferrersFilter, f)
		return
	}
	if subject == "" {
		subject = absent
	}
	req := p.repo.request(wire.Referrers)
	req.Digest, req.ArtifactType = subject, nonsenseType
	got := p.ask(ctx, call{Request: req}, p.repo.client.opts.MaxManifest)
	const header = "OCI-Filters-Applied"
	f := got.finding(store.Unknown, header, "")
	if got.is(http.StatusOK) && got.mute() == "" {
		list, err := readReferrers(got)
		named := slices.ContainsFunc(strings.Split(got.header.Get(header), ","), func(s string) bool { return strings.TrimSpace(s) == "artifactType" })
		switch {
		case err != nil:
			f.Evidence.Note = err.Error()
		case named && len(list) > 0:
			f = got.finding(store.No, header, "it is said to be applied, and is not")
		case named:
			f = got.finding(store.Yes, header, "")
		default:
			f = got.finding(store.No, header, "no "+header+": artifactType")
		}
	}
	p.set(store.AbilityReferrersFilter, f)
}

// ranges asks for the first byte of a blob, and reads no more where all come.
func (p *prober) ranges(ctx context.Context) {
	if len(p.blobs) == 0 {
		p.set(store.AbilityRanges, unknown("no blob is known to ask for"))
		return
	}
	req := p.repo.request(wire.BlobGet)
	req.Digest = p.blobs[0].Digest
	got := p.ask(ctx, call{Request: req, Header: http.Header{"Range": {"bytes=0-0"}}}, 2)
	// Blobs may come from another host, whose ability it is then.
	from := got.foreign
	got.foreign = ""
	f := got.finding(store.Unknown, "Content-Range", "")
	switch {
	case got.mute() != "":
	case got.is(http.StatusPartialContent):
		first, last, _, ok := parseContentRange(got.header.Get("Content-Range"))
		if ok && first == 0 && last == 0 && len(got.body) == 1 {
			f = got.finding(store.Yes, "Content-Range", "")
		} else {
			f = got.finding(store.No, "Content-Range", "another part than was asked for")
		}
	case got.is(http.StatusOK):
		f = got.finding(store.No, "Accept-Ranges", "the whole blob came")
		if len(got.body) < 2 { // of a blob that has more
			f.Answer = store.Unknown
		}
	}
	if from != "" {
		f.Value = from
		f.Evidence.Note = joined(f.Evidence.Note, "blobs come from "+from)
	}
	p.set(store.AbilityRanges, f)
}

// catalog asks for one repository. Many registries show it to administrators only.
func (p *prober) catalog(ctx context.Context) {
	got := p.ask(ctx, call{Request: wire.Request{Kind: wire.Catalog, N: 1}}, p.repo.client.opts.MaxManifest)
	f := got.finding(store.Unknown, "", "")
	var page struct {
		Repositories json.RawMessage `json:"repositories"`
	}
	switch {
	case got.mute() != "":
	case got.is(http.StatusOK) && json.Unmarshal(got.body, &page) == nil && page.Repositories != nil:
		f = got.finding(store.Yes, "", "")
	case got.is(http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented):
		f = got.finding(store.No, "", "")
	case got.is(http.StatusOK):
		f.Evidence.Note = "no list of repositories"
	}
	p.set(store.AbilityCatalog, f)
}
