// Command gate takes a commit to production through evidence and policy.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// secrets are variables for gate alone. They are taken out of the environment
// before anything is started, since much of what gate starts is not its own:
// builds, tests, instances.
var secrets = []string{
	signingKey, appKey, registryPassword, "GITHUB_TOKEN", "GH_TOKEN",
	"ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL",
}

func main() {
	kept := map[string]string{}
	for _, name := range secrets {
		if v, ok := os.LookupEnv(name); ok {
			kept[name] = v
			os.Unsetenv(name)
		}
	}
	getenv := func(name string) string {
		if v, ok := kept[name]; ok {
			return v
		}
		return os.Getenv(name)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Run(ctx, os.Args[1:], Streams{Out: os.Stdout, Err: os.Stderr, Getenv: getenv, Environ: os.Environ()})
	stop()
	os.Exit(code)
}
