package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Takes says whether the registry takes manifests of a media type. For the
// kinds of today nothing is asked. For others it is found out by a PUT that
// every registry has to refuse, because the digest in its URL is not the
// body's (distribution-spec "Pushing Manifests"): a registry that knows the
// type refuses it as it refuses an image manifest there, one that does not as
// it refuses a type that nobody has. The three requests are made once for each
// store and type; what comes of them informs, and chooses nothing (T13).
//
// A registry that does not compare digests stores the manifest; it is deleted
// again. What cannot be deleted is told as a Warning and in the evidence.
func (r *repository) Takes(ctx context.Context, mediaType string) (store.Finding, error) {
	switch mediaType {
	case store.MediaTypeImage, store.MediaTypeIndex, store.MediaTypeDockerImage, store.MediaTypeDockerIndex:
		return store.Finding{Evidence: store.Evidence{Note: "not asked: registries take this kind"}}, nil
	}
	own, err := r.kinds.ask(ctx, r, mediaType)
	if err != nil {
		return store.Finding{}, err
	}
	f, err := r.judge(ctx, own)
	if ability := abilityOf(mediaType); err == nil && ability != "" && f.Answer != store.Unknown {
		r.known.learn(ability, f.Answer, f.Evidence)
	}
	return f, err
}

// abilityOf is the ability to take the media type, "" where it has no name.
func abilityOf(mediaType string) store.Ability {
	switch mediaType {
	case store.MediaTypeArtifact:
		return store.AbilityArtifactManifests
	case store.MediaTypeORASArtifact:
		return store.AbilityORASArtifactManifests
	}
	return ""
}

// nonsenseType is the control that no registry knows.
const nonsenseType = "application/vnd.example.nonsense.v1+json"

// judge compares what the registry said to the type with what it says to an
// image manifest and to nonsense in the same place.
func (r *repository) judge(ctx context.Context, own kindReply) (store.Finding, error) {
	unknown := func(k kindReply, note string) (store.Finding, error) {
		return store.Finding{Answer: store.Unknown, Evidence: k.evidence("", joined(note, k.left))}, nil
	}
	switch {
	case own.stored:
		return store.Finding{Answer: store.Yes, Evidence: own.evidence("", joined("it was stored under a digest that it does not have", own.left))}, nil
	case own.silent() != "":
		return unknown(own, own.silent())
	}
	var controls []kindReply
	for _, t := range []string{store.MediaTypeImage, nonsenseType} {
		k, err := r.kinds.ask(ctx, r, t)
		if err != nil {
			return store.Finding{}, err
		}
		if why := k.silent(); why != "" && !k.stored {
			return unknown(own, fmt.Sprintf("to compare, %s was put and got %s: %s", t, k, why))
		}
		controls = append(controls, k)
	}
	image, nonsense := controls[0], controls[1]
	note := fmt.Sprintf("in the same place an image manifest got %s, and a type that nobody has %s", image, nonsense)
	note = joined(note, image.left, nonsense.left)
	switch likeImage, likeNonsense := own.same(image.reply), own.same(nonsense.reply); {
	case likeImage && likeNonsense:
		return unknown(own, note+", which does not tell them apart")
	case likeImage:
		return store.Finding{Answer: store.Yes, Evidence: own.evidence("", note)}, nil
	case likeNonsense:
		return store.Finding{Answer: store.No, Evidence: own.evidence("", note)}, nil
	}
	return unknown(own, note+", and this is like neither")
}

// kindReply is an answer to a manifest put under a digest that it does not have.
type kindReply struct {
	reply
	stored bool   // it was stored all the same, and deleted again
	left   string // what of it could not be deleted, in words
}

// silent says why the answer is none about the media type, "" where it is one.
func (k kindReply) silent() string {
	switch why := k.mute(); {
	case why != "":
		return why
	case k.is(http.StatusNotFound) && k.code() != "MANIFEST_INVALID": // Docker Hub refuses a type so
		return "not found, which may be about the repository"
	case k.status/100 == 2 && !k.stored:
		return "it says that it was stored, and it is not there"
	}
	return ""
}

// kinds remembers the answers by media type, for as long as the store is open (T9).
type kinds struct {
	mu    sync.Mutex
	asked map[string]*asking
}

// asking is a question under way or answered.
type asking struct {
	done  chan struct{}
	reply kindReply
	err   error
}

