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
	t := in.Declarations.App.Test
	command, isGo := testsCommand(t.Command)
	program, err := exec.LookPath(command[0])
	if err != nil && !strings.Contains(command[0], "/") {
		return Measurement{Status: Unavailable, Reason: fmt.Sprintf("test command %q is not on this machine: %v", command[0], err)}, nil
	}
	if strings.Contains(command[0], "/") {
		program = filepath.Join(in.Source, command[0])
	}
	env := append(toolsEnviron(os.Environ()), "CI=true", "GOFLAGS=", "GOWORK=off")
	if isGo {
		env = append(env, "GOTOOLCHAIN="+in.Declarations.App.Build.Toolchain)
	}
	limited, cancel := context.WithTimeout(ctx, t.Timeout.D())
	defer cancel()
	in.Note(strings.Join(t.Command, " "))
	stdout, stderr, code, err := toolsRun(limited, in.Source, env, program, command[1:]...)
	p := TestsPayload{Command: t.Command, ExitCode: code}
	if isGo {
		testsParseGo(in.Source, stdout, stderr, &p)
	} else {
		testsParseLine(string(stdout)+"\n"+string(stderr), &p)
	}
	m := Measurement{Status: Completed, Tools: map[string]string{"go": in.Declarations.App.Build.Toolchain}}
	switch {
	case ctx.Err() != nil:
		return Measurement{}, ctx.Err()
	case errors.Is(limited.Err(), context.DeadlineExceeded):
		// A run that hangs is a fact about the release, not about the meter.
		p.ExitCode, p.Failed = -1, p.Failed+1
		p.Findings = append(p.Findings, Finding{
			Tool: "tests", Rule: "timeout", Severity: "high",
			Message: fmt.Sprintf("the tests were stopped after %s", t.Timeout), Fix: "mend what hangs, or raise test.timeout in app.yaml",
		})
	case err != nil:
		return Measurement{}, fmt.Errorf("run %s: %w", strings.Join(t.Command, " "), err)
	case code != 0 && p.Failed == 0:
		p.Findings = append(p.Findings, Finding{
			Tool: "tests", Rule: "exit", Severity: "high", Message: fmt.Sprintf("exit status %d: %s", code, toolsLastLine(slices.Concat(stdout, []byte("\n"), stderr))),
		})
	}
	m.Payload = p
	return m, nil
}

// testsCommand makes go test speak JSON.
func testsCommand(c []string) (command []string, isGo bool) {
	if len(c) < 2 || c[0] != "go" || c[1] != "test" {
		return c, false
	}
	if slices.Contains(c, "-json") {
		return c, true
	}
	return append([]string{"go", "test", "-json"}, c[2:]...), true
}

var testsLine = regexp.MustCompile(`(?m)^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?`)

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
