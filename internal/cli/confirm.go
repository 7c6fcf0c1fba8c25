package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stet-oci/stet/pkg/store"
)

// confirm asks a yes-or-no question. Without anybody to answer it is an error:
// a script must say --force.
func (a *app) confirm(question string) (bool, error) {
	fmt.Fprintf(a.streams.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.streams.In).ReadString('\n')
	if errors.Is(err, io.EOF) && answer == "" {
		fmt.Fprintln(a.streams.Err)
		return false, fmt.Errorf("%w: nobody answered; give --force to do it without asking", store.ErrUsage)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}
