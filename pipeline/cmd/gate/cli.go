package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/target/local"
	"github.com/smartcloudops/gate/policies"
)

// Streams are what a command may touch of its process.
type Streams struct {
	Out, Err io.Writer
	Getenv   func(string) string
	Environ  []string
}

// Globals are the flags that every verb has.
type Globals struct {
	Dir    string `short:"C" name:"dir" default:"." placeholder:"DIR" help:"Work in the clone that DIR is in."`
	Output string `short:"o" default:"text" enum:"text,json" help:"text or json; with json, standard output holds nothing else."`

	Streams `kong:"-"`
}

// CLI is the whole command line: one verb a file.
type CLI struct {
	Globals

	Run      RunCmd      `cmd:"" help:"Take the commit that is checked out through the whole pipeline."`
	Build    BuildCmd    `cmd:"" help:"Build the release of the commit that is checked out."`
	Publish  PublishCmd  `cmd:"" help:"Push a release to a registry, by digest."`
	Test     TestCmd     `cmd:"" help:"Run app.yaml's tests as evidence."`
	Scan     ScanCmd     `cmd:"" help:"Scan for vulnerabilities, unsafe code and secrets as evidence."`
	Deploy   DeployCmd   `cmd:"" help:"Put a release into the first environment."`
	Verify   VerifyCmd   `cmd:"" help:"Measure an environment: all checks, or some."`
	Plan     PlanCmd     `cmd:"" help:"Show what a commit would change in each environment."`
	Decide   DecideCmd   `cmd:"" help:"Judge the newest release for an environment by the evidence there is."`
	Explain  ExplainCmd  `cmd:"" help:"Show what was measured, against what, and what would pass."`
	WhatIf   WhatIfCmd   `cmd:"" name:"what-if" help:"Decide again by other policies or thresholds, on the same evidence; record nothing."`
	Replay   ReplayCmd   `cmd:"" help:"Make a decision again from what was kept with it, and compare bit for bit."`
	Audit    AuditCmd    `cmd:"" help:"Show everything behind 'it was ready', or bundle it to be verified without gate."`
	Waive    WaiveCmd    `cmd:"" help:"Write a waiver of one criterion for 30 days at most, to be reviewed."`
	Promote  PromoteCmd  `cmd:"" help:"Ask for a release in an environment, and follow what comes of it."`
	Approve  ApproveCmd  `cmd:"" help:"Agree to a release in an environment, or afterwards to an override."`
	Rollback RollbackCmd `cmd:"" help:"Go back to the release before, or to a named one."`
	Resume   ResumeCmd   `cmd:"" help:"Finish or undo a promotion that was interrupted."`
	Hold     HoldCmd     `cmd:"" help:"Stop promotions into an environment."`
	Unhold   UnholdCmd   `cmd:"" help:"Lift a hold."`
	Status   StatusCmd   `cmd:"" help:"Show what runs, and what is asked for."`
	Drift    DriftCmd    `cmd:"" help:"Show where what runs is not what is desired."`
	History  HistoryCmd  `cmd:"" help:"Show what was promoted into an environment, and what came of it."`
	Logs     LogsCmd     `cmd:"" help:"Show the ends of an environment's logs: instances, daemon, requests."`
	Report   ReportCmd   `cmd:"" help:"Judge the newest release by the evidence there is, and write the report."`
	Evidence EvidenceCmd `cmd:"" help:"List or show evidence, or sign what another machine has measured."`
	Ledger   LedgerCmd   `cmd:"" help:"Verify or pack the ledger."`
	Load     LoadCmd     `cmd:"" help:"Put load on an address, without judging."`
	Serve    ServeCmd    `cmd:"" help:"Run the daemon of an environment."`
	Down     DownCmd     `cmd:"" help:"Stop an environment; its data and the ledger stay."`
	Watch    WatchCmd    `cmd:"" help:"Look at an address each second from outside, and keep a record of its uptime."`
	Env      EnvCmd      `cmd:"" help:"Validate the declarations."`
	Init     InitCmd     `cmd:"" help:"Write declarations for a repository of your own."`
	Github   GithubCmd   `cmd:"" help:"What gate does on GitHub: publish verdicts, show deployments, carry out comments, write workflows."`
	Doctor   DoctorCmd   `cmd:"" help:"Look for what gate needs on this machine."`

	HoldSockets HoldSocketsCmd `cmd:"" name:"hold-sockets" hidden:""`
}

// Exit ends a command with a code of the contract. Err may be nil when
// everything was said already.
type Exit struct {
	Code int
	Err  error
}

func (e *Exit) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Exit) Unwrap() error { return e.Err }

// Run runs one command and returns its exit code.
func Run(ctx context.Context, args []string, s Streams) int {
	cli := CLI{Globals: Globals{Streams: s}}
	exited := -1
	parser, err := kong.New(&cli,
		kong.Name("gate"),
		kong.Description("How do you know that it is ready? gate measures, keeps the evidence, decides, and promotes or rolls back by itself."),
		kong.Writers(s.Out, s.Err),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(s.Err, "gate:", err)
		return promotion.CodeInternal
	}
	kctx, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintf(s.Err, "gate: %v; see gate --help\n", err)
		return promotion.CodeUsage
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	return exitCode(kctx.Run(&cli.Globals), s.Err)
}

// exitCode says what went wrong, one line each, and how the process ends.
func exitCode(err error, w io.Writer) int {
	if err == nil {
		return promotion.CodePass
	}
	var exit *Exit
	if errors.As(err, &exit) {
		if exit.Err != nil {
			say(w, exit.Err)
		}
		return exit.Code
	}
	if (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) && !strings.Contains(err.Error(), "free ") {
		// Met anywhere, and what to do is always the same.
		err = fmt.Errorf("%w; free some space there and try again", err)
	}
	say(w, err)
	var problems environments.Problems
	switch {
	case errors.As(err, &problems):
		return promotion.CodeUsage
	case isAny(err, environments.ErrNotDeclared, policies.ErrThreshold, release.ErrNoRepository, release.ErrBare, release.ErrEmpty, release.ErrNoCommit, release.ErrApp):
		return promotion.CodeUsage
	case isAny(err, local.ErrForeign, ledger.ErrForeign, ledger.ErrLost, local.ErrRunning):
		return promotion.CodeLocked
	}
	return promotion.CodeInternal
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

func say(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintln(w, "gate:", report.Line(line))
		}
	}
}
