package checks

import (
	"maps"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

const testsMod = "module example.org/tests\n\ngo 1.26\n"

func testsOf(t *testing.T, files map[string]string, command ...string) TestsPayload {
	t.Helper()
	files = maps.Clone(files)
	files["go.mod"] = testsMod
	return completed[TestsPayload](t, Tests(), sourceInput(t, sourceOf(t, files), command...))
}

func counts(p TestsPayload) [4]int { return [4]int{p.ExitCode, p.Passed, p.Failed, p.Skipped} }

func TestTestsCountsEveryResultAndNamesPlaces(t *testing.T) {
	in := sourceInput(t, sourceOf(t, map[string]string{
		"go.mod": testsMod,
		"sub/a_test.go": `package sub

import "testing"

func TestPass(t *testing.T) {}

func TestParts(t *testing.T) {
	t.Run("good", func(t *testing.T) {})
	t.Run("bad", func(t *testing.T) {
		t.Log("on the way")
		t.Errorf("got %d, want 2", 1)
	})
}

func TestSkipped(t *testing.T) { t.Skip("not here") }
`,
		"a_test.go": "package tests\n\nimport \"testing\"\n\nfunc TestTop(t *testing.T) {\n\tt.Fatal(\"top\")\n}\n",
	}), "go", "test", "./...")
	m, err := Tests().Measure(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if m.Tools["go"] != runtime.Version() {
		t.Errorf("tools: %v", m.Tools)
	}
	p := m.Payload.(TestsPayload)
	if got, want := counts(p), [4]int{1, 2, 3, 1}; got != want {
		t.Errorf("exit, passed, failed, skipped: %v, want %v", got, want)
	}
	if len(p.Findings) != 2 {
		t.Fatalf("findings: %+v", p.Findings)
	}
	want := map[string]string{"a_test.go:6": "example.org/tests TestTop: top", "sub/a_test.go:11": "example.org/tests/sub TestParts/bad: got 1, want 2"}
	for _, f := range p.Findings {
		if want[at(f)] != f.Message {
			t.Errorf("%s %q, want one of %v", at(f), f.Message, want)
		}
	}
}

func TestTestsWithoutATestHaveNonePassed(t *testing.T) {
	p := testsOf(t, map[string]string{"a.go": "package tests\n", "b/b_test.go": "package b\n"}, "go", "test", "./...")
	if got := counts(p); got != [4]int{} || len(p.Findings) > 0 {
		t.Errorf("%+v", p)
	}
	p = testsOf(t, map[string]string{"a.go": "package tests\n"}, "go", "test", "./none/...")
	if p.ExitCode == 0 || p.Passed != 0 || len(p.Findings) == 0 {
		t.Errorf("a pattern that fits nothing: %+v", p)
	}
}

func TestTestsThatDoNotBuildFail(t *testing.T) {
	good := "package good\n\nimport \"testing\"\n\nfunc TestGood(t *testing.T) {}\n"
	for name, c := range map[string]struct {
		files map[string]string
		place string
	}{
		"test file":  {map[string]string{"bad/a_test.go": "package bad\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { missing() }\n"}, "bad/a_test.go:5"},
		"dependency": {map[string]string{"dep/d.go": "package dep\n\nvar X int = \"\"\n", "bad/a_test.go": "package bad\n\nimport _ \"example.org/tests/dep\"\n"}, "dep/d.go:3"},
		"syntax":     {map[string]string{"bad/a_test.go": "package bad\n\nfunc {\n"}, "bad/a_test.go:3"},
		"vet":        {map[string]string{"bad/a_test.go": "package bad\n\nimport (\n\t\"fmt\"\n\t\"testing\"\n)\n\nfunc TestX(t *testing.T) { fmt.Printf(\"%d\", \"\") }\n"}, "bad/a_test.go:8"},
		"no module":  {map[string]string{"bad/a_test.go": "package bad\n\nimport _ \"example.net/none\"\n"}, "bad/a_test.go:3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.files["good/a_test.go"] = good
			p := testsOf(t, c.files, "go", "test", "./bad", "./good")
			if got, want := counts(p), [4]int{1, 1, 1, 0}; got != want {
				t.Errorf("exit, passed, failed, skipped: %v, want %v", got, want)
			}
			if f := found(t, p.Findings, "test"); at(f) != c.place {
				t.Errorf("%+v, want it at %s", f, c.place)
			}
		})
	}
}

func TestTestsThatPanicOrEndTheProcessFail(t *testing.T) {
	head := "package tests\n\nimport (\n\t\"os\"\n\t\"syscall\"\n\t\"testing\"\n)\n\nvar _, _ = os.Exit, syscall.Exit\n\nfunc TestFirst(t *testing.T) {}\n\nfunc TestX(t *testing.T) {\n\t"
	for name, c := range map[string]struct{ statement, place, says string }{
		"panic":             {"var p *int; *p = 1", "a_test.go:14", "panic: runtime error"},
		"exit 1":            {"os.Exit(1)", ":0", "FAIL"},
		"exit 0":            {"os.Exit(0)", "a_test.go:14", "unexpected call to os.Exit(0)"},
		"exit 0 of its own": {"syscall.Exit(0)", ":0", "ended before its tests did"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := testsOf(t, map[string]string{"a_test.go": head + c.statement + "\n}\n\nfunc TestLast(t *testing.T) { t.Fatal() }\n"}, "go", "test", ".")
			if p.Failed == 0 {
				t.Fatalf("nothing failed: %+v", p)
			}
			if f := found(t, p.Findings, "test"); at(f) != c.place || !strings.Contains(f.Message, c.says) {
				t.Errorf("%+v, want %q at %s", f, c.says, c.place)
			}
		})
	}
}

