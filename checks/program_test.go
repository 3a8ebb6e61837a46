package checks

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// programInput is a folder with a program of the given text, in a place that
// others may pass through as a run's is.
func programInput(t *testing.T, script string) (Input, environments.Program) {
	t.Helper()
	work, err := os.MkdirTemp("", "gate-program-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	dir := filepath.Join(work, "export")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "measure"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	app := &environments.App{Name: "app"}
	return Input{Declarations: &environments.Declarations{App: app}, Environment: &environments.Environment{Name: "staging"}, Source: dir, Release: "sha256:aa"},
		environments.Program{Name: "licences", Criterion: "licences", Command: []string{"./measure", "two words"}, Timeout: environments.Duration(20 * time.Second)}
}

func program(t *testing.T, script string) Evidence {
	t.Helper()
	in, p := programInput(t, script)
	c := Program(p)
	taken, err := Take(t.Context(), c, in, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return taken.Evidence(c, in)
}

func TestProgramIsEvidence(t *testing.T) {
	e := program(t, `printf '{"denied": 0, "release": "%s", "argument": "%s", "user": %s}\n' "$GATE_RELEASE" "$1" "$(id -u)"`)
	if e.Status != Completed {
		t.Fatalf("%s: %s", e.Status, e.Reason)
	}
	var p ProgramPayload
	if err := json.Unmarshal(e.Payload, &p); err != nil || len(p.Runs) != 1 {
		t.Fatalf("%v: %s", err, e.Payload)
	}
	var got struct {
		Release, Argument string
		User              int
	}
	if err := json.Unmarshal(p.Runs[0], &got); err != nil {
		t.Fatal(err)
	}
	if got.Release != "sha256:aa" || got.Argument != "two words" {
		t.Errorf("the program got %+v", got)
	}
	if os.Geteuid() == 0 && got.User != 65534 {
		t.Errorf("the program ran as user %d", got.User)
	}
	both, err := programPool([][]byte{e.Payload, e.Payload})
	if err != nil || strings.Count(string(both), "denied") != 2 {
		t.Errorf("pooled: %s, %v", both, err)
	}
}

func TestProgramsThatMeasureNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, says string }{
		"nothing":         {"true", "no JSON object"},
		"text":            {"echo fine", "no JSON object"},
		"null":            {"echo null", "nothing was measured"},
		"an empty object": {"echo '{}'", "nothing was measured"},
		"a list":          {"echo '[1]'", "no JSON object"},
		"two objects":     {`echo '{"a":1}{"a":1}'`, "more than one"},
		"NaN":             {`echo '{"a":NaN}'`, "no JSON object"},
		"out of range":    {`echo '{"a":[{"b":1e999}]}'`, "out of range"},
		"too much":        {`head -c 1100000 /dev/zero | tr '\0' x`, "more than 1048576"},
		"a failure":       {`echo '{"a":1}'; echo "the list is gone" >&2; exit 3`, "exit status 3: the list is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if e := program(t, c.script); e.Status != Errored || len(e.Payload) > 0 || !strings.Contains(e.Reason, c.says) {
				t.Errorf("%s: %s, payload %.80s", e.Status, e.Reason, e.Payload)
			}
		})
	}
}

func TestProgramThatIsMissingOrHangs(t *testing.T) {
	t.Parallel()
	in, p := programInput(t, "sleep 600")
	p.Timeout = environments.Duration(300 * time.Millisecond)
	if _, err := programMeasure(t.Context(), p, in); err == nil || !strings.Contains(err.Error(), "was stopped after 300ms") {
		t.Errorf("a program that hangs: %v", err)
	}
	p.Command = []string{"./none"}
	if m, err := programMeasure(t.Context(), p, in); err != nil || m.Status != Unavailable {
		t.Errorf("a program that is missing: %+v %v", m, err)
	}
	in.Source = ""
	if m, err := programMeasure(t.Context(), p, in); err != nil || m.Status != Unavailable {
		t.Errorf("without the source: %+v %v", m, err)
	}
}

func TestProgramsKeepTheNamesOfGatesOwn(t *testing.T) {
	t.Parallel()
	_, p := programInput(t, "true")
	all, err := For(&environments.App{Checks: []environments.Program{p}})
	if err != nil || len(all) != len(All())+1 || all[len(all)-1].Name != "licences" {
		t.Errorf("%d checks, %v", len(all), err)
	}
	p.Name = "tests"
	if _, err := For(&environments.App{Checks: []environments.Program{p}}); err == nil {
		t.Error("a program takes the place of tests")
	}
}
