package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stet-oci/stet/pkg/remote"
	"github.com/stet-oci/stet/pkg/store"
)

// patienceFlags say how much is asked of registries, and how long a command goes
// on where they are slow, busy or silent. A command with two sides has them once.
type patienceFlags struct {
	retries        int
	maxWait, stall time.Duration
	rate           rate
	pace           *remote.Pace // of all sides of the command
	set            *pflag.FlagSet
}

// timeoutFlag is read by timed.
const timeoutFlag = "timeout"

// commitPerStall is how many times longer than --stall-timeout a registry may be
// silent once it has all of what it has to store.
const commitPerStall = int64(remote.DefaultCommit / remote.DefaultStall)

func (f *patienceFlags) register(cmd *cobra.Command) {
	if f.set != nil {
		return // the other side did
	}
	fs := cmd.Flags()
	f.set = fs
	fs.IntVar(&f.retries, "retry", remote.DefaultRetries, "send a request that failed `N` times more, where that may help")
	fs.DurationVar(&f.maxWait, "retry-max-wait", remote.DefaultMaxWait, "wait no longer than this `TIME` in all before a request is sent again, also where the registry asks for it")
	fs.Duration(timeoutFlag, 0, "give up after this `TIME` for the whole command; 0 is never")
	fs.DurationVar(&f.stall, "stall-timeout", remote.DefaultStall, "give a connection up when no byte comes for this `TIME`; 0 is never")
	fs.Var(&f.rate, "max-rps", "send each registry at most `N` requests per second; N/P is the share of one of P processes")
}

// apply fills them into the options of a side.
func (f *patienceFlags) apply(a *app, o *remote.Options) error {
	if f.set == nil {
		return nil
	}
	if f.retries < 0 || f.maxWait < 0 || f.stall < 0 {
		return fmt.Errorf("%w: --retry, --retry-max-wait and --stall-timeout are not below 0", store.ErrUsage)
	}
	o.Retries, o.MaxWait, o.Stall, o.Commit = f.retries, f.maxWait, f.stall, -1
	if f.stall <= math.MaxInt64/time.Duration(commitPerStall) {
		o.Commit = f.stall * time.Duration(commitPerStall)
	}
	// Here 0 is never or for ever; there it is the default.
	if f.retries == 0 {
		o.Retries = -1
	}
	if f.maxWait == 0 {
		o.MaxWait = -1
	}
	if f.stall == 0 {
		o.Stall, o.Commit = -1, -1
	}
	if f.pace == nil {
		f.pace = remote.NewPace(remote.PaceOptions{Concurrency: f.pinned(), Rate: float64(f.rate), Now: a.now})
	}
	o.Pace = f.pace
	return nil
}

// pinned is --concurrency where it was given, else 0.
func (f *patienceFlags) pinned() int {
	flag := f.set.Lookup("concurrency")
	if flag == nil || !flag.Changed {
		return 0
	}
	n, err := strconv.Atoi(flag.Value.String())
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// rate is a pflag.Value: requests per second, or "N/P".
type rate float64

func (r *rate) String() string {
	if *r == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*r), 'g', -1, 64)
}
func (r *rate) Type() string { return "rate" }

func (r *rate) Set(s string) error {
	whole, share, divided := strings.Cut(s, "/")
	n, err := strconv.ParseFloat(whole, 64)
	parts := 1
	if err == nil && divided {
		parts, err = strconv.Atoi(share)
	}
	// A request in a day is enough to tell a bound from a mistake.
	if err != nil || parts < 1 || !(n/float64(parts) >= 1.0/86400) || n > 1e6 {
		return errors.New("it is a number of requests per second such as 50 or 0.5, or a share of it such as 50/4")
	}
	*r = rate(n / float64(parts))
	return nil
}

// timedOut is the cause of a context that --timeout ended.
type timedOut struct{ after time.Duration }

func (e timedOut) Error() string {
	return fmt.Sprintf("it was not done within the %v of --%s", e.after, timeoutFlag)
}

// Unwrap gives it a class.
func (e timedOut) Unwrap() error { return context.DeadlineExceeded }

// timed makes --timeout end the context of a command that has it.
func timed(cmd *cobra.Command) {
	run := cmd.RunE
	if run == nil || cmd.Flags().Lookup(timeoutFlag) == nil {
		return
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		after, err := cmd.Flags().GetDuration(timeoutFlag)
		if err != nil || after < 0 {
			return usage(cmd, errors.Join(err, fmt.Errorf("--%s is not below 0", timeoutFlag)))
		}
		if after == 0 {
			return run(cmd, args)
		}
		late := timedOut{after}
		ctx, stop := context.WithTimeoutCause(cmd.Context(), after, late)
		defer stop()
		cmd.SetContext(ctx)
		err = run(cmd, args)
		if err != nil && errors.Is(context.Cause(ctx), late) {
			return errors.Join(late, err)
		}
		return err
	}
}
