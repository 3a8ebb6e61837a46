package report

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	"pgregory.net/rapid"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// TestLinesFit: whatever the criteria say, at every width that is written for,
// no line is longer, and columns stand below each other.
func TestLinesFit(t *testing.T) {
	word := rapid.StringMatching(`[a-zé世≤<≥]{1,12}`)
	rapid.Check(t, func(t *rapid.T) {
		sentence := func() string { return strings.Join(rapid.SliceOfN(word, 0, 40).Draw(t, "words"), " ") }
		d := policies.Decision{Environment: "staging", Release: id("ab"), Verdict: policies.Fail}
		for range rapid.IntRange(1, 4).Draw(t, "criteria") {
			v := rapid.SampledFrom([]policies.Verdict{policies.Pass, policies.Warn, policies.Inconclusive}).Draw(t, "verdict")
			d.Criteria = append(d.Criteria, policies.Criterion{ID: "load", Verdict: v, Got: sentence(), Want: sentence(), Why: sentence(), Next: sentence()})
		}
		p := &printer{sheet: sheet{width: rapid.IntRange(minWidth+20, maxWidth).Draw(t, "width")}}
		p.decision(d)
		colour := &printer{sheet: sheet{width: p.width, color: true}}
		colour.decision(d)
		for line := range strings.Lines(p.b.String()) {
			if w := lipgloss.Width(strings.TrimSuffix(line, "\n")); w > p.width {
				t.Fatalf("%d columns of %d: %s", w, p.width, line)
			}
			if line != strings.TrimRight(line, " \n")+"\n" {
				t.Fatalf("ends with blanks: %q", line)
			}
		}
		if plain := uncoloured(colour.b.String()); plain != p.b.String() {
			t.Fatalf("colours change the text:\n%s\n%s", plain, p.b.String())
		}
	})
}

func uncoloured(s string) string {
	for _, code := range []string{"\x1b[m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[1;31m"} {
		s = strings.ReplaceAll(s, code, "")
	}
	return s
}

func TestWrapLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, width := clean(rapid.String().Draw(t, "text")), rapid.IntRange(1, 60).Draw(t, "width")
		lines := wrap(text, width, true)
		squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if squeeze(strings.Join(lines, "")) != squeeze(text) {
			t.Fatalf("%q became %q", text, lines)
		}
	})
}