func TestTestsThatHangAreStoppedWithAllThatTheyStarted(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED in short mode: waits for a limit of several seconds")
	}
	t.Parallel()
	source := sourceOf(t, map[string]string{
		"go.mod": testsMod,
		"a_test.go": `package tests

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

func TestGood(t *testing.T) {}

func TestHangs(t *testing.T) {
	for i, own := range []bool{false, true} {
		c := exec.Command("sleep", "300")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: own}
		c.Stdout = os.Stdout
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		os.WriteFile("pid"+strconv.Itoa(i), []byte(strconv.Itoa(c.Process.Pid)), 0o600)
	}
	t.Run("inside", func(t *testing.T) { select {} })
}
`,
	})
	in := sourceInput(t, source, "go", "test", ".")
	in.Declarations.App.Test.Timeout = environments.Duration(10 * time.Second)
	began := time.Now()
	p := completed[TestsPayload](t, Tests(), in)
	if took := time.Since(began); took > 25*time.Second {
		t.Errorf("stopped after %s only", took)
	}
	if got, want := counts(p), [4]int{-1, 1, 1, 0}; got != want {
		t.Errorf("exit, passed, failed, skipped: %v, want %v", got, want)
	}
	f := found(t, p.Findings, "timeout")
	if !strings.Contains(f.Message, "10s") || !strings.Contains(f.Message, "TestHangs/inside") {
		t.Errorf("%+v", f)
	}
	gone(t, filepath.Join(source, "pid0"))
	gone(t, filepath.Join(source, "pid1"))
}

func TestTestsAreReallyRunAgain(t *testing.T) {
	in := sourceInput(t, sourceOf(t, map[string]string{
		"go.mod":    testsMod,
		"a_test.go": "package tests\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestOnce(t *testing.T) {\n\tif os.Mkdir(\"once\", 0o755) != nil {\n\t\tt.Fatal(\"again\")\n\t}\n}\n",
	}), "go", "test", "./...")
	if p := completed[TestsPayload](t, Tests(), in); p.Passed != 1 {
		t.Fatalf("%+v", p)
	}
	if p := completed[TestsPayload](t, Tests(), in); p.Failed != 1 {
		t.Errorf("the second run came from a cache: %+v", p)
	}
}

func TestTestsOfAnotherCommand(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   [4]int
		rule   string
	}{
		"a line of counts":       {"echo '9 passed, 9 failed'; echo 'tests: 5 passed, 1 failed, 2 skipped'; exit 1", [4]int{1, 5, 1, 2}, ""},
		"counts on stderr":       {"echo '5 passed, 0 failed' >&2", [4]int{0, 5, 0, 0}, ""},
		"failures but success":   {"echo '5 passed, 1 failed'", [4]int{0, 5, 1, 0}, ""},
		"no counts":              {"echo all good", [4]int{}, ""},
		"counts inside of words": {"echo 'of 5 passed, 0 failed'", [4]int{}, ""},
		"success but an error":   {"echo '5 passed, 0 failed'; echo broken >&2; exit 3", [4]int{3, 5, 0, 0}, "exit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := sourceOf(t, map[string]string{"run.sh": "#!/bin/sh\n" + c.script + "\n"})
			for _, command := range [][]string{{"./run.sh"}, {"sh", "-c", c.script}} {
				m, err := Tests().Measure(t.Context(), sourceInput(t, source, command...))
				if err != nil || m.Status != Completed || len(m.Tools) > 0 {
					t.Fatalf("%+v, %v", m, err)
				}
				p := m.Payload.(TestsPayload)
				if got := counts(p); got != c.want {
					t.Errorf("exit, passed, failed, skipped: %v, want %v", got, c.want)
				}
				if c.rule != "" {
					if f := found(t, p.Findings, c.rule); !strings.Contains(f.Message, "broken") {
						t.Errorf("%+v", f)
					}
				} else if len(p.Findings) > 0 {
					t.Errorf("%+v", p.Findings)
				}
			}
		})
	}
}

func TestTestsWithoutWhatTheyNeedAreUnavailable(t *testing.T) {
	source := sourceOf(t, map[string]string{"go.mod": testsMod, "a.go": "package tests\n", "plain": ""})
	unavailable(t, Tests(), sourceInput(t, source, "no-such-command-of-gate", "x"), "no-such-command-of-gate", "install it")
	unavailable(t, Tests(), sourceInput(t, source, "./none.sh"), "./none.sh")
	unavailable(t, Tests(), sourceInput(t, source), "no test command")
	unavailable(t, Tests(), sourceInput(t, "", "go", "test"), "source")
	in := sourceInput(t, source, "go", "test", "./...")
	in.Declarations.App.Build.Toolchain = "go1.0.99"
	unavailable(t, Tests(), in, "go1.0.99")

	// A proxy that can't be reached is not the commit's fault.
	t.Setenv("GOPROXY", "http://127.0.0.1:1")
	t.Setenv("GOMODCACHE", t.TempDir())
	away := map[string]string{
		"go.mod":    testsMod + "\nrequire golang.org/x/text v0.3.5\n",
		"go.sum":    textSum,
		"a_test.go": "package tests\n\nimport (\n\t\"testing\"\n\n\t_ \"golang.org/x/text/language\"\n)\n\nfunc TestX(t *testing.T) {}\n",
	}
	unavailable(t, Tests(), sourceInput(t, sourceOf(t, away), "go", "test", "./..."), "module", "proxy")
}
