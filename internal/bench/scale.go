package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/go-digest"
)

// curve is one work in growing sizes, done by stet.
type curve struct {
	id, title, unit string
	op              op
	points          []int64
	registry        string // a kind that the curve needs, "" for any
	stage           func(context.Context, *scene, int64) (stage, error)
}

// Curve is what came of it. Note says why it has no points, or what they are of.
type Curve struct {
	ID, Title, Unit string
	Note            string `json:",omitempty"`
	Points          []Point
}

// Point is the cost of N units.
type Point struct {
	N int64
	Sample
}

// steep is from which exponent on growth is said: costs that grow with the power
// of 1 grow as the work does, and measuring is not more exact than this.
const steep = 1.15

// curves are those of the report.
func curves(quick bool) []curve {
	files, sizes, others := []int64{1, 10, 100, 1000, 10000}, []int64{1, 16, 256, 1024, 4096}, []int64{1, 10, 100, 1000}
	listed := []int64{1, 100, 10000, 100000}
	if quick {
		files, sizes, others = []int64{1, 10, 100}, []int64{1, 8, 64}, []int64{1, 5, 25}
	}
	return []curve{
		{id: "push-files", title: "push files of 4 KiB", unit: "files", op: opPush, points: files, stage: scaleFiles(stagePush)},
		{id: "pull-files", title: "pull files of 4 KiB", unit: "files", op: opPull, points: files, stage: scaleFiles(stagePull)},
		{id: "copy-files", title: "copy blobs of 4 KiB", unit: "files", op: opCopy, points: files, stage: scaleFiles(stageCopy)},
		{id: "push-size", title: "push one blob", unit: "MiB", op: opPush, points: sizes, stage: scaleSize(stagePush)},
		{id: "pull-size", title: "pull one blob", unit: "MiB", op: opPull, points: sizes, stage: scaleSize(stagePull)},
		{id: "copy-size", title: "copy one blob", unit: "MiB", op: opCopy, points: sizes, stage: scaleSize(stageCopy)},
		{id: "tag", title: "point tags at an artifact", unit: "tags", op: opTag, points: others, stage: scaleTags},
		{id: "discover", title: "discover referrers", unit: "referrers", op: opDiscover, points: others, stage: scaleDiscover},
		{id: "copy-referrers", title: "copy an artifact with its referrers", unit: "referrers", op: opCopyAll, points: others, stage: scaleCopyAll},
		{id: "list-tags", title: "list tags", unit: "tags", op: opTags, points: listed, registry: kindTagList, stage: scaleListTags},
	}
}

// pointTime is from when on a point is not measured once more; its median counts.
const pointTime = 10 * time.Second

