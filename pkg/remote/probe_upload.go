package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// Sizes of what a probe uploads.
const (
	probeBlob     = 32       // bytes of a blob, and of a chunk where no minimum is named
	maxProbeChunk = 16 << 20 // a registry that names a larger minimum is not asked
)

// uploads puts the blobs that manifests name, by one POST where that is done,
// and asks about uploads in chunks.
func (w *writing) uploads(ctx context.Context) {
	raw := w.random(probeBlob)
	d := store.NewBlob("application/octet-stream", raw).Descriptor
	if !w.singlePost(ctx, raw, d.Digest) {
		w.putBlob(ctx, raw, d.Digest)
	}
	if !w.exists(ctx, wire.BlobHead, d.Digest.String()) {
		return
	}
	empty := store.EmptyJSON()
	if !w.exists(ctx, wire.BlobHead, empty.Digest.String()) {
		w.putBlob(ctx, empty.Data, empty.Digest)
	}
	if w.exists(ctx, wire.BlobHead, empty.Digest.String()) {
		w.base = d
	}
	w.chunks(ctx)
}

// exists says whether HEAD finds it.
func (w *writing) exists(ctx context.Context, kind wire.Kind, name string) bool {
	req := w.repo.request(kind)
	req.Digest, req.Ref = digest.Digest(name), name
	header := http.Header{}
	if kind == wire.ManifestHead {
		header = accept()
	}
	got := w.ask(ctx, call{Request: req, Header: header}, 0)
	return got.is(http.StatusOK) && got.mute() == ""
}

// upload is a call with a body.
func upload(req wire.Request, at *url.URL, raw []byte) call {
	return call{
		Request: req, Location: at, Header: octets(), Length: int64(len(raw)), Once: true,
		Body: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
	}
}

// singlePost is end-4b; true where the blob is stored by it.
func (w *writing) singlePost(ctx context.Context, raw []byte, d digest.Digest) bool {
	req := w.repo.request(wire.UploadSingle)
	req.Digest = d
	got := w.ask(ctx, upload(req, nil, raw), 0)
	f := got.finding(store.Unknown, "", "")
	stored := false
	switch {
	case got.mute() != "":
	case got.is(http.StatusCreated):
		w.made = append(w.made, made{wire.BlobDelete, d.String(), int64(len(raw))})
		if stored = w.exists(ctx, wire.BlobHead, d.String()); stored {
			f = got.finding(store.Yes, "", "")
		} else {
			f.Evidence.Note = "it says that it was stored, and it is not there"
		}
	case got.is(http.StatusAccepted) && w.location(got) != nil:
		f = got.finding(store.No, "", "an upload was opened instead")
		w.giveUp(ctx, got)
	case got.is(http.StatusNotFound):
	case got.status/100 == 4 || got.is(http.StatusNotImplemented):
		f = got.finding(store.No, "", "")
	}
	w.set(store.AbilitySinglePost, f)
	return stored
}

// putBlob is POST and PUT (end-4a, end-6), and gives the last answer.
func (w *writing) putBlob(ctx context.Context, raw []byte, d digest.Digest) reply {
	got, at := w.open(ctx, d.Algorithm())
	if at == nil {
		return got
	}
	req := w.repo.request(wire.UploadFinish)
	req.Digest = d
	put := w.ask(ctx, upload(req, (&session{url: at}).closing(d), raw), 0)
	if put.lost == nil && put.status/100 != 2 {
		w.giveUp(ctx, got)
		return put
	}
	w.made = append(w.made, made{wire.BlobDelete, d.String(), int64(len(raw))})
	if d.Algorithm() != digest.Canonical {
		w.made = append(w.made, made{wire.BlobDelete, digest.FromBytes(raw).String(), int64(len(raw))})
	}
	return put
}

// open opens an upload; its Location is nil where there is none.
func (w *writing) open(ctx context.Context, alg digest.Algorithm) (reply, *url.URL) {
	req := w.repo.request(wire.UploadStart)
	if alg != digest.Canonical {
		req.Algorithm = alg.String()
	}
	got := w.ask(ctx, call{Request: req, Once: true}, 0)
	if !got.is(http.StatusAccepted) || got.mute() != "" {
		return got, nil
	}
	return got, w.location(got)
}

// location is where an answer says that an upload goes on, nil for nowhere.
func (w *writing) location(got reply) *url.URL {
	at, err := w.repo.client.resolve(got.header.Get("Location"), got.resp)
	if err != nil {
		return nil
	}
	return at
}

