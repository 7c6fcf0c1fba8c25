package remote

import (
	"context"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/internal/wire"
	"github.com/stet-oci/stet/pkg/store"
)

// ProbeOptions say how far a probe may go.
type ProbeOptions struct {
	// Write also pushes small content of no meaning, reads it back and
	// deletes it. Without it nothing is sent but GET and HEAD.
	Write bool
	// MountFrom is another repository of the registry, with content, from which
	// Write may mount a blob. Without it the repository mounts from itself,
	// which shows less.
	MountFrom string
}

// Report is what a probe found out.
type Report struct {
	Support store.Support // every ability, the unknown ones with the reason
	As      string        // who the registry saw: "anonymous", the user name, or "token"
	Wrote   bool          // whether anything was sent to be stored
	Left    []string      // what could not be deleted, in words
	Notes   []string      // what else is worth knowing of the answers
}

// Probe asks a registry what it can do in the repository of ref, and with what
// ref names in it where it names something. Each answer stands for this
// repository and account alone (T1, T6), and for now: nothing is kept (T9).
//
// The error is that the registry gave no answer, or refused every request; the
// report then has no answers but unknown.
func Probe(ctx context.Context, ref store.Ref, opts Options, how ProbeOptions) (Report, error) {
	if ref.Scheme != store.SchemeRegistry {
		return Report{}, &store.RefError{Ref: ref.String(), Reason: "it does not name a repository of a registry"}
	}
	opts = opts.withDefaults()
	opts.Retries = min(opts.Retries, probeRetries)
	c, err := newClient(ref.Host, opts)
	if err != nil {
		return Report{}, err
	}
	defer c.close()
	p := &prober{repo: newRepository(c, ref.Repo), how: how, report: Report{Support: store.Support{}}}
	err = p.run(ctx, ref.Reference())
	p.conclude(ctx)
	return p.report, err
}

// probeRetries is how often a probe asks again: many questions are not worth
// the patience that one transfer is.
const probeRetries = 2

// prober is a probe under way.
type prober struct {
	repo   *repository
	how    ProbeOptions
	report Report
	hasty  bool // the registry is slow or throttles: each question is asked once

	spoke   bool   // the registry said something about the repository
	refused *Error // the first answer that was none
	first   reply  // from the registry itself
	warning reply  // one that carried a Warning

	subject digest.Digest      // of a manifest that is there, "" if none is known
	blobs   []store.Descriptor // that are there and have more than one byte
}

