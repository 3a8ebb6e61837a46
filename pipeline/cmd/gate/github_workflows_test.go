package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

// hostile is what somebody could give as a reason.
const hostile = `--to=staging it's "so"; $(touch pwned) ` + "`touch pwned`" + ` --to staging ${{ secrets.X }}`

// given are the variables that the steps of workflows get.
var given = map[string]string{
	"ENVIRONMENT": "production", "RELEASE": "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	"REASON": hostile, "RUN_ID": "99", "BRANCH": "env/production",
	"NONCE": "1-2-3-0123", "COMMIT": "0123456789012345678901234567890123456789", "BASE": "9876543210987654321098765432109876543210", "CHECKS": "--check=scan --check=leaks",
}

// called runs the scripts of all workflows' steps in bash, with programs that
// only write down how they are called. It returns the calls by file, job and
// program, the words joined by line ends.
func called(t *testing.T) map[string][]string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	for _, program := range []string{"gate", "dagger", "go"} {
		script := "#!/bin/sh\nprintf '%s\\n' " + program + " \"$@\" END >>" + log + "\n"
		if err := os.WriteFile(filepath.Join(bin, program), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files, err := workflows.Render(workflows.Params{
		Repository: "o/r", Gate: workflows.Checkout, Owners: []string{"@o/t"}, Environments: []string{"staging", "production"},
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, f := range files {
		if f.Path == workflows.CodeOwners {
			continue
		}
		var w struct {
			Jobs map[string]struct {
				Steps []struct {
					Name, Run string
				}
			}
		}
		if err := yaml.Unmarshal(f.Data, &w); err != nil {
			t.Fatal(err)
		}
		for id, j := range w.Jobs {
			for _, s := range j.Steps {
				if s.Run == "" || strings.HasPrefix(s.Name, "Let gate reach") || id == "refuse" {
					continue
				}
				work := t.TempDir()
				if err := os.MkdirAll(filepath.Join(work, "out"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(work, "out/exit"), []byte("0\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				os.Remove(log)
				cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", s.Run)
				cmd.Dir = work
				cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "RUNNER_TEMP=/runner", "GITHUB_PATH=/dev/null", "GITHUB_STEP_SUMMARY=/dev/null"}
				for k, v := range given {
					cmd.Env = append(cmd.Env, k+"="+v)
				}
				if b, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s %s: %s: %v: %s", f.Path, id, s.Run, err, b)
				}
				if _, err := os.Stat(filepath.Join(work, "pwned")); err == nil {
					t.Errorf("%s %s: %s: what somebody gave was run", f.Path, id, s.Run)
				}
				b, err := os.ReadFile(log)
				if err != nil {
					t.Errorf("%s %s: %s: calls nothing", f.Path, id, s.Run)
				}
				for _, call := range strings.SplitAfter(string(b), "\nEND\n") {
					program, words, ok := strings.Cut(strings.TrimSuffix(call, "\nEND\n"), "\n")
					if ok {
						at := filepath.Base(f.Path) + " " + id + " " + program
						out[at] = append(out[at], words)
					}
				}
			}
		}
	}
	return out
}

// TestWorkflowsCallVerbsThatThereAre: what a workflow asks gate for is what gate
// takes, word by word.
func TestWorkflowsCallVerbsThatThereAre(t *testing.T) {
	n := 0
	for at, calls := range called(t) {
		if !strings.HasSuffix(at, " gate") {
			continue
		}
		for _, words := range calls {
			n++
			parser, err := kong.New(&CLI{}, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) { t.Errorf("%s: exits", at) }))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(strings.Split(words, "\n")); err != nil {
				t.Errorf("%s: gate %s: %v", at, strings.ReplaceAll(words, "\n", " "), err)
			}
		}
	}
	if n < 13 {
		t.Errorf("only %d calls of gate", n)
	}
}

func TestWorkflowsHandOnWhatTheyAreGiven(t *testing.T) {
	calls := called(t)
	revision := []string{"--commit", given["COMMIT"], "--base=" + given["BASE"], "--nonce", given["NONCE"]}
	for at, want := range map[string][]string{
		"commit.yml measure gate":    slices.Concat([]string{"-C", "head", "run", "--through", "staging", "--apart"}, revision, []string{"--evidence", "*/out"}),
		"commit.yml measure dagger":  {"-m", "./base", "call", "--source=./head", "--environment=staging", "run", "--commit=" + given["COMMIT"], "--base=" + given["BASE"], "--nonce=" + given["NONCE"], "export", "--path=out"},
		"drills.yml drill gate":      {"verify", "staging", "--fresh", "--check=scan", "--check=leaks", "--apart", "--commit", given["COMMIT"], "--nonce", given["NONCE"], "--evidence", "/runner/out"},
		"publish.yml change gate":    {"github", "publish", "--run=99"},
		"publish.yml protected gate": {"github", "publish", "--run=99"},
		"promote.yml promote gate":   {"promote", "--to=production", "--remote", "--reason=" + hostile, "--", given["RELEASE"]},
		"rollback.yml rollback gate": {"rollback", "--to=" + given["RELEASE"], "--remote", "--reason=" + hostile, "--", "production"},
		"hold.yml hold gate":         {"hold", "--remote", "--reason=" + hostile, "--", "production"},
		"hold.yml lift gate":         {"unhold", "--remote", "--", "production"},
		"explain.yml explain gate":   {"explain", "--", "production"},
		"request.yml follow gate":    {"github", "deployments", "--follow", "--", "production"},
		"commands.yml command gate":  {"github", "command"},
	} {
		if len(calls[at]) == 0 {
			t.Errorf("%s: no call; there are %v", at, calls)
			continue
		}
		got := strings.Split(calls[at][0], "\n")
		for i, w := range want {
			if rest, ok := strings.CutPrefix(w, "*"); ok && i < len(got) && strings.HasSuffix(got[i], rest) {
				got[i] = w
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", at, diff)
		}
	}
}