// giveUp cancels the upload that an answer opened, and gives the answer to that.
func (w *writing) giveUp(ctx context.Context, opened reply) reply {
	at := w.location(opened)
	if at == nil {
		return reply{req: w.repo.request(wire.UploadCancel), as: anonymous, lost: fmt.Errorf("%w: the upload has no Location", store.ErrInvalid)}
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer stop()
	got := w.ask(ctx, call{Request: w.repo.request(wire.UploadCancel), Location: at, Once: true}, 0)
	if got.status/100 != 2 {
		const left = "an upload that was opened and could not be cancelled; registries drop it in time"
		if !slices.Contains(w.report.Left, left) {
			w.report.Left = append(w.report.Left, left)
		}
	}
	return got
}

// chunks sends parts of a blob: first to an upload that is asked how far it is,
// gets a part out of order and is cancelled, then to one that is completed.
func (w *writing) chunks(ctx context.Context) {
	opened, at := w.open(ctx, digest.Canonical)
	if at == nil {
		w.set(store.AbilityChunked, opened.finding(store.Unknown, "Location", "no upload was opened"))
		return
	}
	least, size := opened.header.Get("OCI-Chunk-Min-Length"), int64(probeBlob)
	if n, err := strconv.ParseInt(least, 10, 64); err == nil && n > size {
		size = n
	}
	if size > maxProbeChunk {
		w.giveUp(ctx, opened)
		w.set(store.AbilityChunked, opened.finding(store.Unknown, "OCI-Chunk-Min-Length", "too large to try"))
		w.value(store.AbilityChunked, least)
		return
	}
	raw := w.random(size)
	got := w.chunk(ctx, at, raw, 0)
	f := got.finding(store.Unknown, "", "")
	if refused := got.status/100 == 4 || got.is(http.StatusNotImplemented); refused {
		f = got.finding(store.No, "", "")
	}
	if got.status/100 == 2 && got.mute() == "" {
		if next := w.location(got); next != nil {
			at = next
		}
		at = w.progress(ctx, at, size)
		at = w.outOfOrder(ctx, at, raw)
	}
	cancelled := w.cancelling(ctx, opened, at)
	w.set(store.AbilityUploadCancel, cancelled)
	if got.status/100 == 2 && got.mute() == "" {
		f = w.complete(ctx, raw)
	}
	w.set(store.AbilityChunked, f)
	w.value(store.AbilityChunked, least)
}

// chunk is one PATCH with the bytes from offset on.
func (w *writing) chunk(ctx context.Context, at *url.URL, raw []byte, offset int64) reply {
	c := upload(w.repo.request(wire.UploadChunk), at, raw)
	c.Header.Set("Content-Range", fmt.Sprintf("%d-%d", offset, offset+int64(len(raw))-1))
	return w.ask(ctx, c, 0)
}

// progress asks how far the upload is after size bytes, and gives where it goes on.
func (w *writing) progress(ctx context.Context, at *url.URL, size int64) *url.URL {
	got := w.ask(ctx, call{Request: w.repo.request(wire.UploadStatus), Location: at, Once: true}, 0)
	f := got.finding(store.Unknown, "Range", "")
	switch {
	case got.mute() != "":
	case got.status/100 == 2:
		// Quay writes "bytes=0-31", the specification "0-31".
		if strings.HasSuffix(got.header.Get("Range"), fmt.Sprintf("0-%d", size-1)) {
			f = got.finding(store.Yes, "Range", "")
		} else {
			f = got.finding(store.No, "Range", fmt.Sprintf("%d bytes were sent", size))
		}
		if next := w.location(got); next != nil {
			at = next
		}
	case got.status/100 == 4, got.is(http.StatusNotImplemented):
		f = got.finding(store.No, "", "")
	}
	w.set(store.AbilityUploadResume, f)
	return at
}

// outOfOrder sends a part that leaves a hole (distribution-spec "Pushing a blob
// in chunks": 416), and gives where the upload goes on, which it spoils if taken.
func (w *writing) outOfOrder(ctx context.Context, at *url.URL, raw []byte) *url.URL {
	got := w.chunk(ctx, at, raw, 2*int64(len(raw)))
	f := got.finding(store.Unknown, "Range", "")
	switch {
	case got.mute() != "":
	case got.is(http.StatusRequestedRangeNotSatisfiable):
		f = got.finding(store.Yes, "Range", "")
	case got.status/100 == 2:
		f = got.finding(store.No, "Range", "a part that leaves a hole was taken")
		if next := w.location(got); next != nil {
			at = next
		}
	}
	w.set(store.AbilityChunkOrder, f)
	return at
}

// cancelling deletes the upload where it stands now.
func (w *writing) cancelling(ctx context.Context, opened reply, at *url.URL) store.Finding {
	opened.header = opened.header.Clone()
	opened.header.Set("Location", at.String())
	got := w.giveUp(ctx, opened)
	f := got.finding(store.Unknown, "", "")
	switch {
	case got.mute() != "":
	case got.status/100 == 2:
		f = got.finding(store.Yes, "", "")
	case got.status/100 == 4, got.is(http.StatusNotImplemented):
		f = got.finding(store.No, "", "")
	}
	return f
}

// complete uploads a blob in two parts.
func (w *writing) complete(ctx context.Context, first []byte) store.Finding {
	opened, at := w.open(ctx, digest.Canonical)
	if at == nil {
		return opened.finding(store.Unknown, "Location", "no upload was opened")
	}
	got := w.chunk(ctx, at, first, 0)
	if next := w.location(got); got.status/100 == 2 && next != nil {
		at = next
	}
	last := w.random(probeBlob)
	whole := slices.Concat(first, last)
	d := digest.FromBytes(whole)
	req := w.repo.request(wire.UploadFinish)
	req.Digest = d
	c := upload(req, (&session{url: at}).closing(d), last)
	c.Header.Set("Content-Range", fmt.Sprintf("%d-%d", len(first), len(whole)-1))
	put := w.ask(ctx, c, 0)
	if put.lost != nil || put.status/100 == 2 {
		w.made = append(w.made, made{wire.BlobDelete, d.String(), int64(len(whole))})
	} else {
		w.cancelling(ctx, opened, at)
	}
	switch {
	case put.mute() != "":
		return put.finding(store.Unknown, "", "")
	case put.status/100 == 2 && w.exists(ctx, wire.BlobHead, d.String()):
		return got.finding(store.Yes, "", "two parts became one blob")
	}
	// The part was taken and the blob did not come of it.
	return put.finding(store.Unknown, "", fmt.Sprintf("after a part that got %s", got))
}

// mounts asks for a blob of another repository, or of this one where no other
// was named.
func (w *writing) mounts(ctx context.Context) {
	from, d, note := w.how.MountFrom, w.foreignBlob(ctx), ""
	if d == "" {
		if w.base.Digest == "" {
			return
		}
		from, d, note = w.repo.name, w.base.Digest, "of a blob that the repository has already"
	}
	f := w.mount(ctx, d, "", note)
	if note != "" && f.Answer == store.Yes {
		f.Answer = store.Unknown // it need not have looked anywhere else
	}
	w.set(store.AbilityMountAnywhere, f)
	if note == "" && f.Answer == store.Yes {
		w.remove(ctx, made{wire.BlobDelete, d.String(), 0}) // to ask with from as well
	}
	w.set(store.AbilityMount, w.mount(ctx, d, from, note))
}

func (w *writing) mount(ctx context.Context, d digest.Digest, from, note string) store.Finding {
	req := w.repo.request(wire.UploadMount)
	req.Digest, req.From = d, from
	got := w.ask(ctx, call{Request: req, Once: true}, 0)
	f := got.finding(store.Unknown, "", note)
	switch {
	case got.mute() != "":
	case got.is(http.StatusCreated):
		f = got.finding(store.Yes, "", note)
		if note == "" {
			w.made = append(w.made, made{wire.BlobDelete, d.String(), 0})
		}
	case got.is(http.StatusAccepted) && w.location(got) != nil:
		f = got.finding(store.No, "", joined(note, "an upload was opened instead"))
		w.giveUp(ctx, got)
	case got.is(http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented):
		f = got.finding(store.No, "", note)
	}
	return f
}

// foreignBlob is a blob of the other repository that this one does not have.
func (w *writing) foreignBlob(ctx context.Context) digest.Digest {
	if w.how.MountFrom == "" {
		return ""
	}
	other := &prober{repo: newRepository(w.repo.client, w.how.MountFrom), report: Report{Support: store.Support{}}}
	if tag := other.tagPaging(ctx); tag != "" {
		other.readSample(ctx, tag)
	}
	for _, b := range other.blobs {
		if !w.exists(ctx, wire.BlobHead, b.Digest.String()) {
			return b.Digest
		}
	}
	return ""
}
