package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// stage makes the step of a turn. What all turns share was made before.
type stage func(context.Context, turn) (step, error)

// row is one row of the table.
type row struct {
	id, title string
	rtt       time.Duration
	rate      int64
	registry  string // a kind that the row needs, "" for any
	stage     func(context.Context, *scene) (stage, error)
	targets   []target
}

// The network of the rows that are bound by it.
const (
	rtt  = 50 * time.Millisecond
	rate = 20_000_000 // bytes per second and connection
)

// small is the size of small files in bytes.
const small = 4 << 10

// rows are the table of the benchmark, in the order of the issue's.
func rows(s sizes) []row {
	few := func(n int) func(*scene) workload { return func(*scene) workload { return workload{"few", n, small} } }
	many := func(s *scene) workload { return workload{"many", s.sizes.many, small} }
	large := func(s *scene) workload { return workload{"large", 1, s.sizes.large} }
	capped := func(s *scene) workload { return workload{"capped", 1, s.sizes.capped} }
	largeTitle := fmt.Sprintf("one %s blob (loopback)", mebibytes(s.large))
	half, best, peak := ratio(peerORAS, 0.5, "half of ORAS"), ratioToBest(0.85), memory(32)
	return []row{
		{id: "nothing", title: "start and end", stage: stageNothing},
		{id: "push", title: "push 3 small files", rtt: rtt, stage: stagePush(few(3)), targets: inTime(0.25)},
		{id: "push-again", title: "push the same again", rtt: rtt, stage: stagePushAgain, targets: append(inTime(0.17), uploaded(0))},
		{id: "pull", title: "pull 3 small files", rtt: rtt, stage: stagePull(few(3)), targets: inTime(0.17)},
		{id: "copy", title: "copy 3 small blobs between registries", rtt: rtt, stage: stageCopy(few(3)), targets: inTime(0.35)},
		{id: "copy-within", title: "copy within a registry", rtt: rtt, stage: stageCopyWithin, targets: inTime(0.25)},
		{id: "tag", title: "tag", rtt: rtt, stage: stageTag, targets: inTime(0.17)},
		{id: "attach", title: "attach one small file", rtt: rtt, stage: stageAttach, targets: inTime(0.25)},
		{id: "attach-api", title: "attach one small file (registry with referrers API)", rtt: rtt, registry: kindOlareg, stage: stageAttach, targets: inTime(0.25)},
		{id: "discover", title: "discover, 3 referrers", rtt: rtt, stage: stageDiscover, targets: inTime(0.17)},
		{id: "discover-api", title: "discover, 3 referrers (registry with referrers API)", rtt: rtt, registry: kindOlareg, stage: stageDiscover, targets: inTime(0.17)},
		{id: "push-many", title: fmt.Sprintf("push %d files of 4 KiB (loopback)", s.many), stage: stagePush(many), targets: []target{half, requests(2*s.many + 10)}},
		{id: "copy-many", title: fmt.Sprintf("copy %d blobs of 4 KiB (loopback)", s.many), stage: stageCopy(many), targets: []target{half}},
		{
			id: "pull-capped", title: fmt.Sprintf("pull one %s blob, 20 MB/s per connection", mebibytes(s.capped)), rtt: rtt, rate: rate,
			stage: stagePull(capped), targets: []target{ratio(peerORAS, 1/3.0, "a third of ORAS")},
		},
		{id: "push-tree", title: fmt.Sprintf("push a tree of %d sources (tar + gzip)", s.tree), stage: stagePushTree, targets: []target{half}},
		{id: "pull-tree", title: "pull it (unpack)", stage: stagePullTree, targets: []target{ratio(peerORAS, 2/3.0, "two thirds of ORAS")}},
		{id: "push-large", title: "push " + largeTitle, stage: stagePush(large), targets: []target{best, peak}},
		{id: "pull-large", title: "pull " + largeTitle, stage: stagePull(large), targets: []target{best, peak}},
		{id: "copy-large", title: "copy " + largeTitle, stage: stageCopy(large), targets: []target{best, peak}},
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// inTime are the targets of a row that is bound by round trips: the time that
// the issue allows, and what fits into it of round trips.
func inTime(max float64) []target {
	return []target{seconds(max), trips(int(max / rtt.Seconds()))}
}

// workload is a number of files of one size.
type workload struct {
	name string
	n    int
	size int64
}

// files makes the files of a workload, once for all rows.
func (w workload) files(s *scene) (dir string, names []string, err error) {
	dir = s.file("files-" + w.name)
	names, err = manyFiles(dir, w.name, w.n, w.size)
	return dir, names, err
}

func stageNothing(_ context.Context, s *scene) (stage, error) {
	return func(context.Context, turn) (step, error) {
		return step{task: task{Op: opNothing, Dir: s.dir}}, nil
	}, nil
}

func stagePush(of func(*scene) workload) func(context.Context, *scene) (stage, error) {
	return func(_ context.Context, s *scene) (stage, error) {
		dir, names, err := of(s).files(s)
		return func(context.Context, turn) (step, error) {
			t := task{Op: opPush, Dst: s.toAt + "/bench/push:v1", Dir: dir, Files: names}
			return step{task: t, prove: s.hasArtifact(s.to, "bench/push", "v1", len(names))}, s.to.wipe()
		}, err
	}
}

// stagePushAgain measures the second of two equal pushes by one user.
func stagePushAgain(ctx context.Context, s *scene) (stage, error) {
	push, err := stagePush(func(*scene) workload { return workload{"few", 3, small} })(ctx, s)
	return func(ctx context.Context, at turn) (step, error) {
		step, err := push(ctx, at)
		if err != nil {
			return step, err
		}
		step.task.Home, err = os.MkdirTemp(s.dir, "home")
		first := step.task
		step.before = &first
		return step, err
	}, err
}

func stagePull(of func(*scene) workload) func(context.Context, *scene) (stage, error) {
	return func(ctx context.Context, s *scene) (stage, error) {
		dir, names, err := of(s).files(s)
		if err != nil {
			return nil, err
		}
		want := map[string]digest.Digest{}
		for _, name := range names {
			d, err := fileBlob(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			want[name] = d.Digest
		}
		_, err = s.from.seedFiles(ctx, "bench/pull-"+s.id, "v1", dir, names)
		return func(_ context.Context, at turn) (step, error) {
			out := s.file("out-" + at.key())
			return step{
				task:  task{Op: opPull, Src: s.fromAt + "/bench/pull-" + s.id + ":v1", Dir: s.dir, Out: out},
				prove: func(context.Context) error { return proveFiles(out, want) },
				clean: func() error { return os.RemoveAll(out) },
			}, nil
		}, err
	}
}

func stageCopy(of func(*scene) workload) func(context.Context, *scene) (stage, error) {
	return func(ctx context.Context, s *scene) (stage, error) {
		dir, names, err := of(s).files(s)
		if err != nil {
			return nil, err
		}
		_, err = s.from.seedFiles(ctx, "bench/copy-"+s.id, "v1", dir, names)
		return func(context.Context, turn) (step, error) {
			t := task{Op: opCopy, Src: s.fromAt + "/bench/copy-" + s.id + ":v1", Dst: s.toAt + "/bench/copied:v1", Dir: s.dir}
			return step{task: t, prove: s.hasArtifact(s.to, "bench/copied", "v1", len(names))}, s.to.wipe()
		}, err
	}
}

// stageCopyWithin copies from repository to repository of one registry.
func stageCopyWithin(ctx context.Context, s *scene) (stage, error) {
	dir, names, err := workload{"few", 3, small}.files(s)
	if err != nil {
		return nil, err
	}
	_, err = s.from.seedFiles(ctx, "bench/within", "v1", dir, names)
	return func(_ context.Context, at turn) (step, error) {
		repo := "bench/within-" + at.key()
		t := task{Op: opCopy, Src: s.fromAt + "/bench/within:v1", Dst: s.fromAt + "/" + repo + ":v1", Dir: s.dir}
		return step{task: t, prove: s.hasArtifact(s.from, repo, "v1", len(names))}, nil
	}, err
}

func stageTag(ctx context.Context, s *scene) (stage, error) {
	dir, names, err := workload{"few", 3, small}.files(s)
	if err != nil {
		return nil, err
	}
	_, err = s.from.seedFiles(ctx, "bench/tag", "v1", dir, names)
	return func(_ context.Context, at turn) (step, error) {
		t := task{Op: opTag, Src: s.fromAt + "/bench/tag:v1", Tags: []string{at.key()}, Dir: s.dir}
		return step{task: t, prove: s.hasArtifact(s.from, "bench/tag", at.key(), len(names))}, nil
	}, err
}

// stageAttach attaches to a subject that nothing refers to yet.
func stageAttach(ctx context.Context, s *scene) (stage, error) {
	dir, names, err := workload{"few", 3, small}.files(s)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, at turn) (step, error) {
		repo := "bench/attach-" + at.key()
		d, err := s.from.seedFiles(ctx, repo, "v1", dir, names[1:])
		t := task{Op: opAttach, Src: s.fromAt + "/" + repo + ":v1", Dir: dir, Files: slices.Clone(names[:1])}
		return step{task: t, prove: s.hasReferrers(s.from, repo, d.Digest, 1)}, err
	}, nil
}

func stageDiscover(ctx context.Context, s *scene) (stage, error) {
	dir, names, err := workload{"few", 3, small}.files(s)
	if err != nil {
		return nil, err
	}
	d, err := s.from.seedFiles(ctx, "bench/discover", "v1", dir, names)
	if err == nil {
		err = s.from.seedReferrers(ctx, "bench/discover", d, 3)
	}
	if err == nil {
		err = s.hasReferrers(s.from, "bench/discover", d.Digest, 3)(ctx)
	}
	return func(context.Context, turn) (step, error) {
		return step{task: task{Op: opDiscover, Src: s.fromAt + "/bench/discover:v1", Dir: s.dir}, says: referrerType}, nil
	}, err
}

// tree makes the tree of sources, once for all rows.
func tree(s *scene) (dir string, err error) {
	dir = s.file("tree")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, sourceTree(filepath.Join(dir, "src"), s.sizes.tree)
}

func stagePushTree(_ context.Context, s *scene) (stage, error) {
	dir, err := tree(s)
	return func(context.Context, turn) (step, error) {
		t := task{Op: opPushTree, Dst: s.toAt + "/bench/tree:v1", Dir: dir, Files: []string{"src"}}
		return step{task: t, prove: s.hasArtifact(s.to, "bench/tree", "v1", 1)}, s.to.wipe()
	}, err
}

func stagePullTree(ctx context.Context, s *scene) (stage, error) {
	dir, err := tree(s)
	if err != nil {
		return nil, err
	}
	err = stetPush(ctx, task{Op: opPushTree, Dst: s.from.host + "/bench/pull-tree:v1", Dir: dir, Files: []string{"src"}})
	return func(_ context.Context, at turn) (step, error) {
		out := s.file("out-" + at.key())
		return step{
			task:  task{Op: opPullTree, Src: s.fromAt + "/bench/pull-tree:v1", Dir: s.dir, Out: out},
			prove: func(context.Context) error { return sameTree(dir, out) },
			clean: func() error { return os.RemoveAll(out) },
		}, nil
	}, err
}
