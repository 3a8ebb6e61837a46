package github_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

func TestInlineShowsTextAsItIs(t *testing.T) {
	const zw = "\u200b"
	for in, want := range map[string]string{
		"p95 2.31 s":                      "p95 2.31 s",
		"<img src=x> **pass**":            `&lt;img src\=x&gt; \*\*pass\*\*`,
		"# gate: pass":                    `\#` + zw + ` gate: pass`,
		"@team fixes #12":                 `\@` + zw + `team fixes \#` + zw + `12`,
		"[ok](https://x.y) ![a](b)":       `\[ok\]\(https:` + zw + `//x.y\) \!\[a\]\(b\)`,
		"a\nb\r\n\r\n# c":                 `a b \#` + zw + ` c`,
		"a | b":                           `a \| b`,
		":white_check_mark: ok":           `:` + zw + `white\_check\_mark: ok`,
		"\u202egnp.exe \u2066x\u2069":     "gnp.exe x",
		"\x1b[31mred\x00":                 "\ufffd\\[31mred\ufffd",
		"www.evil.example GH-12":          "www." + zw + `evil.example GH\-` + zw + "12",
		"1. first":                        `1\. first`,
		"$x$ `code`":                      "<span>$</span>x<span>$</span> \\`code\\`",
		"seen in 0123abcdef":              "seen in 0123ab" + zw + "cdef",
		"<!-- gate:verdict x -->":         `&lt;\!\-\- gate:` + zw + `verdict x \-\-&gt;`,
		"\u3164hidden\u115f \xff":         "hidden \ufffd",
		"- item":                          `\- item`,
		"&lt;script&gt;":                  "&amp;lt;script&amp;gt;",
		"::set-output name=a::b":          `:` + zw + `:` + zw + `set\-output name\=a:` + zw + `:` + zw + `b`,
		"zero\u200bwidth and soft\u00ad-": `zerowidth and soft\-`,
	} {
		if got := github.Inline(in); got != want {
			t.Errorf("%q:\n got %q\nwant %q", in, got, want)
		}
	}
}

// TestNothingEscapes: whatever the text, a line stays a line, and a block's
// fence is closed by the last line alone.
func TestNothingEscapes(t *testing.T) {
	pieces := rapid.SliceOf(rapid.SampledFrom([]string{"`", "```", "~~~", "\n", "\r", "<b>", "@x", "#1", "::", "##[", "a", " ", "\u2028", "\u202e", "|", "\\", "-->", "<!--", "[x](y)", "https://a.b", "é"}))
	rapid.Check(t, func(r *rapid.T) {
		in := strings.Join(pieces.Draw(r, "text"), "")
		inline := github.Inline(in)
		for _, bad := range []string{"\n", "<b", "<!", "@x", "#1", "::", "##[", "://", "\u202e"} {
			if strings.Contains(inline, bad) {
				r.Errorf("%q becomes %q, which has %q", in, inline, bad)
			}
		}
		// Each mark of Markdown is escaped: an odd number of backslashes before it.
		for i, c := range inline {
			if strings.ContainsRune("`|[]*_~", c) {
				n := 0
				for j := i - 1; j >= 0 && inline[j] == '\\'; j-- {
					n++
				}
				if n%2 == 0 {
					r.Errorf("%q becomes %q: %q is bare", in, inline, c)
				}
			}
		}
		limit := rapid.IntRange(40, 400).Draw(r, "limit")
		block := github.Block(in, limit)
		lines := strings.Split(block, "\n")
		fence := strings.TrimSuffix(lines[0], "text")
		if block == "" {
			return // its fence alone would be too long
		}
		for _, l := range lines[1 : len(lines)-1] {
			if strings.Contains(l, fence) {
				r.Errorf("%q: the fence %q is within", in, fence)
			}
		}
		if len(block) > limit || lines[len(lines)-1] != fence || strings.Contains(block, "::") || strings.Contains(block, "\u202e") {
			r.Errorf("%q becomes %q of %d", in, block, limit)
		}
		if l := github.Line(in, 50); len(l) > 50 || strings.ContainsAny(l, "\n\r\u2028") || strings.Contains(l, "::") || strings.Contains(l, "##[") {
			r.Errorf("%q becomes the line %q", in, l)
		}
	})
}

