package checks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// Tests runs app.yaml's test command. Of go test every result of a test or
// subtest counts once; of another command the counts are those of a line
// "N passed, N failed[, N skipped]", the last one that it prints: without one
// nothing is known to have passed.
func Tests() Check {
	return Check{
		Name: "tests", Criterion: "tests", Version: 1, Scope: OfRelease, Title: "automated tests of the commit",
		Parameters: func(in Input) map[string]string {
			return map[string]string{
				"command":   environments.Digest(in.Declarations.App.Test),
				"toolchain": in.Declarations.App.Build.Toolchain,
				"source":    in.SourceDigest,
			}
		},
		Estimate: func(Input) time.Duration { return 20 * time.Second },
		Measure:  testsMeasure,
		Pool:     testsPool,
	}
}

func testsMeasure(ctx context.Context, in Input) (Measurement, error) {
	if in.Source == "" {
		return Measurement{Status: Unavailable, Reason: "the source of the commit is not at hand"}, nil
	}
	t, toolchain := in.Declarations.App.Test, in.Declarations.App.Build.Toolchain
	command, isGo := testsCommand(t.Command)
	program, err := testsProgram(in.Source, command)
	if err != nil {
		return toolsOutcome(ctx, err)
	}
	env, err := toolsGoEnviron(ctx, toolchain)
	if err != nil {
		if isGo || ctx.Err() != nil {
			return toolsOutcome(ctx, err)
		}
		// A service in another language needs no Go on the machine.
		env = toolsEnviron(os.Environ())
	}
	limited, cancel := context.WithTimeout(ctx, t.Timeout.D())
	defer cancel()
	in.Note(strings.Join(t.Command, " "))
	stdout, stderr, code, err := toolsRun(limited, in.Source, append(env, "CI=true"), program, command[1:]...)
	if ctx.Err() != nil {
		return Measurement{}, ctx.Err()
	}
	stopped := err != nil && errors.Is(limited.Err(), context.DeadlineExceeded)
	if err != nil && !stopped {
		return Measurement{}, fmt.Errorf("run %s: %w", strings.Join(t.Command, " "), err)
	}
	p := TestsPayload{Command: t.Command, ExitCode: code}
	m := Measurement{Status: Completed}
	var running []string
	if isGo {
		m.Tools = map[string]string{"go": toolchain}
		r := testsReadGo(stdout, stderr)
		if away := toolsUnreachable.FindStringIndex(r.building); away != nil && code != 0 && len(r.failed) == 0 {
			return toolsOutcome(ctx, &toolsAway{"the modules that the tests need can't be had (" + testsLineAt(r.building, away[0]) + "): reach the Go module proxy once, or fill the module cache"})
		}
		r.report(in.Source, stopped, &p)
		running = r.unfinished()
	} else {
		testsParseLine(string(stdout)+"\n"+string(stderr), &p)
	}
	switch {
	case stopped:
		// A run that hangs is a fact about the release, not about the meter.
		p.ExitCode, p.Failed = -1, p.Failed+1
		f := Finding{
			Tool: "tests", Rule: "timeout", Severity: "high",
			Message: fmt.Sprintf("the tests were stopped after %s", t.Timeout), Fix: "mend what hangs, or raise test.timeout in app.yaml",
		}
		if len(running) > 0 {
			f.Message += " in " + strings.Join(running[:min(3, len(running))], ", ")
		}
		p.Findings = append([]Finding{f}, p.Findings...)
	case code != 0 && p.Failed == 0:
		p.Findings = append(p.Findings, Finding{
			Tool: "tests", Rule: "exit", Severity: "high", Message: fmt.Sprintf("exit status %d: %s", code, toolsLastLine(slices.Concat(stdout, []byte("\n"), stderr))),
		})
	}
	p.Findings = p.Findings[:min(testsMaxFindings, len(p.Findings))]
	m.Payload = p
	return m, nil
}

// testsMaxFindings is how many failures a record names; all are counted.
const testsMaxFindings = 100

// testsProgram finds the program of a command: with a slash it is a file of the
// commit, as in a shell in that folder.
func testsProgram(source string, command []string) (string, error) {
	if len(command) == 0 {
		return "", &toolsAway{"app.yaml declares no test command"}
	}
	name := command[0]
	if strings.Contains(name, "/") && !filepath.IsAbs(name) {
		name = filepath.Join(source, name)
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return "", &toolsAway{fmt.Sprintf("test command %q can't be run (%v): install it, or mend test.command in app.yaml", command[0], errors.Unwrap(err))}
	}
	return program, nil
}

// testsCommand makes go test speak JSON, and test: a result out of its cache
// would be no measurement.
func testsCommand(c []string) (command []string, isGo bool) {
	if len(c) < 2 || c[0] != "go" || c[1] != "test" {
		return c, false
	}
	return append([]string{"go", "test", "-json", "-count=1"}, c[2:]...), true
}

var testsLine = regexp.MustCompile(`(?m)^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\b`)

func testsParseLine(out string, p *TestsPayload) {
	all := testsLine.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return
	}
	last := all[len(all)-1]
	for i, to := range []*int{&p.Passed, &p.Failed, &p.Skipped} {
		if n, err := strconv.Atoi(last[i+1]); err == nil {
			*to = n
		}
	}
}

// testsPool keeps the worst of every figure, and what any run complained of.
func testsPool(payloads [][]byte) ([]byte, error) {
	return poolWorst(payloads, func(a, b TestsPayload) TestsPayload {
		b.Failed, b.Skipped, b.Passed = max(a.Failed, b.Failed), max(a.Skipped, b.Skipped), min(a.Passed, b.Passed)
		if a.ExitCode != 0 {
			b.ExitCode = a.ExitCode
		}
		b.Findings = poolFindings(a.Findings, b.Findings)
		return b
	})
}
