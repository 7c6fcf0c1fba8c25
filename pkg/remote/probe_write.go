package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// writing is the part of a probe that puts content. All of it but the empty
// blob is made of random bytes, so that what is deleted afterwards is nobody
// else's.
type writing struct {
	*prober
	nonce string
	made  []made // in the order in which it was made
	base  store.Descriptor
	main  store.Manifest // names base; no digest where it could not be put
}

// made is something that was put and has to go.
type made struct {
	kind wire.Kind // BlobDelete or ManifestDelete
	name string    // a digest or a tag
	size int64
}

// write asks what only writing shows, and removes what it wrote. The
// repository may come into being with it, and there is no request that would
// delete a repository (T7).
func (p *prober) write(ctx context.Context) {
	w := &writing{prober: p, nonce: rand.Text()[:12]}
	if w.exists(ctx, wire.BlobHead, digest.FromBytes(w.random(probeBlob)).String()) {
		p.note("it says that a blob is there which cannot be: nothing was written")
		return
	}
	p.report.Wrote = true
	defer func() {
		cleanup, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer stop()
		w.clean(cleanup)
	}()
	steps := []func(context.Context){
		w.uploads, w.mounts, w.images, w.subject, w.tagging, w.sha512, w.maxManifest, w.extinct, w.again,
	}
	for _, step := range steps {
		if ctx.Err() != nil {
			return
		}
		step(ctx)
	}
}

// random is n bytes that nobody else has.
func (w *writing) random(n int64) []byte {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	return raw
}

// putManifest puts m by its digest, or under the reference of req, and answers
// whether the registry takes it: yes only where it can be read back.
func (w *writing) putManifest(ctx context.Context, m store.Manifest, tags ...string) (reply, store.Finding) {
	req := w.repo.request(wire.ManifestPut)
	req.Ref, req.Tags = m.Digest.String(), tags
	return w.putAs(ctx, m, req)
}

func (w *writing) putAs(ctx context.Context, m store.Manifest, req wire.Request) (reply, store.Finding) {
	got := w.ask(ctx, call{
		Request: req, Header: http.Header{"Content-Type": {m.MediaType}}, Length: m.Size,
		Body: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Raw)), nil },
	}, 0)
	if got.lost != nil || got.status/100 == 2 {
		w.made = append(w.made, made{wire.ManifestDelete, m.Digest.String(), m.Size})
		if !store.IsDigest(req.Ref) {
			req.Tags = append(slices.Clone(req.Tags), req.Ref)
		}
		for _, tag := range req.Tags {
			w.made = append(w.made, made{wire.ManifestDelete, tag, m.Size})
		}
	}
	f := got.finding(store.Unknown, "", "")
	switch {
	case got.mute() != "":
	case got.status/100 == 2 && w.repo.holds(ctx, m.Digest, m.Raw):
		f = got.finding(store.Yes, "", "")
	case got.status/100 == 2:
		f.Evidence.Note = "it says that it was stored, and it is not there"
	case got.is(http.StatusNotFound), got.refusal != nil && got.refusal.Has("MANIFEST_BLOB_UNKNOWN"):
	case got.status/100 == 4:
		f = got.finding(store.No, "", "")
	}
	return got, f
}

// image is a manifest with an artifactType and the empty config, made unique
// by an annotation.
func (w *writing) image(about string, subject *store.Descriptor, layers ...store.Descriptor) store.Manifest {
	return encoded(store.MediaTypeImage, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: store.MediaTypeImage, ArtifactType: probeType,
		Config: store.Plain(store.EmptyJSON()), Layers: append([]store.Descriptor{}, layers...), Subject: subject,
		Annotations: map[string]string{"dev.stet.probe": about + " " + w.nonce},
	})
}

func encoded(mediaType string, v any) store.Manifest {
	raw, err := json.Marshal(v)
	if err != nil {
		raw = nil // structs of strings and numbers have a JSON form
	}
	return store.NewManifest(mediaType, raw)
}

// images puts the forms that an artifact can have today.
func (w *writing) images(ctx context.Context) {
	if w.base.Digest == "" {
		return
	}
	m := w.image("main", nil, w.base)
	_, f := w.putManifest(ctx, m)
	w.set(store.AbilityArtifactType, f)
	if f.Answer == store.Yes {
		w.main = m
	}
	_, f = w.putManifest(ctx, w.image("without layers", nil))
	w.set(store.AbilityEmptyLayers, f)
	if w.main.Digest == "" {
		return
	}
	inner := w.index(w.main.Descriptor)
	_, f = w.putManifest(ctx, inner)
	if f.Answer != store.Yes {
		f.Evidence.Note = joined(f.Evidence.Note, "an index of one image")
		f.Answer = store.Unknown // about indexes, not about those in others
		w.set(store.AbilityNestedIndex, f)
		return
	}
	_, f = w.putManifest(ctx, w.index(inner.Descriptor))
	w.set(store.AbilityNestedIndex, f)
}

