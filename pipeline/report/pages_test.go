package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/smartcloudops/gate/policies"
)

const reportAddress = "https://github.com/smartcloudops/gate/actions/runs/1?check=a&b=(c)"

// judged is a decision with every verdict.
func judged() policies.Decision {
	d := decision("change").Decision
	verdict(&d, "scan", policies.Warn, "database 9.1 days old", "the vulnerability database is 9.1 days old, at most 7 days", "gate verify staging --check scan")
	verdict(&d, "config", policies.Error, "no result", "the policy could not be evaluated", "gate explain staging")
	verdict(&d, "update", policies.Inconclusive, "no evidence that counts", "the measurement was not sound: the generator dropped 3 requests", "gate verify staging --check update (about 20 s)")
	verdict(&d, "load", policies.Fail, "p95 2.31 s (≤ 2.6), p99 4.9 s (≤ 6.2), success ≥ 97.2% of 3561",
		"open query: p95 2.31 s, must be below 2; open query: 71 of 1391 requests failed", "gate verify staging --check load (about 100 s)")
	return d
}

// TestPages keeps what is published.
func TestPages(t *testing.T) {
	d, passing := judged(), decision(policies.Readiness).Decision
	plan := planOf()
	for name, write := range map[string]func(io.Writer) error{
		"markdown":      func(w io.Writer) error { return Markdown(w, d) },
		"markdown-pass": func(w io.Writer) error { return Markdown(w, passing) },
		"markdown-none": func(w io.Writer) error { return Markdown(w, policies.Decision{}) },
		"check-run":     func(w io.Writer) error { return CheckRun(w, d.Of([]string{"load"}), reportAddress) },
		"comment": func(w io.Writer) error {
			return Comment(w, CommentData{Commit: commit, Binding: true, Decision: &d, Next: "gate explain staging", Plan: &plan, Report: reportAddress})
		},
		"comment-pass": func(w io.Writer) error { return Comment(w, CommentData{Commit: commit, Decision: &passing}) },
		"comment-none": func(w io.Writer) error {
			return Comment(w, CommentData{Commit: commit, Problem: "the change alters a workflow: an owner must approve this commit", Plan: &Plan{Problem: "it does not build"}})
		},
		"plan":                 func(w io.Writer) error { return PlanText(w, plan) },
		"plan-none":            func(w io.Writer) error { return PlanText(w, Plan{App: "smartcloudops", Commit: commit}) },
		"plan-json":            func(w io.Writer) error { return JSON(w, plan) },
		"summary":              func(w io.Writer) error { return Summary(w, failed(t), reportAddress) },
		"summary-rolled-back":  func(w io.Writer) error { return Summary(w, rolledBack(t), "") },
		"summary-unbuilt":      func(w io.Writer) error { return Summary(w, unbuilt(t), "") },
		"summary-inconclusive": func(w io.Writer) error { return Summary(w, inconclusive(t), "") },
		"junit":                func(w io.Writer) error { return JUnit(w, passing, d) },
		"junit-none":           func(w io.Writer) error { return JUnit(w) },
		"sarif":                func(w io.Writer) error { return SARIF(w, scanned(t)) },
		"sarif-unbuilt":        func(w io.Writer) error { return SARIF(w, unbuilt(t)) },
		"markdown-hostile":     func(w io.Writer) error { return Markdown(w, hostileDecision(forgery)) },
		"comment-hostile":      func(w io.Writer) error { return Comment(w, hostileComment(forgery)) },
		"summary-hostile":      func(w io.Writer) error { return Summary(w, hostileRun(t, forgery), "javascript:alert(1)") },
		"plan-hostile":         func(w io.Writer) error { return PlanText(w, hostilePlan(forgery)) },
		"junit-hostile":        func(w io.Writer) error { return JUnit(w, hostileDecision(forgery)) },
		"sarif-hostile":        func(w io.Writer) error { return SARIF(w, hostileRun(t, forgery)) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.Bytes())
		})
	}
}