// TestNothingFromOutsideReachesTheTerminal: no control character, no change of
// direction.
func TestNothingFromOutsideReachesTheTerminal(t *testing.T) {
	r := poison(t)
	last := r.Promotions[0]
	var b bytes.Buffer
	for _, write := range []func() error{
		func() error { return Text(&b, r) },
		func() error { r.Decisions = nil; return Text(&b, r) },
		func() error { return Explain(&b, poison(t).Decisions[1], &last) },
		func() error { return History(&b, r.Promotions) },
		func() error { return Transition(&b, last) },
		func() error {
			return Evidence(&b, []promotion.Signed{{Digest: hostile, Evidence: r.Evidence[0].Evidence}})
		},
		func() error {
			return Status(&b, []Environment{{
				Name: hostile, Address: hostile, Problem: hostile, Desired: hostile, Active: &last, Last: &last, Hold: &promotion.Hold{By: hostile, Reason: hostile},
				Actual: &target.Status{Database: hostile, Stable: hostile, Canary: hostile, Problem: hostile, Instances: []target.Instance{{ID: hostile, Role: hostile, Health: hostile}}},
			}})
		},
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range b.String() {
		if c != '\n' && !unicode.IsGraphic(c) {
			t.Fatalf("%U is written to the terminal", c)
		}
	}
	if !strings.Contains(b.String(), `\x1b[2J`) {
		t.Error("what was taken out does not show")
	}
}

func TestColoursAreForTerminalsThatWantThem(t *testing.T) {
	terminal, _ := openTerminal(t, 200, 50)
	for name, c := range map[string]struct {
		env  map[string]string
		want sheet
	}{
		"terminal":      {map[string]string{"TERM": "xterm-256color"}, sheet{maxWidth, true}},
		"NO_COLOR":      {map[string]string{"TERM": "xterm-256color", "NO_COLOR": "1"}, sheet{maxWidth, false}},
		"dumb terminal": {map[string]string{"TERM": "dumb"}, sheet{maxWidth, false}},
	} {
		if got := sheetOf(terminal, func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	forced := func(k string) string { return map[string]string{"CLICOLOR_FORCE": "1"}[k] }
	if got := sheetOf(&bytes.Buffer{}, forced); got != (sheet{pipeWidth, false}) {
		t.Errorf("a pipe is written to as %+v", got)
	}
	narrow, _ := openTerminal(t, 40, 10)
	if got := sheetOf(narrow, func(string) string { return "" }); got.width != minWidth {
		t.Errorf("a narrow terminal is written to in %d columns", got.width)
	}
}

func TestTextOnATerminal(t *testing.T) {
	terminal, read := openTerminal(t, 110, 50)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if err := Decision(terminal, decision(policies.Readiness).Decision); err != nil {
		t.Fatal(err)
	}
	if out := read("trust"); !strings.Contains(out, "\x1b[32mpass") {
		t.Errorf("no colour on a terminal:\n%q", out)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAWriterThatBreaksIsAnError(t *testing.T) {
	for name, write := range map[string]func() error{
		"text": func() error { return Text(brokenPipe{}, passed(t)) },
		"json": func() error { return JSON(brokenPipe{}, passed(t)) },
		"html": func() error { return HTML(brokenPipe{}, passed(t)) },
	} {
		if err := write(); err == nil || !strings.Contains(err.Error(), "broken pipe") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOnlyADecisionIsCalledPass: what was not judged, or judged otherwise, never
// ends with that word, whatever the exit code says.
func TestOnlyADecisionIsCalledPass(t *testing.T) {
	for _, v := range []policies.Verdict{policies.Warn, policies.Fail, policies.Inconclusive, policies.Error, "", "PASS", "passed"} {
		r := passed(t)
		r.Decisions[1].Decision.Verdict = v
		if got := verdictOf(r); got == "PASS" {
			t.Errorf("a decision of %q ends as %s", v, got)
		}
	}
	for code := -1; code < 20; code++ {
		r := passed(t)
		r.Exit = code
		if got := verdictOf(r); (got == "PASS") != (code == promotion.CodePass) {
			t.Errorf("exit code %d ends as %s", code, got)
		}
	}
	for name, r := range map[string]*run.Result{"measured only": verified(t), "nothing": {Commit: commit}} {
		if got := verdictOf(r); got != "DONE" {
			t.Errorf("%s ends as %s", name, got)
		}
	}
}

func TestHealthIsNeverHealthyByDefault(t *testing.T) {
	sound := func() Environment { return environmentsOf()[0] }
	if got := sound().Health(); got != target.Healthy {
		t.Fatalf("a sound environment is %s", got)
	}
	for name, c := range map[string]struct {
		change func(*Environment)
		want   target.Health
	}{
		"nothing is known":              {func(e *Environment) { e.Actual = nil }, target.Unknown},
		"never served":                  {func(e *Environment) { e.Desired, e.Actual.Stable, e.Actual.Instances = "", "", nil }, target.Unknown},
		"no instance":                   {func(e *Environment) { e.Actual.Instances = nil }, target.Degraded},
		"an instance is not ready":      {func(e *Environment) { e.Actual.Instances[0].Health = target.Progressing }, target.Degraded},
		"something else serves":         {func(e *Environment) { e.Actual.Stable = id("cd") }, target.Degraded},
		"a problem":                     {func(e *Environment) { e.Actual.Problem = "the database is gone" }, target.Degraded},
		"held":                          {func(e *Environment) { e.Hold = &promotion.Hold{} }, target.Paused},
		"held, and an instance is gone": {func(e *Environment) { e.Hold, e.Actual.Instances = &promotion.Hold{}, nil }, target.Degraded},
		"promoting":                     {func(e *Environment) { e.Active = &promotion.Transition{} }, target.Progressing},
	} {
		e := sound()
		c.change(&e)
		if got := e.Health(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestFiguresDoNotLie(t *testing.T) {
	for share, want := range map[float64]string{1: "100.00%", 0.999999: ">99.99%", 0: "0.00%", 1e-9: "<0.01%", 0.9934: "99.34%"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %s, want %s", share, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-1: "–", 0: "0 ms", 99 * time.Millisecond: "99 ms", time.Second: "1.0 s", 59990 * time.Millisecond: "1 min",
		61 * time.Second: "1 min 1 s", 59*time.Minute + 59700*time.Millisecond: "1 h", 90 * time.Minute: "1 h 30 min", 49 * time.Hour: "2 days",
	} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %s, want %s", d, got, want)
		}
	}
}
