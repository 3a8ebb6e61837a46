package runner

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheShimGivesGateForItsOwnSourcesAlone: whatever else is asked of go, go
// does.
func TestTheShimGivesGateForItsOwnSourcesAlone(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	module := func(name, says string) string {
		dir := filepath.Join(root, name)
		for file, text := range map[string]string{
			"go.mod": "module example.org/x\n\ngo 1.26\n", "go.sum": "",
			"pipeline/cmd/gate/main.go":      "package main\n\nimport (\n\t_ \"embed\"\n\n\t\"example.org/x/words\"\n)\n\n//go:embed text\nvar text string\n\nfunc main() { print(words.Word + text) }\n",
			"pipeline/cmd/gate/text":         "!",
			"pipeline/cmd/gate/main_test.go": "package main\n",
			"words/words.go":                 "package words\n\nconst Word = \"" + says + "\"\n",
		} {
			at := filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	mine, same, other := module("mine", "built"), module("same", "built"), module("other", "other")
	if err := os.WriteFile(filepath.Join(same, "pipeline/cmd/gate/main_test.go"), []byte("package main // another test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(root, "gate")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\nprintf 'the one that is there' >&2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := &Runner{o: Options{Root: root, Gate: Gate{Binary: binary, Version: "v1.2.3", Sources: mine}}}
	shim, err := r.makeShim()
	if err != nil {
		t.Fatal(err)
	}
	run := func(dir string, args ...string) (string, error) {
		t.Helper()
		temp := t.TempDir()
		for i, a := range args {
			args[i] = strings.ReplaceAll(a, "$RUNNER_TEMP", temp)
		}
		cmd := exec.Command(filepath.Join(shim, "go"), args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "RUNNER_TEMP="+temp, "GOBIN="+temp+"/bin", "GOFLAGS=", "GOPROXY=off", "GOTOOLCHAIN=local")
		if out, err := cmd.CombinedOutput(); err != nil {
			return string(out), err
		}
		out, err := exec.Command(filepath.Join(temp, "bin", "gate")).CombinedOutput()
		return string(out), err
	}
	build := func() []string {
		return []string{"build", "-trimpath", "-o", "$RUNNER_TEMP/bin/", "./pipeline/cmd/gate"}
	}
	for dir, want := range map[string]string{mine: "the one that is there", same: "the one that is there", other: "other!"} {
		if got, err := run(dir, build()...); err != nil || got != want {
			t.Errorf("%s: got %q (%v), want %q", dir, got, err, want)
		}
	}
	if got, err := run(mine, append([]string{"build", "-v"}, build()[1:]...)...); err != nil || got != "built!" {
		t.Errorf("another command: got %q (%v)", got, err)
	}
	const gate = "github.com/smartcloudops/gate/pipeline/cmd/gate@"
	if got, err := run(other, "install", gate+"v1.2.3"); err != nil || got != "the one that is there" {
		t.Errorf("the version that is there: got %q (%v)", got, err)
	}
	if got, err := run(other, "install", gate+"v1.2.4"); err == nil {
		t.Errorf("another version: got %q", got)
	}
}