func (w *writing) index(child store.Descriptor) store.Manifest {
	return encoded(store.MediaTypeIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: store.MediaTypeIndex,
		Manifests:   []store.Descriptor{store.Plain(child)},
		Annotations: map[string]string{"dev.stet.probe": "index " + w.nonce},
	})
}

// subject puts a referrer. That OCI-Subject is sent and that the referrer is
// listed are two answers: there are registries that do only one.
func (w *writing) subject(ctx context.Context) {
	if w.main.Digest == "" {
		return
	}
	about := store.Plain(w.main.Descriptor)
	m := w.image("referrer", &about, w.base)
	got, f := w.putManifest(ctx, m)
	const header = "OCI-Subject"
	if f.Answer == store.Yes {
		switch v := got.header.Get(header); v {
		case about.Digest.String():
			f = got.finding(store.Yes, header, "")
		case "":
			f = got.finding(store.No, header, "stored without "+header)
		default:
			f = got.finding(store.No, header, "it names another subject")
		}
	} else {
		f.Answer = store.Unknown // refused, so that nothing could be said of it
	}
	w.set(store.AbilityOCISubject, f)
	if f.Answer == store.Unknown {
		return
	}
	w.readBack(ctx, m)
	w.filter(ctx, w.main.Digest)
	if f.Answer == store.Yes && w.report.Support.Of(store.AbilityReferrersAPI) == store.No {
		// Docker Hub and ECR did so in 2024.
		w.note("it answers OCI-Subject and has no referrers API: clients that trust the header lose referrers")
	}
}

// readBack asks for the referrer until it is listed (T10).
func (w *writing) readBack(ctx context.Context, m store.Manifest) {
	for _, wait := range []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond, time.Second} {
		if waitFor(ctx, wait) != nil {
			return
		}
		list := w.referrers(ctx, w.main.Digest)
		f := w.report.Support[store.AbilityReferrersAPI]
		if f.Answer != store.Yes {
			return
		}
		if slices.ContainsFunc(list, func(d store.Descriptor) bool { return d.Digest == m.Digest }) {
			f.Evidence.Note = "it lists what was just put"
			w.set(store.AbilityReferrersAPI, f)
			return
		}
	}
	f := w.report.Support[store.AbilityReferrersAPI]
	f.Answer, f.Evidence.Note = store.Unknown, "it answers with a list, and what was just put is not in it"
	w.set(store.AbilityReferrersAPI, f)
}

// tagging puts two tags at once, or one after the other where that is not done.
func (w *writing) tagging(ctx context.Context) {
	if w.main.Digest == "" {
		return
	}
	tags := []string{"stet-probe-" + strings.ToLower(w.nonce) + "-1", "stet-probe-" + strings.ToLower(w.nonce) + "-2"}
	got, f := w.putManifest(ctx, w.main, tags...)
	const header = "OCI-Tag"
	if f.Answer == store.Yes {
		set := echoedTags(got.resp)
		if !slices.Contains(set, tags[0]) || !slices.Contains(set, tags[1]) {
			f = got.finding(store.No, header, "two tags were asked for, and not confirmed by "+header)
		} else {
			f = got.finding(store.Yes, header, "")
		}
	} else {
		f.Answer = store.Unknown // the same without tags was taken
	}
	w.set(store.AbilityMultiTag, f)
	for _, tag := range tags {
		if f.Answer == store.Yes {
			break
		}
		req := w.repo.request(wire.ManifestPut)
		req.Ref = tag
		w.putAs(ctx, w.main, req)
	}
	w.tagPaging(ctx)
	w.untag(ctx, tags[0])
}

// untag deletes one of the tags, and looks whether the manifest is still there.
func (w *writing) untag(ctx context.Context, tag string) {
	if !w.exists(ctx, wire.ManifestHead, tag) {
		return
	}
	req := w.repo.request(wire.ManifestDelete)
	req.Ref = tag
	got := w.ask(ctx, call{Request: req}, 0)
	f := w.deleted(ctx, got, made{wire.ManifestDelete, tag, 0})
	if f.Answer == store.Yes && !w.exists(ctx, wire.ManifestHead, w.main.Digest.String()) {
		f = got.finding(store.No, "", "the manifest was deleted with its tag")
	}
	w.set(store.AbilityTagDelete, f)
}

