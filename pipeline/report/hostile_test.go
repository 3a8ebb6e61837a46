package report

import (
	"strings"
	"testing"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

// forgeries is what somebody may write to be taken for gate.
var forgeries = []string{
	"# heading", "heading\n===", "heading\n---", "\n\n## PASS: all is well\n\n", "a | b |\n| --- | --- |\n| pass | pass |", "| x |", `\| x \|`,
	"[click](https://evil.example)", "![image](https://evil.example/x.png)", "[ref]: https://evil.example", "<https://evil.example>", "https://evil.example/a?b=c",
	"www.evil.example", "WWW.evil.example", "mail@evil.example", "xmpp:a@b.example/x", "mailto:a@b.example", "ftp://evil.example",
	"@someone", "(@someone)", "a@b", "@org/team", "#12", "GH-12", "org/repo#12", "4f2a9c01d3b87e65f0a1b2c3d4e5f60718293a4b", ":tada:", "$\\color{green}{PASS}$", "$`x`$",
	"<b>bold</b>", "<!-- comment", "--> text", "<!-- gate:comment -->", "<img src=x onerror=alert(1)>", "</details></pre></td></table>", "<script>alert(1)</script>", "&lt;b&gt;", "&#64;x",
	"*bold* _it_ ~~gone~~", "`code`", "``", "`", "```\ncode\n```", "~~~", "\\", "\\\\", "text\\", "    indented", "\tindented", "> quote", "- item", "+ item", "* item", "1. item", "12) item", "- [x] done",
	"::error::forged", "\n::stop-commands::x\n", "  ::set-env name=A::b", "\n\t::add-mask::x", "##[error]forged", "a ##[set-env name=A;]b", "###[x", "\r::error::x", "\u00a0::error::x", "\u2028::error::x",
	"\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe", "\u2066x\u2069", "zero\u200bwidth", "blank\u3164\u2800", "\x00", "\xff\xfe", "\ufeff", "\u0085", "a\rb", "\U000e0041",
	"", " ", "\n", strings.Repeat("a", 300), strings.Repeat("`", 40), strings.Repeat("@", 9), "✅ pass", "日本語", "é ≤ 2.5 s", "it's 1.5% (of 2); a/b + c = d?", "v1.2.3", "a.b.c", "a:b", "a: b", "{{.}}", "${{ github.token }}",
	hostile,
}

var forged = strings.Join(forgeries, "\n")

// forgery is enough of them for what is kept as a file.
const forgery = "# a\n\n| [x](//y) | @z <b>`c`\n::error::e ##[f] \u202e\x1b &#64;"

func hostileDecision(forged string) policies.Decision {
	d := policies.Decision{
		ID: forged, Release: forged, Commit: forged, Environment: forged, Stage: policies.Stage(forged), Verdict: policies.Verdict(forged), PolicyDigest: forged, InputDigest: forged,
	}
	for _, v := range []policies.Verdict{policies.Pass, policies.Fail, policies.Verdict(forged)} {
		d.Criteria = append(d.Criteria, policies.Criterion{ID: forged, Title: forged, Verdict: v, Got: forged, Want: forged, Evidence: []string{forged}, Why: forged, Next: forged})
	}
	return d
}

func hostilePlan(forged string) Plan {
	bad := []checks.Finding{{Tool: forged, Rule: forged, Severity: forged, File: forged, Line: 1, Message: forged, Fix: forged}, {Message: forged}}
	return Plan{App: forged, Commit: forged, Base: forged, Release: forged, Problem: forged, Environments: []PlanEnvironment{{
		Name: forged, Now: forged, NowCommit: forged, Next: forged + "x", NextCommit: forged, Held: forged, Problem: forged, Migrations: []PlanMigration{{forged, bad}, {File: forged}},
		Changes: []PlanChange{{Name: forged, Change: ChangeKind(forged), From: forged, To: forged}, {Name: forged, Change: Changed, Secret: true, From: forged, To: "env:OK"}},
	}}}
}

func hostileComment(forged string) CommentData {
	d, p := hostileDecision(forged), hostilePlan(forged)
	return CommentData{Commit: forged, Decision: &d, Problem: forged, Next: forged, Plan: &p}
}

// scanned is a run whose checks have found something.
func scanned(t testing.TB) *run.Result {
	r := failed(t)
	tools := map[string]string{"gosec": "2.30.0", "govulncheck": "1.9.0"}
	scan := evidence("scan", "", 1, payload(t, checks.ScanPayload{High: 1, Findings: []checks.Finding{
		{Tool: "gosec", Rule: "G404", Severity: "medium", File: "app/b file.go", Line: 7, Message: "weak random numbers (CWE-338)"},
		{Tool: "gosec", Rule: "G101", Severity: "high", File: "app/a.go", Line: 30, Message: "a credential in the code (CWE-798)", Fix: "take it from the environment"},
		{Tool: "gosec", Rule: "G101", Severity: "high", File: "app/a.go", Line: 12, Message: "a credential in the code (CWE-798)", Fix: "take it from the environment"},
		{Tool: "govulncheck", Rule: "GO-2026-0001", Severity: "low", Message: "GO-2026-0001 in golang.org/x/net@v0.1.0: too much memory", Fix: "go get golang.org/x/net@v0.2.0"},
		{Tool: "gosec", Rule: "G104", Severity: "odd", File: "/etc/passwd", Line: -3, Message: "outside"},
		{Tool: "gosec", Rule: "G104", Severity: "low", File: "../x.go", Message: "above"},
	}}))
	scan.Tools = tools
	leaks := evidence("leaks", "", 1, []byte(`{"secrets":1,"findings":[{"tool":"gitleaks","rule":"aws-access-token","severity":"high","file":"docs/notes.md","line":4,"message":"AWS access token","secret":"AKIAWHATEVER","match":"AKIAWHATEVER"}]}`))
	config := evidence("config", "staging", 1, payload(t, checks.ConfigPayload{Findings: []checks.Finding{{Tool: "config", Rule: "address", Severity: "medium", File: "environments/staging.yaml", Line: 9, Message: "config.URL holds an address"}}}))
	both := config
	both.Environment = "production"
	r.Evidence = r.Evidence[:3]
	for _, e := range []checks.Evidence{scan, leaks, config, both} {
		r.Evidence = append(r.Evidence, run.Measured{Digest: id("7a"), Runs: 1, Evidence: e})
	}
	return r
}

// hostileRun is a run of which everything was written by others.
func hostileRun(t testing.TB, forged string) *run.Result {
	d := promotion.DecisionRecord{Decision: hostileDecision(forged)}
	bad := hostilePlan(forged).Environments[0].Migrations[0].Findings
	r := &run.Result{
		App: forged, Release: forged, Commit: forged, Subject: forged, Through: forged, Exit: promotion.CodeFail, Summary: forged, Next: forged, Findings: bad,
		Decisions: []promotion.DecisionRecord{d, d}, Environment: []run.Serving{{Name: forged, URL: forged, Release: forged + "x", CA: forged}},
		Steps:      []run.Step{{Name: forged, State: run.EventKind(forged), Note: forged}, {Name: forged, State: run.Skipped, Note: forged}},
		Promotions: []promotion.Transition{{Kind: promotion.Kind(forged), Environment: forged, Release: forged, State: promotion.State(forged), Why: forged, By: forged}},
	}
	for _, check := range append(finders, "tls", forged) {
		e := evidence(check, forged, 1, payload(t, map[string]any{"findings": bad, "version": forged, "problem": forged, "environments": []string{forged}}))
		e.Status, e.Reason, e.Tools = checks.Status(forged), forged, map[string]string{forged: forged}
		r.Evidence = append(r.Evidence, run.Measured{Digest: forged, Evidence: e})
	}
	return r
}