// measureCurve measures the points one after the other.
func (l *lab) measureCurve(ctx context.Context, c curve) (out Curve, err error) {
	out = Curve{ID: c.id, Title: c.title, Unit: c.unit}
	began, peer := time.Now(), peerStet
	err = l.within(ctx, row{id: "scale-" + c.id, registry: c.registry}, func(s *scene) error {
		for _, n := range c.points {
			stage, err := c.stage(ctx, s, n)
			if err != nil {
				return fmt.Errorf("setting up: %w", err)
			}
			sample, err := s.point(ctx, peer, stage)
			if missing := (errNotYet{}); errors.As(err, &missing) && peer == peerStet {
				peer, out.Note = chooseLibrary(missing)
				sample, err = s.point(ctx, peer, stage)
			}
			if err != nil {
				return fmt.Errorf("%d %s: %w", n, c.unit, err)
			}
			out.Points = append(out.Points, Point{n, sample})
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("curve %s: %w", c.id, err)
	}
	fmt.Fprintf(os.Stderr, "%-14s %6.1fs  %s\n", c.id, time.Since(began).Seconds(), out.growth())
	return out, nil
}

// chooseLibrary measures stet's packages where the program has no command for a
// work. The report says so.
func chooseLibrary(e errNotYet) (peer, reason string) {
	return peerLibrary, e.Error() + "; this is its library"
}

func (s *scene) point(ctx context.Context, peer string, stage stage) (Sample, error) {
	var all []Sample
	for began := time.Now(); len(all) == 0 || len(all) < s.sizes.points && time.Since(began) < pointTime; {
		at := turn{peer, len(all)}
		step, err := stage(ctx, at)
		if err != nil {
			return Sample{}, fmt.Errorf("setting up: %w", err)
		}
		sample, err := s.finish(ctx, at, step)
		if err != nil {
			return Sample{}, err
		}
		all = append(all, sample)
	}
	return median(all), nil
}

type workloadStage = func(func(*scene) workload) func(context.Context, *scene) (stage, error)

func scaleFiles(of workloadStage) func(context.Context, *scene, int64) (stage, error) {
	return func(ctx context.Context, s *scene, n int64) (stage, error) {
		w := workload{"scale", int(n), small} // the files of a larger point are those of a smaller, and more
		return of(func(*scene) workload { return w })(ctx, s)
	}
}

// scaleSize drops what smaller points left behind, because the larger need the disk.
func scaleSize(of workloadStage) func(context.Context, *scene, int64) (stage, error) {
	return func(ctx context.Context, s *scene, mib int64) (stage, error) {
		w := workload{fmt.Sprintf("scale-%d", mib), 1, mib << 20}
		old, err := filepath.Glob(s.file("files-scale-*"))
		for _, dir := range old {
			if err == nil && dir != s.file("files-"+w.name) {
				err = os.RemoveAll(dir)
			}
		}
		if err == nil {
			err = errors.Join(s.from.wipe(), s.to.wipe())
		}
		if err != nil {
			return nil, err
		}
		return of(func(*scene) workload { return w })(ctx, s)
	}
}

func scaleTags(ctx context.Context, s *scene, n int64) (stage, error) {
	dir, names, err := workload{"few", 3, small}.files(s)
	if err == nil {
		_, err = s.from.seedFiles(ctx, "bench/scale-tag", "v1", dir, names)
	}
	return func(_ context.Context, at turn) (step, error) {
		t := task{Op: opTag, Src: s.fromAt + "/bench/scale-tag:v1", Dir: s.dir}
		for i := range n {
			t.Tags = append(t.Tags, fmt.Sprintf("%s-%d-%d", at.key(), n, i))
		}
		return step{task: t, prove: s.hasArtifact(s.from, "bench/scale-tag", t.Tags[n-1], len(names))}, nil
	}, err
}

// seedSubject makes an artifact with n referrers.
func seedSubject(ctx context.Context, s *scene, repo string, n int64) (digest.Digest, error) {
	dir, names, err := workload{"few", 3, small}.files(s)
	if err != nil {
		return "", err
	}
	d, err := s.from.seedFiles(ctx, repo, "v1", dir, names)
	if err == nil {
		err = s.from.seedReferrers(ctx, repo, d, int(n))
	}
	return d.Digest, err
}

func scaleDiscover(ctx context.Context, s *scene, n int64) (stage, error) {
	repo := fmt.Sprintf("bench/scale-discover-%d", n)
	_, err := seedSubject(ctx, s, repo, n)
	return func(context.Context, turn) (step, error) {
		return step{task: task{Op: opDiscover, Src: s.fromAt + "/" + repo + ":v1", Dir: s.dir}, says: referrerType}, nil
	}, err
}

func scaleCopyAll(ctx context.Context, s *scene, n int64) (stage, error) {
	repo := fmt.Sprintf("bench/scale-referrers-%d", n)
	subject, err := seedSubject(ctx, s, repo, n)
	return func(context.Context, turn) (step, error) {
		t := task{Op: opCopyAll, Src: s.fromAt + "/" + repo + ":v1", Dst: s.toAt + "/bench/scale-referrers:v1", Dir: s.dir}
		return step{task: t, prove: s.hasReferrers(s.to, "bench/scale-referrers", subject, int(n))}, s.to.wipe()
	}, err
}

func scaleListTags(_ context.Context, s *scene, n int64) (stage, error) {
	return func(context.Context, turn) (step, error) {
		last := fmt.Sprintf(tagName, n-1)
		return step{task: task{Op: opTags, Src: fmt.Sprintf("%s/%d", s.fromAt, n), Dir: s.dir}, says: last}, nil
	}, nil
}

// exponent is the power with which a figure grows from one point to the next.
func (c Curve) exponent(i int, of func(Sample) float64) float64 {
	a, b := c.Points[i-1], c.Points[i]
	if of(a.Sample) <= 0 || of(b.Sample) <= 0 {
		return 0
	}
	return math.Log(of(b.Sample)/of(a.Sample)) / math.Log(float64(b.N)/float64(a.N))
}

// figures are what the report says of growth.
func figures() []struct {
	name string
	of   func(Sample) float64
} {
	return []struct {
		name string
		of   func(Sample) float64
	}{
		{"time", func(s Sample) float64 { return s.Seconds }},
		{"memory", func(s Sample) float64 { return float64(s.Peak) }},
		{"requests", func(s Sample) float64 { return float64(s.Requests) }},
	}
}

// growth says where something grows faster than the work, or that nothing does.
func (c Curve) growth() string {
	text := ""
	for _, f := range figures() {
		for i := 1; i < len(c.Points); i++ {
			if e := c.exponent(i, f.of); e > steep {
				text += fmt.Sprintf("; %s grows with the power of %.2f from %d to %d %s", f.name, e, c.Points[i-1].N, c.Points[i].N, c.Unit)
			}
		}
	}
	if text == "" {
		return "nothing grows faster than the work"
	}
	return text[2:]
}

// text writes the curve as a table, with the exponents from point to point.
func (c Curve) text(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s\n", c.ID, c.Title)
	if c.Note != "" {
		fmt.Fprintln(w, c.Note)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "%s\tseconds\tMB\trequests\texponents: time\tmemory\trequests\t\n", c.Unit)
	for i, p := range c.Points {
		fmt.Fprintf(tw, "%d\t%s\t%.1f\t%d\t", p.N, short(p.Seconds), float64(p.Peak)/1e6, p.Requests)
		for _, f := range figures() {
			if i == 0 {
				fmt.Fprint(tw, "\t")
				continue
			}
			fmt.Fprintf(tw, "%.2f\t", c.exponent(i, f.of))
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
	fmt.Fprintln(w, c.growth())
}
