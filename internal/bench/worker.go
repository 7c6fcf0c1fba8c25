package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// task is one piece of work for one client: what a worker reads from stdin, and
// what the arguments of the stet program are made of.
type task struct {
	Op    op
	Src   string   // the reference that is read, tagged, attached to
	Dst   string   // the reference that is written
	Dir   string   // where Files are
	Files []string // files, or one directory
	Out   string   // where a pull writes
	Home  string   // of the user; "" is somebody new
	Tags  []string // new tags
}

// op is what is to be done.
type op string

// The operations. A directory is an operation of its own, because not every
// library packs them.
const (
	opNothing  op = "nothing"
	opPush     op = "push"
	opPull     op = "pull"
	opPushTree op = "push-tree"
	opPullTree op = "pull-tree"
	opCopy     op = "copy"
	opCopyAll  op = "copy-referrers" // the artifact and what refers to it
	opTag      op = "tag"
	opAttach   op = "attach"
	opDiscover op = "discover"
	opTags     op = "tags" // list them
)

// artifactType is that of all artifacts here.
const artifactType = "application/vnd.example.bench"

// operations are what a library can do. An operation that is not there is one
// that it has no code for; the report says "–".
type operations map[op]func(context.Context, task) error

// The libraries by their names in the report.
const (
	peerStet      = "stet"         // the program, as a user runs it
	peerLibrary   = "stet library" // pkg/... in a worker
	peerORAS      = "oras-go"
	peerRegclient = "regclient"
	peerGGCR      = "go-containerregistry"
)

// peers are all clients in the order in which they take turns.
func peers() []string {
	return []string{peerStet, peerLibrary, peerORAS, peerRegclient, peerGGCR}
}

// libraries are the clients that run in a worker.
func libraries() map[string]operations {
	return map[string]operations{
		peerLibrary: stetOperations(), peerORAS: orasOperations(),
		peerRegclient: regclientOperations(), peerGGCR: ggcrOperations(),
	}
}

// work is the worker: it does the one task on stdin with one library. It is a
// process of its own, so that start-up, memory and CPU compare with a program's.
func work(ctx context.Context, peer string, in io.Reader) error {
	ops, ok := libraries()[peer]
	if !ok {
		return fmt.Errorf("there is no library %q", peer)
	}
	var t task
	if err := json.NewDecoder(in).Decode(&t); err != nil {
		return err
	}
	if t.Op == opNothing {
		return nil
	}
	do, ok := ops[t.Op]
	if !ok {
		return fmt.Errorf("%s: %w", t.Op, errors.ErrUnsupported)
	}
	return do(ctx, t)
}