// ask puts a manifest of the type where it cannot belong, once for all who
// ask. Where whoever asked was cancelled or got no answer, the next asks anew.
func (k *kinds) ask(ctx context.Context, r *repository, mediaType string) (kindReply, error) {
	for {
		k.mu.Lock()
		if k.asked == nil {
			k.asked = map[string]*asking{}
		}
		a, ok := k.asked[mediaType]
		if !ok {
			a = &asking{done: make(chan struct{})}
			k.asked[mediaType] = a
		}
		k.mu.Unlock()
		if !ok {
			a.reply, a.err = r.putMisnamed(ctx, mediaType)
			if a.err != nil {
				k.mu.Lock()
				delete(k.asked, mediaType)
				k.mu.Unlock()
			}
			close(a.done)
			return a.reply, a.err
		}
		select {
		case <-ctx.Done():
			return kindReply{}, context.Cause(ctx)
		case <-a.done:
			if errors.Is(a.err, context.Canceled) || errors.Is(a.err, context.DeadlineExceeded) {
				continue // not ours that ended
			}
			return a.reply, a.err
		}
	}
}

// left is what the questions so far could not delete.
func (k *kinds) left() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []string
	for _, a := range k.asked {
		select {
		case <-a.done:
			if a.reply.left != "" {
				all = append(all, a.reply.left)
			}
		default:
		}
	}
	return all
}

// putMisnamed is the PUT, and the clean-up where it was taken.
func (r *repository) putMisnamed(ctx context.Context, mediaType string) (kindReply, error) {
	return r.putUnder(ctx, store.NewManifest(mediaType, sampleOf(mediaType)))
}

// putUnder puts m under a digest that is not its own.
func (r *repository) putUnder(ctx context.Context, m store.Manifest) (kindReply, error) {
	wrong := digest.FromString("not " + m.Digest.String())
	req := r.request(wire.ManifestPut)
	req.Ref = wrong.String()
	got, err := r.client.ask(ctx, call{
		Request: req,
		Header:  http.Header{"Content-Type": {m.MediaType}},
		Body:    func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Raw)), nil },
		Length:  m.Size,
	}, 0)
	k := kindReply{reply: got}
	if err == nil && got.status/100 != 2 {
		return k, nil
	}
	limit := cleanupTimeout
	if err != nil { // an answer that is lost may have been a 2xx
		limit = cancelTimeout
	}
	cleanup, stop := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer stop()
	k.stored, k.left = r.takeBack(cleanup, m, wrong)
	if k.left != "" {
		r.client.opts.Events.Emit(store.Event{Kind: store.Warning, Name: r.client.host + "/" + r.name, Text: k.left})
	}
	return k, err
}

const cleanupTimeout = 30 * time.Second

// takeBack deletes m, which may be stored under the wrong digest and under its
// own. Only what reads as m's bytes was stored: a portal answers 200 to
// everything and keeps nothing.
func (r *repository) takeBack(ctx context.Context, m store.Manifest, wrong digest.Digest) (stored bool, left string) {
	for _, d := range []digest.Digest{wrong, m.Digest} {
		if !r.holds(ctx, d, m.Raw) {
			continue
		}
		stored = true
		req := r.request(wire.ManifestDelete)
		req.Ref = d.String()
		gone, err := r.client.ask(ctx, call{Request: req}, 0)
		if r.holds(ctx, d, m.Raw) {
			why := gone.String()
			if err != nil {
				why = err.Error()
			}
			left = joined(left, fmt.Sprintf("a question left manifest %s (%s) behind, which could not be deleted: %s", d, m.MediaType, why))
		}
	}
	return stored, left
}

// holds says whether the repository gives these bytes under the digest.
func (r *repository) holds(ctx context.Context, d digest.Digest, raw []byte) bool {
	req := r.request(wire.ManifestGet)
	req.Ref = d.String()
	got, err := r.client.ask(ctx, call{Request: req, Header: accept()}, int64(len(raw))+1)
	return err == nil && got.status == http.StatusOK && bytes.Equal(got.body, raw)
}

// sampleOf is a small manifest of the type that its specification allows. Each
// names the empty blob, absent or not, so that a registry which looks for it
// says the same to all of them.
func sampleOf(mediaType string) []byte {
	const empty = `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}`
	const about = `"artifactType":"` + probeType + `"`
	switch mediaType {
	case store.MediaTypeImage:
		return []byte(`{"schemaVersion":2,"mediaType":"` + mediaType + `",` + about + `,"config":` + empty + `,"layers":[` + empty + `]}`)
	case store.MediaTypeArtifact, store.MediaTypeORASArtifact:
		return []byte(`{"mediaType":"` + mediaType + `",` + about + `,"blobs":[` + empty + `]}`)
	}
	return []byte(`{"schemaVersion":2,"mediaType":"` + mediaType + `",` + about + `,"blobs":[` + empty + `]}`)
}

// probeType is the artifact type of what probes write.
const probeType = "application/vnd.stet.probe.v1"
