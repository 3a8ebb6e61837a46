package report

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/run"
)

// mostResults is how many results GitHub shows of an analysis; it refuses more
// than five times as many.
const mostResults = 5000

// finders are the checks that have findings.
var finders = []string{"config", "leaks", "scan", "tests"}

// SARIF writes the findings of a run, of its build and of its checks, as SARIF
// 2.1.0: what must be mended first, and always in the same order. One run holds
// all tools, so that a finding that is gone is closed wherever the file is
// uploaded; where Unmeasured names something, that would be wrong, and the file
// says that the execution was not successful.
func SARIF(w io.Writer, r *run.Result) error {
	all := allFindings(r)
	gaps := Unmeasured(r)
	if n := len(all) - mostResults; n > 0 {
		gaps, all = append(gaps, plural(n, "finding")+" left out: "+fmt.Sprint(mostResults)+" is the most that is shown"), all[:mostResults]
	}
	out := sarifLog{
		Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{
			Tool:        sarifTool{Driver: sarifComponent{Name: "gate", Rules: sarifRules(all)}, Extensions: sarifTools(r)},
			Automation:  sarifID{"gate/"},
			Invocations: []sarifInvocation{sarifInvoked(r, gaps)},
			Bases:       map[string]sarifBase{srcRoot: {sarifText{"the root of the commit " + clean(r.Commit)}}},
			Results:     []sarifResult{},
		}},
	}
	seen := map[string]int{}
	for _, f := range all {
		print := fingerprint(f)
		seen[print]++
		out.Runs[0].Results = append(out.Runs[0].Results, sarifResultOf(f, fmt.Sprintf("%s:%d", print, seen[print])))
	}
	return JSON(w, out)
}

// Unmeasured says, a line each, what has no findings in r since it was not
// measured.
func Unmeasured(r *run.Result) []string {
	var out []string
	for _, check := range finders {
		found := false
		for _, m := range byCheck(r.Evidence) {
			if m.Evidence.Check != check {
				continue
			}
			found = true
			if m.Evidence.Status != checks.Completed {
				out = append(out, fmt.Sprintf("%s: %s: %s", nameOf(m.Evidence), words(string(m.Evidence.Status)), m.Evidence.Reason))
			}
		}
		if !found {
			out = append(out, check+": not measured")
		}
	}
	return out
}

// allFindings are the findings of r, each once, worst first.
func allFindings(r *run.Result) []checks.Finding {
	all := slices.Clone(r.Findings)
	for _, m := range r.Evidence {
		if slices.Contains(finders, m.Evidence.Check) {
			all = append(all, findings(m.Evidence.Payload)...)
		}
	}
	slices.SortFunc(all, func(a, b checks.Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(levels, levelOf(a)), slices.Index(levels, levelOf(b))),
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(ruleOf(a), ruleOf(b)),
			cmp.Compare(a.Message, b.Message), cmp.Compare(a.Fix, b.Fix), cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Tool, b.Tool), cmp.Compare(a.Rule, b.Rule),
		)
	})
	return slices.Compact(all)
}

// levels of SARIF, worst first.
var levels = []string{"error", "warning", "note"}

// levelOf is the level of f; a severity that nobody knows is the worst.
func levelOf(f checks.Finding) string {
	switch f.Severity {
	case "medium":
		return "warning"
	case "low":
		return "note"
	}
	return "error"
}

var notInRule = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// ruleOf is tool and rule as one id, "gosec/G101".
func ruleOf(f checks.Finding) string {
	id := cmp.Or(notInRule.ReplaceAllString(f.Tool, "-"), "unnamed")
	if f.Rule != "" {
		id += "/" + notInRule.ReplaceAllString(f.Rule, "-")
	}
	return id[:min(len(id), 255)]
}

// fingerprint is the same wherever in its file the finding has moved to.
func fingerprint(f checks.Finding) string {
	first, _, _ := strings.Cut(f.Message, "\n")
	return digestOf(f.Tool, f.Rule, f.File, first)[:32]
}

// security are the tools whose findings are of security, and what they find.
var security = map[string]string{
	"gosec":       "Code that may be unsafe",
	"govulncheck": "A known vulnerability in what the code uses",
	"gitleaks":    "A secret in a file",
}