// sha512 puts a blob and a manifest under sha512 digests. That an upload for
// sha512 is opened shows nothing: it is what they are called afterwards.
func (w *writing) sha512(ctx context.Context) {
	if w.base.Digest == "" {
		return
	}
	raw := w.random(32)
	d := digest.SHA512.FromBytes(raw)
	got := w.putBlob(ctx, raw, d)
	f := got.finding(store.Unknown, "Docker-Content-Digest", "")
	switch named := namedIn(got); {
	case got.mute() != "":
	case got.status/100 == 4:
		f = got.finding(store.No, "", "")
	case got.status/100 == 2 && named != "" && named != d:
		f = got.finding(store.No, "Docker-Content-Digest", "the blob got another name")
	case got.status/100 == 2 && w.exists(ctx, wire.BlobHead, d.String()):
		m := w.image("sha512", nil, w.base)
		m.Digest = digest.SHA512.FromBytes(m.Raw)
		got, f = w.putManifest(ctx, m)
		f.Evidence.Note = joined(f.Evidence.Note, "the blob was taken")
		if other := namedIn(got); other != "" && other != m.Digest && got.status/100 == 2 {
			w.made = append(w.made, made{wire.ManifestDelete, other.String(), m.Size})
		}
	}
	w.set(store.AbilitySHA512, f)
}

// namedIn is Docker-Content-Digest of a reply, "" also without an answer.
func namedIn(got reply) digest.Digest {
	if got.resp == nil {
		return ""
	}
	return headerDigest(got.resp)
}

// maxManifest asks with manifests that are refused for their digest at last, or
// for their size before: nothing is stored.
func (w *writing) maxManifest(ctx context.Context) {
	small, err := w.repo.kinds.ask(ctx, w.repo, store.MediaTypeImage)
	if err != nil || small.silent() != "" && !small.stored {
		return
	}
	var taken int64
	// distribution-spec "Pushing Manifests": at least 4 MiB. Larger ones are of use where we take them ourselves.
	for _, size := range []int64{DefaultMaxManifest, w.repo.client.opts.MaxManifest} {
		if size <= taken || size < DefaultMaxManifest {
			continue
		}
		m := w.image("", nil, store.Plain(store.EmptyJSON())) // a layer, as the small one has
		padding := strings.Repeat("x", int(size-m.Size))
		m = store.NewManifest(m.MediaType, bytes.Replace(m.Raw, []byte(`"dev.stet.probe":"`), []byte(`"dev.stet.probe":"`+padding), 1))
		got, err := w.repo.putUnder(ctx, m)
		if err != nil {
			break
		}
		if got.left != "" {
			w.report.Left = append(w.report.Left, got.left)
		}
		fits := got.stored || got.same(small.reply) && !small.stored
		switch {
		case fits:
			taken = size
			w.set(store.AbilityMaxManifest, store.Finding{
				Answer: store.Yes, Value: strconv.FormatInt(size, 10),
				Evidence: got.evidence("", fmt.Sprintf("as a small one is answered: %d bytes", size)),
			})
			continue
		case taken == 0 && got.silent() == "":
			w.set(store.AbilityMaxManifest, got.finding(store.No, "", fmt.Sprintf("with %d bytes, where a small one got %s", size, small)))
		case taken == 0:
			w.set(store.AbilityMaxManifest, got.finding(store.Unknown, "", got.silent()))
		default:
			f := w.report.Support[store.AbilityMaxManifest]
			f.Evidence.Note += fmt.Sprintf("; %d bytes got %s", size, got)
			w.set(store.AbilityMaxManifest, f)
		}
		return
	}
}

// extinct asks for the extinct kinds as a push would, and where that cannot be
// decided, pushes one.
func (w *writing) extinct(ctx context.Context) {
	for _, mediaType := range []string{store.MediaTypeArtifact, store.MediaTypeORASArtifact} {
		ability := abilityOf(mediaType)
		f, err := w.repo.Takes(ctx, mediaType)
		if err != nil {
			w.set(ability, unknown("no answer: "+err.Error()))
			return
		}
		w.set(ability, f)
		if f.Answer != store.Unknown || w.base.Digest == "" {
			continue
		}
		raw := fmt.Sprintf(`{"mediaType":%q,"artifactType":%q,"blobs":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
			mediaType, probeType, w.base.MediaType, w.base.Digest, w.base.Size)
		if _, pushed := w.putManifest(ctx, store.NewManifest(mediaType, []byte(raw))); pushed.Answer == store.Yes {
			w.set(ability, pushed)
		}
	}
	w.report.Left = append(w.report.Left, w.repo.kinds.left()...)
}

// again asks anew what could not be answered for lack of content.
func (w *writing) again(ctx context.Context) {
	if w.report.Support.Of(store.AbilityRanges) == store.Unknown && w.base.Digest != "" && len(w.blobs) == 0 {
		w.blobs = []store.Descriptor{w.base}
		w.ranges(ctx)
	}
}
