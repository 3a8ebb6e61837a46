// Command smartcloudops stores samples of metrics and gives them back over
// HTTP. Its configuration is the environment; see usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one has its usual effect: it ends the
	// process at once.
	context.AfterFunc(ctx, stop)
	err := Run(ctx, os.Args[1:], Streams{Getenv: os.Getenv, Out: os.Stdout, Err: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, "smartcloudops:", err)
		if errors.Is(err, ErrUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}