// pages are all that is written in Markdown, of data in which every text is s.
func pages(t testing.TB, s string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, write := range map[string]func(io.Writer) error{
		"markdown":  func(w io.Writer) error { return Markdown(w, hostileDecision(s)) },
		"check run": func(w io.Writer) error { return CheckRun(w, hostileDecision(s), "") },
		"comment":   func(w io.Writer) error { return Comment(w, hostileComment(s)) },
		"summary":   func(w io.Writer) error { return Summary(w, hostileRun(t, s), "") },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		out[name] = b.String()
	}
	return out
}

// TestNobodyForgesAPage: a page has the elements that it would have if all the
// texts were harmless.
func TestNobodyForgesAPage(t *testing.T) {
	shape := func(page string) string {
		var names []string
		for _, e := range rendered(t, page) {
			if e.name != "code" {
				names = append(names, e.name)
			}
		}
		return strings.Join(names, " ")
	}
	harmless := pages(t, "word")
	for _, s := range append(forgeries, forgery) {
		if strings.TrimSpace(s) == "" || len(strings.Split(s, "\n")) > 8 {
			continue // what is empty is left out, and what is long is cut
		}
		for name, page := range pages(t, s) {
			if got, want := shape(page), shape(harmless[name]); got != want {
				t.Errorf("%s of %q:\n%s\nwant\n%s", name, s, got, want)
			}
		}
	}
	for name, page := range pages(t, forged) {
		all := rendered(t, page)
		quietTexts(t, all)
		for _, e := range all {
			if len(e.attr) > 0 {
				t.Errorf("%s: <%s> has attributes %v", name, e.name, e.attr)
			}
		}
		if uncommanded(page, "!", "!") != page {
			t.Errorf("%s holds commands", name)
		}
	}
}

func TestPagesSayWhatTheyHaveCut(t *testing.T) {
	d, plan := judged(), planOf()
	for i := range 3000 {
		d.Criteria = append(d.Criteria, policies.Criterion{ID: fmt.Sprintf("extra%d", i), Verdict: policies.Pass, Got: "x", Want: "y", Evidence: []string{id("7c")}})
		plan.Environments[0].Changes = append(plan.Environments[0].Changes, PlanChange{Name: fmt.Sprintf("config.N%d", i), Change: Added, To: "x"})
	}
	for name, v := range map[string]*string{"got": &d.Criteria[4].Got, "why": &d.Criteria[4].Why} {
		*v = strings.Repeat(name+" @", 1<<20)
	}
	r := failed(t)
	r.Decisions[1].Decision = d
	r.Summary = strings.Repeat("@x ", 1<<20)
	for range 9000 {
		r.Promotions = append(r.Promotions, r.Promotions[0])
		r.Decisions = append(r.Decisions, r.Decisions[1])
	}
	for _, c := range []struct {
		name  string
		most  int
		write func(io.Writer) error
		want  []string
	}{
		{"comment", 64_512, func(w io.Writer) error {
			return Comment(w, CommentData{Commit: commit, Decision: &d, Plan: &plan, Report: reportAddress})
		}, []string{CommentMarker + "\n## gate: ❌ fail", "<b>load</b>", "statements", "configuration differences", "2 long texts", "has all of it"}},
		{"check run", 65_535, func(w io.Writer) error { return CheckRun(w, d, "") }, []string{"## ❌ fail", "<b>load</b>", "verdicts", "`gate explain` shows all of it"}},
		{"summary", 1 << 20, func(w io.Writer) error { return Summary(w, r, reportAddress) }, []string{"## ❌ FAIL", "<b>load</b>", "promotions", "has all of it"}},
	} {
		var b bytes.Buffer
		if err := c.write(&b); err != nil {
			t.Fatal(err)
		}
		page := b.String()
		if len(page) > c.most || len(page) < c.most*9/10 {
			t.Errorf("the %s has %d bytes, at most %d", c.name, len(page), c.most)
		}
		if !utf8.ValidString(page) {
			t.Errorf("the %s is cut within a character", c.name)
		}
		_, end, ok := strings.Cut(page, "> Cut to fit: ")
		if !ok || !strings.HasSuffix(end, ".\n") {
			t.Errorf("the %s does not end by what was cut: %.300s", c.name, end)
		}
		for _, want := range c.want {
			if !strings.Contains(page, want) {
				t.Errorf("the %s lacks %q; it ends by %s", c.name, want, end)
			}
		}
		var whole struct{}
		if err := xml.Unmarshal([]byte(xhtml(t, page)), &whole); err != nil {
			t.Errorf("the %s is not whole: %v", c.name, err)
		}
	}
}