func (p *prober) run(ctx context.Context, ref string) error {
	got := p.ask(ctx, call{Request: wire.Request{Kind: wire.Ping}}, 0)
	p.judgePing(got)
	if got.lost != nil {
		return got.lost
	}
	if got.refuses() && !got.is(http.StatusUnauthorized, http.StatusForbidden) {
		return got.refusal
	}
	p.readOnly(ctx, ref)
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if !p.spoke && p.refused != nil {
		return p.refused
	}
	if p.how.Write {
		p.write(ctx)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// ask sends one question. Having no answer is an answer too, and not retried
// from then on.
func (p *prober) ask(ctx context.Context, call call, limit int64) reply {
	call.Once = call.Once || p.hasty
	got, err := p.repo.client.ask(ctx, call, limit)
	if err != nil {
		p.hasty = true
		return reply{req: call.Request, as: anonymous, lost: err}
	}
	p.hear(got)
	return got
}

// hear keeps of an answer what is not about its question.
func (p *prober) hear(got reply) {
	if got.is(http.StatusTooManyRequests) || got.status/100 == 5 {
		p.hasty = true
	}
	if got.foreign == "" {
		if p.first.resp == nil {
			p.first = got
		}
		if p.warning.resp == nil && got.header.Get("Warning") != "" {
			p.warning = got
		}
		for _, name := range []string{"Via", "Age", "X-Cache"} { // T6
			if v := got.header.Get(name); v != "" {
				p.note("answers come through a cache or a proxy (" + name + "), which may answer for somebody else")
			}
		}
	}
	inRepository := got.req.Repo != ""
	switch {
	case inRepository && got.mute() == "" && !(got.is(http.StatusNotFound) && got.code() == ""):
		p.spoke = true // T2: a 404 without a code comes from a router that knows no repositories
	case inRepository && p.refused == nil && got.refuses():
		p.refused = got.refusal
	}
}

func (p *prober) note(s string) {
	if !slices.Contains(p.report.Notes, s) {
		p.report.Notes = append(p.report.Notes, s)
	}
}

func (p *prober) set(a store.Ability, f store.Finding) { p.report.Support[a] = f }

// value adds a value to what was found.
func (p *prober) value(a store.Ability, v string) {
	f := p.report.Support[a]
	f.Value = v
	p.set(a, f)
}

func unknown(note string) store.Finding {
	return store.Finding{Answer: store.Unknown, Evidence: store.Evidence{Note: note}}
}

// judgePing: 200, or a challenge, is the API (distribution-spec end-1). Its
// header Docker-Distribution-API-Version is not asked for: some send it
// nowhere else, some never.
func (p *prober) judgePing(got reply) {
	switch {
	case got.is(http.StatusUnauthorized) && p.way() != nil:
		f := got.finding(store.Yes, "WWW-Authenticate", "")
		f.Answer = store.Yes
		p.set(store.AbilityAPI, f)
	case got.is(http.StatusOK):
		p.set(store.AbilityAPI, got.finding(store.Yes, "", ""))
	case got.is(http.StatusNotFound):
		p.set(store.AbilityAPI, got.finding(store.No, "", "")) // of the host; a mute one stays unknown
	default:
		p.set(store.AbilityAPI, got.finding(store.Unknown, "", "no answer of a registry"))
	}
}

// way is how the registry asked who we are, nil if it did not.
func (p *prober) way() *challenge {
	a := p.repo.client.auth
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.way
}

// conclude answers what shows in all answers, and gives what was not asked its reason.
func (p *prober) conclude(ctx context.Context) {
	p.report.As = p.repo.client.identity(ctx, p.repo.name)
	p.judgeAuth()
	p.judgeHTTP()
	warnings := unknown("no answer carried a warning, which shows nothing")
	if p.warning.resp != nil {
		warnings = store.Finding{Answer: store.Yes, Evidence: p.warning.evidence("Warning", "")}
	}
	p.set(store.AbilityWarnings, warnings)
	p.doubt()
	for _, a := range store.Abilities() {
		if f, ok := p.report.Support[a]; ok {
			if f.Answer == store.Unknown && f.Evidence.Note == "" {
				f.Evidence.Note = "neither yes nor no"
				p.set(a, f)
			}
			continue
		}
		why := "asked only by a probe that writes"
		if p.how.Write {
			why = "not asked: what it needs could not be done"
		}
		p.set(a, unknown(why))
	}
	p.clean()
}

// clean takes what was sent out of all that answers may have put into the report.
func (p *prober) clean() {
	secrets := p.repo.client.secrets.list()
	for a, f := range p.report.Support {
		for _, s := range []*string{&f.Value, &f.Evidence.Code, &f.Evidence.Header, &f.Evidence.Note} {
			*s = without(secrets, *s)
		}
		p.set(a, f)
	}
	for i, s := range p.report.Notes {
		p.report.Notes[i] = without(secrets, s)
	}
}

// doubt takes back every no where it is not even known that a registry
// answers: any web server says 404.
func (p *prober) doubt() {
	if p.report.Support.Of(store.AbilityAPI) == store.Yes {
		return
	}
	for a, f := range p.report.Support {
		if f.Answer == store.No && a != store.AbilityAPI && a != store.AbilityAuth {
			f.Answer = store.Unknown
			f.Evidence.Note = joined(f.Evidence.Note, "no registry is known to answer here")
			p.set(a, f)
		}
	}
}

func (p *prober) judgeAuth() {
	way := p.way()
	switch {
	case way != nil:
		f := store.Finding{Answer: store.Yes, Value: way.scheme, Evidence: p.first.evidence("", "")}
		f.Evidence.Header = "WWW-Authenticate: " + way.scheme
		if realm := way.params["realm"]; realm != "" {
			f.Evidence.Header += ` realm="` + redactLocation(realm) + `"`
		}
		p.set(store.AbilityAuth, f)
	case !p.spoke:
		p.set(store.AbilityAuth, unknown("nothing was answered that would show it"))
	default:
		f := store.Finding{Answer: store.No, Value: "none", Evidence: p.first.evidence("", "no request was asked who it is from")}
		p.set(store.AbilityAuth, f)
	}
}

func (p *prober) judgeHTTP() {
	switch {
	case p.first.resp == nil:
		p.set(store.AbilityHTTP2, unknown("no answer"))
	case p.first.proto == 2:
		p.set(store.AbilityHTTP2, store.Finding{Answer: store.Yes, Evidence: p.first.evidence("", p.first.resp.Proto)})
	case p.first.tls:
		p.set(store.AbilityHTTP2, store.Finding{Answer: store.No, Evidence: p.first.evidence("", p.first.resp.Proto)})
	default:
		p.set(store.AbilityHTTP2, unknown("asked over plain http, where it is not offered"))
	}
}