// titles are what other tools find.
var titles = map[string]string{
	"go build": "Code that does not build",
	"go test":  "A test that failed",
	"tests":    "Tests that did not end well",
	"config":   "A declaration that is not sound",
}

var vulnerability = regexp.MustCompile(`^GO-[0-9]{4}-[0-9]{1,8}$`)

// Severities of security as GitHub sorts them, out of ten.
var securitySeverity = map[string]string{"error": "8.0", "warning": "5.0", "note": "3.0"}

// sarifRules are the rules that all break, by id.
func sarifRules(all []checks.Finding) []sarifRule {
	var out []sarifRule
	known := map[string]bool{}
	for _, f := range all { // worst first: the first of a rule is its worst
		id := ruleOf(f)
		if known[id] {
			continue
		}
		known[id] = true
		title, isSecurity := security[f.Tool]
		if !isSecurity {
			title = cmp.Or(titles[f.Tool], f.Tool)
		}
		r := sarifRule{ID: id, Short: sarifTextOf(strings.Trim(title+": "+f.Rule, ": ")), Help: sarifText{"What mends it stands in the message."}, Config: sarifConfig{levelOf(f)}}
		if f.Tool == "govulncheck" && vulnerability.MatchString(f.Rule) {
			r.HelpURI = "https://pkg.go.dev/vuln/" + f.Rule
		}
		if isSecurity {
			r.Properties = &sarifProperties{Tags: []string{"security"}, Severity: securitySeverity[levelOf(f)]}
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b sarifRule) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// sarifTools are the programs that searched, with their versions.
func sarifTools(r *run.Result) []sarifComponent {
	versions := map[string]string{}
	for _, m := range byCheck(r.Evidence) {
		if slices.Contains(finders, m.Evidence.Check) {
			for tool, version := range m.Evidence.Tools {
				versions[tool] = max(versions[tool], version)
			}
		}
	}
	var out []sarifComponent
	for _, tool := range sorted(versions) {
		out = append(out, sarifComponent{Name: clean(tool), Version: clean(versions[tool])})
	}
	return out
}

func sarifInvoked(r *run.Result, gaps []string) sarifInvocation {
	out := sarifInvocation{Successful: len(gaps) == 0}
	if !r.Started.IsZero() && !r.Finished.IsZero() {
		out.Start, out.End = r.Started.UTC().Format(time.RFC3339), r.Finished.UTC().Format(time.RFC3339)
	}
	for _, gap := range gaps {
		out.Notifications = append(out.Notifications, sarifNotification{"error", sarifTextOf(gap)})
	}
	return out
}

func sarifResultOf(f checks.Finding, print string) sarifResult {
	message := strings.TrimSpace(f.Message)
	if message == "" {
		message = ruleOf(f)
	}
	if f.Fix != "" {
		message += "\nFix: " + f.Fix
	}
	file, line := placeInCommit(f)
	return sarifResult{
		Rule: ruleOf(f), Level: levelOf(f), Message: sarifTextOf(message), Prints: map[string]string{"primaryLocationLineHash": print},
		Locations: []sarifLocation{{sarifPhysical{sarifArtifact{URI: (&url.URL{Path: file}).EscapedPath(), Base: srcRoot}, sarifRegion{line}}}},
	}
}

// placeInCommit is where f is shown. What has no place, or claims one outside of
// the commit, is shown where it is declared: GitHub takes no result without one.
func placeInCommit(f checks.Finding) (file string, line int) {
	file = path.Clean(f.File)
	first, _, _ := strings.Cut(file, "/") // empty where the path is absolute; with a colon it reads like a protocol
	if first != "" && first != "." && first != ".." && !strings.Contains(first, ":") {
		return file, max(f.Line, 1)
	}
	if f.Tool == "govulncheck" {
		return "go.mod", 1
	}
	return "environments/app.yaml", 1
}

// sarifTextOf keeps lines. What SARIF would make a link of is no link any more.
func sarifTextOf(s string) sarifText {
	const most = 4000
	s = plain(s)
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return sarifText{strings.ReplaceAll(s, "](", "] (")}
}