// TestNoPageIsBetterThanItsCriteria: whatever is missing, odd or unknown is no
// pass.
func TestNoPageIsBetterThanItsCriteria(t *testing.T) {
	one := func(v, c policies.Verdict) policies.Decision {
		return policies.Decision{Verdict: v, Criteria: []policies.Criterion{{ID: "a", Verdict: policies.Pass}, {ID: "b", Verdict: c}}}
	}
	for _, c := range []struct {
		d    policies.Decision
		want policies.Verdict
	}{
		{policies.Decision{}, policies.Error},
		{policies.Decision{Verdict: policies.Pass}, policies.Error},
		{policies.Decision{Verdict: policies.Fail}, policies.Fail},
		{one(policies.Pass, policies.Pass), policies.Pass},
		{one(policies.Pass, policies.Warn), policies.Warn},
		{one(policies.Pass, policies.Fail), policies.Fail},
		{one(policies.Warn, policies.Inconclusive), policies.Inconclusive},
		{one(policies.Pass, "PASS"), policies.Error},
		{one("", policies.Pass), policies.Error},
	} {
		if got := Standing(c.d); got != c.want {
			t.Errorf("%v stands as %s, want %s", c.d, got, c.want)
		}
		var b bytes.Buffer
		if err := Comment(&b, CommentData{Decision: &c.d}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), "## gate: "+symbolOf(c.want)+":") {
			t.Errorf("the comment on %v says %s", c.d, b.String())
		}
	}
}

func TestLinksLeadToTheWebAlone(t *testing.T) {
	for address, want := range map[string]string{
		reportAddress:                   "[t](https://github.com/smartcloudops/gate/actions/runs/1?check=a&amp;b=%28c%29)",
		"http://127.0.0.1:80/":          "[t](http://127.0.0.1:80/)",
		"javascript:alert(1)":           "t `javascript:alert(1)`",
		"https://user:pw@evil.example/": "t <code>https&#58;//user&#58;pw<!-- -->&#64;evil&#46;example/</code>",
		"//evil.example":                "t `//evil.example`",
		"https://a/) [x](b":             "[t](https://a/%29%20%5Bx%5D%28b)",
		"https://a/\n# x":               "t <code>https&#58;//a/ &#35; x</code>",
		"https://a/?q=|`<b>*_":          "[t](https://a/?q=%7C%60%3Cb%3E%2A_)",
	} {
		if got := link("t", address); got != want {
			t.Errorf("%q became %s, want %s", address, got, want)
		}
	}
}

// TestNoFormatHoldsACommand: all of them may end in the log of a workflow.
func TestNoFormatHoldsACommand(t *testing.T) {
	d, plan, r := hostileDecision(forged), hostilePlan(forged), hostileRun(t, forged)
	live := func(w io.Writer) error {
		l := newLive(w, false, nil, time.Now, nil)
		l.Say("::error::", "::error:: ##[error]")
		l.Close()
		return nil
	}
	for name, write := range map[string]func(io.Writer) error{
		"text": func(w io.Writer) error { return Text(w, r) }, "decision": func(w io.Writer) error { return Decision(w, d) }, "plan": func(w io.Writer) error { return PlanText(w, plan) },
		"JSON": func(w io.Writer) error { return JSON(w, r) }, "HTML": func(w io.Writer) error { return HTML(w, r) }, "JUnit": func(w io.Writer) error { return JUnit(w, d) },
		"SARIF": func(w io.Writer) error { return SARIF(w, r) }, "live": live,
		"line": func(w io.Writer) error { _, err := io.WriteString(w, Line(forged)); return err },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "##[") {
			t.Errorf("%s holds ##[", name)
		}
		for line := range strings.SplitSeq(b.String(), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "::") {
				t.Errorf("%s has the line %q", name, line)
			}
		}
	}
	if got := decoded(t, map[string]string{"a": "::x\n##[y]"}).(map[string]any)["a"]; got != "::x\n##[y]" {
		t.Errorf("JSON says %q", got)
	}
}
