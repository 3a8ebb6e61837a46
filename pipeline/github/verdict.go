package github

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/policies"
)

// AggregateName is the check run that a ruleset requires; each criterion has
// one of its own, CriterionName.
const AggregateName = "gate"

// CriterionName is the check run of one criterion.
func CriterionName(id string) string { return AggregateName + " / " + id }

// Verdict is a decision as a commit's check runs show it.
type Verdict struct {
	Commit      string // the full hash that the check runs are about
	Environment string
	Decision    policies.Decision
	Findings    []checks.Finding // become annotations where they have a place
	DetailsURL  string           // of the report; may be empty
	Mark        Mark
	Advisory    bool // say advisory even though the App publishes
}

// Limits of GitHub's check runs.
const (
	maxText        = 65535 // of summary and of text
	maxTitle       = 255
	maxMessage     = 4 << 10 // of an annotation; GitHub takes more, nobody reads more
	maxPerRequest  = 50      // annotations
	maxAnnotations = 500     // of one check run
	maxListed      = 100     // findings that a text lists
)

var (
	commitHash  = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)
	criterionID = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,49}$`)
	envName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	digestText  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// validate refuses what no check run could truly show.
func (v Verdict) validate() error {
	d := v.Decision
	switch {
	case !commitHash.MatchString(v.Commit):
		return errors.New("publish a verdict: the commit is no full hash")
	case !digestText.MatchString(d.ID):
		return errors.New("publish a verdict: the decision has no digest: publish what gate decide made")
	case !envName.MatchString(v.Environment) || d.Environment != v.Environment:
		return fmt.Errorf("publish a verdict: the decision is about environment %q, not %q", Line(d.Environment, 100), Line(v.Environment, 100))
	case d.Commit != "" && d.Commit != v.Commit:
		return fmt.Errorf("publish a verdict: the decision is about commit %s, not %s", Line(d.Commit, 64), v.Commit)
	case d.At.IsZero():
		return errors.New("publish a verdict: the decision has no time")
	}
	seen := map[string]bool{}
	for _, c := range d.Criteria {
		if !criterionID.MatchString(c.ID) || seen[c.ID] {
			return fmt.Errorf("publish a verdict: criterion %q is named oddly or twice", Line(c.ID, 60))
		}
		seen[c.ID] = true
	}
	if v.DetailsURL != "" {
		u, err := url.Parse(v.DetailsURL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(v.DetailsURL) > 2000 {
			return errors.New("publish a verdict: the report's address is no http address")
		}
	}
	return nil
}

// sheet is what one check run shows in the end.
type sheet struct {
	name        string
	conclusion  string
	title       string
	summary     string
	text        string
	annotations []annotation
	more        int // findings that only the report has
}

// sheets are the aggregate's and then the criteria's.
func (v Verdict) sheets() []sheet {
	byCriterion := map[string][]checks.Finding{}
	for _, f := range v.Findings {
		id := criterionOf(f)
		if !slices.ContainsFunc(v.Decision.Criteria, func(c policies.Criterion) bool { return c.ID == id }) {
			id = ""
		}
		byCriterion[id] = append(byCriterion[id], f)
	}
	all := []sheet{v.aggregate(byCriterion[""])}
	for _, c := range v.Decision.Criteria {
		s := v.criterion(c, byCriterion[c.ID])
		all[0].more += s.more
		all = append(all, s)
	}
	return all
}

// criterionOf is where a tool's findings count.
func criterionOf(f checks.Finding) string {
	switch f.Tool {
	case "tests", "go test":
		return "tests"
	case "gosec", "govulncheck", "gitleaks":
		return "scan"
	case "config":
		return "config"
	}
	return ""
}

func (v Verdict) title(s string) string {
	if v.Advisory {
		s = "advisory: " + s
	}
	// GitHub shows a title as it is; what it is mailed to may not.
	return Line(strings.ReplaceAll(visible(s), "@", "(at)"), maxTitle)
}

func (v Verdict) aggregate(findings []checks.Finding) sheet {
	d := v.Decision
	verdict := overall(d)
	s := sheet{name: AggregateName, conclusion: conclusion(verdict)}
	var b markdown
	if v.Advisory {
		b.line("**Advisory**: published with a plain token, which any workflow can do. Do not require this check; install gate's App and require the App's.\n")
	}
	var against []string
	for _, c := range d.Criteria {
		if c.Verdict != policies.Pass {
			against = append(against, c.ID+" "+string(c.Verdict)+waived(c))
		}
	}
	title := fmt.Sprintf("%s for %s", word(verdict), v.Environment)
	switch {
	case len(against) > 0:
		title += ": " + strings.Join(against, ", ")
	case verdict == policies.Pass:
		title += fmt.Sprintf(": %d criteria", len(d.Criteria))
	}
	if verdict != d.Verdict {
		b.line(fmt.Sprintf("The decision says %s, and its criteria do not bear that out.\n", Inline(string(d.Verdict))))
	}
	s.title = v.title(title)
	b.line("| criterion | verdict | got | want |\n| --- | --- | --- | --- |")
	for i, c := range d.Criteria {
		row := fmt.Sprintf("| %s | **%s** | %s | %s |", Inline(c.ID), Inline(word(c.Verdict)+waived(c)), Inline(clip(c.Got, 500)), Inline(clip(c.Want, 500)))
		if !b.fits(row, maxText-2000) {
			b.line(fmt.Sprintf("\n%d more criteria in the report.", len(d.Criteria)-i))
			break
		}
		b.line(row)
	}
	b.line("")
	b.line(fmt.Sprintf("| | |\n| --- | --- |\n| environment | %s |\n| stage | %s |\n| release | %s |\n| commit | %s |\n| decision | %s |\n| at | %s |\n| policy | %s |\n| input | %s |",
		code(v.Environment), code(string(d.Stage)), code(d.Release), code(v.Commit), code(d.ID), code(d.At.UTC().Format("2006-01-02 15:04:05 MST")), code(d.PolicyDigest), code(d.InputDigest)))
	if v.Mark.Seq > 0 {
		b.line(fmt.Sprintf("| ledger | %s |", code(fmt.Sprintf("%d %s", v.Mark.Seq, v.Mark.Digest))))
	}
	b.line("\n" + v.report())
	s.summary = b.String()
	s.place(findings)
	return s
}

func (v Verdict) criterion(c policies.Criterion, findings []checks.Finding) sheet {
	s := sheet{name: CriterionName(c.ID), conclusion: conclusion(c.Verdict)}
	title := word(c.Verdict) + waived(c)
	if c.Got != "" {
		title += ": " + c.Got
	}
	if c.Want != "" {
		title += " (want " + c.Want + ")"
	}
	s.title = v.title(title)
	var b markdown
	b.line("| | |\n| --- | --- |")
	for _, row := range [][2]string{{"verdict", word(c.Verdict)}, {"got", c.Got}, {"want", c.Want}, {"why", c.Why}, {"next", c.Next}} {
		if row[1] != "" {
			b.line(fmt.Sprintf("| %s | %s |", row[0], Inline(clip(row[1], 4000))))
		}
	}
	for i, e := range c.Evidence {
		if i == 50 {
			b.line(fmt.Sprintf("| evidence | %d more in the report |", len(c.Evidence)-i))
			break
		}
		b.line("| evidence | " + code(e) + " |")
	}
	b.line("\n" + v.report())
	s.summary = b.String()
	s.place(findings)
	return s
}

// waived tells a verdict by a waiver, or by one that has expired, from others.
func waived(c policies.Criterion) string {
	if c.Waiver == "" {
		return ""
	}
	return " (waiver " + c.Waiver + ")"
}

// word is the verdict for people; one that there is not is called so.
func word(v policies.Verdict) string {
	switch v {
	case policies.Pass, policies.Warn, policies.Fail, policies.Inconclusive, policies.Error:
		return string(v)
	}
	return "unknown"
}

func (v Verdict) report() string {
	if v.DetailsURL == "" {
		return "The report is among the run's artifacts."
	}
	return "[The whole report](<" + strings.NewReplacer("<", "%3C", ">", "%3E", " ", "%20", "\n", "", "\r", "").Replace(v.DetailsURL) + ">)"
}

// place makes annotations of what has a place in a file, and lists the rest.
func (s *sheet) place(findings []checks.Finding) {
	var listed []checks.Finding
	seen := map[annotation]bool{}
	for _, f := range findings {
		a, ok := annotate(f)
		switch {
		case ok && seen[a]:
		case ok && len(s.annotations) < maxAnnotations:
			seen[a] = true
			s.annotations = append(s.annotations, a)
		case ok:
			s.more++
		default:
			listed = append(listed, f)
		}
	}
	if len(listed) == 0 && s.more == 0 {
		return
	}
	var b markdown
	for i, f := range listed {
		at := f.File
		if f.Line > 0 {
			at = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		row := fmt.Sprintf("- **%s** %s %s %s", Inline(f.Severity), Inline(f.Tool+" "+f.Rule), Inline(clip(at, 300)), Inline(clip(f.Message, 1000)))
		if i == maxListed || !b.fits(row, maxText-200) {
			s.more += len(listed) - i
			break
		}
		b.line(row)
	}
	if s.more > 0 {
		b.line(fmt.Sprintf("\n%d more in the report.", s.more))
	}
	s.text = b.String()
}
