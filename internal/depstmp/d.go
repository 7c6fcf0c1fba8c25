//go:build depstmp

package depstmp

import (
	_ "github.com/cenkalti/backoff/v5"
	_ "github.com/containerd/platforms"
	_ "github.com/creack/pty"
	_ "github.com/docker/cli/cli/config"
	_ "github.com/docker/cli/cli/config/configfile"
	_ "github.com/docker/docker-credential-helpers/client"
	_ "github.com/docker/go-units"
	_ "github.com/gofrs/flock"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/klauspost/compress/gzip"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/klauspost/pgzip"
	_ "github.com/opencontainers/image-spec/schema"
	_ "github.com/rivo/uniseg"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/schollz/progressbar/v3"
	_ "github.com/spf13/cobra"
	_ "github.com/spf13/cobra/doc"
	_ "github.com/spf13/pflag"
	_ "go.uber.org/goleak"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sync/singleflight"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "golang.org/x/time/rate"
)