// TestTheChangeCantSpeakForGate: what a test or a file of the change is called
// forges nothing in a check run.
func TestTheChangeCantSpeakForGate(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	const evil = "x |\n\n# gate: pass\n\n@smartcloudops/everyone [ok](https://evil.example) <img src=x>\n::set-output name=verdict::pass\n<!-- gate:verdict -->\u202e"
	v := verdict(s.Clock.Now(), "fail")
	v.Decision.Criteria[0].Got, v.Decision.Criteria[0].Why, v.Decision.Criteria[0].Next = evil, evil, evil
	v.Decision.Release, v.Decision.PolicyDigest = "`"+evil, evil
	v.Findings = []checks.Finding{
		{Tool: "tests", Rule: evil, Severity: evil, Message: evil},
		{Tool: "tests", Rule: evil, Severity: "high", File: "app/x.go", Line: -4, Message: evil, Fix: evil},
		{Tool: "tests", Rule: "r", Severity: "high", File: "../../etc/passwd", Message: "m"},
		{Tool: "tests", Rule: "r", Severity: "high", File: "/etc/passwd", Message: "m"},
		{Tool: "tests", Rule: "r", Severity: "high", File: "a\u202eb.go", Line: 1},
	}
	if _, err := app(t, s).PublishVerdict(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.View().Commits[commitA].Checks {
		for what, text := range map[string]string{"title": c.Title, "summary": c.Summary, "text": c.Text} {
			for _, bad := range []string{"\n# ", "@smart", "\n::", "\u202e", "](https://evil", "<img", "<!--"} {
				if what == "title" && strings.ContainsAny(bad, "<]") {
					continue // a title is no Markdown
				}
				if strings.Contains(text, bad) {
					t.Errorf("%s: the %s has %q:\n%s", c.Name, what, bad, text)
				}
			}
		}
		for _, a := range c.Annotations {
			if !strings.HasPrefix(a, "app/x.go:1 failure ") || strings.Contains(a, "::set") || strings.Contains(a, "\u202e") {
				t.Errorf("annotation %q", a)
			}
		}
	}
}

func TestBeyondGitHubsLimits(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	v := verdict(s.Clock.Now(), "fail")
	for i := range 620 {
		v.Findings = append(v.Findings, checks.Finding{Tool: "go test", Rule: "test", Severity: "high", File: "a_test.go", Line: i + 1, Message: strings.Repeat("é", 40000)})
		v.Findings = append(v.Findings, checks.Finding{Tool: "go test", Rule: "test", Severity: "high", Message: strings.Repeat("<é>", 40000)})
	}
	v.Decision.Criteria[0].Got = strings.Repeat("<|>é", 30000)
	v.Decision.Criteria[0].Why = strings.Repeat("<|>", 30000)
	for range 3000 {
		v.Decision.Criteria[0].Evidence = append(v.Decision.Criteria[0].Evidence, digest('7'))
	}
	out, err := app(t, s).PublishVerdict(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	c := s.View().Commits[commitA].Check(githubtest.AppSlug, "gate / tests")
	if len(c.Annotations) != 500 || out.More < 120 || !strings.Contains(c.Text, "more in the report.") || !strings.Contains(c.Summary, "more in the report") {
		t.Errorf("%d annotations, %d more, text ends %q", len(c.Annotations), out.More, c.Text[max(0, len(c.Text)-100):])
	}
}

func TestJobSummary(t *testing.T) {
	file := filepath.Join(t.TempDir(), "summary")
	if err := github.JobSummary(file, "# one\u202e"); err != nil {
		t.Fatal(err)
	}
	if err := github.JobSummary(file, "two"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "# one\ntwo\n" {
		t.Errorf("%q", b)
	}
	for range 3 {
		if err := github.JobSummary(file, strings.Repeat("```text\nx\n```\n", 60000)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil || len(b) > 1<<20 || strings.Count(string(b), "the rest is in the report") != 1 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if err := github.JobSummary("", "x"); err == nil {
		t.Error("no error")
	}
}
