package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/run"
)

// Evidence writes a line for each run of a check, in the order given.
func Evidence(w io.Writer, all []promotion.Signed) error {
	p := newPrinter(w)
	if len(all) == 0 {
		p.f("nothing was measured yet\n")
		return p.end()
	}
	rows := [][]string{{"AT", "CHECK", "STATUS", "ABOUT", "WHERE", "TOOK", "STATEMENT"}}
	for _, s := range all {
		e := s.Evidence
		rows = append(rows, []string{
			stamp(e.Finished), e.Check, words(string(e.Status)), string(e.Subject.Scope) + " " + short(e.Subject.Digest), orDash(e.Environment),
			seconds(e.Finished.Sub(e.Started)), short(s.Digest),
		})
	}
	p.table(2, rows)
	return p.end()
}

// byCheck is all in an order that does not depend on which check ended first.
func byCheck(all []run.Measured) []run.Measured {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b run.Measured) int {
		return strings.Compare(a.Evidence.Check+"\x00"+a.Evidence.Environment+"\x00"+a.Digest, b.Evidence.Check+"\x00"+b.Evidence.Environment+"\x00"+b.Digest)
	})
	return out
}

func nameOf(e checks.Evidence) string {
	if e.Environment != "" {
		return e.Check + " " + e.Environment
	}
	return e.Check
}

// figures writes what one check measured.
func (p *printer) figures(m run.Measured) {
	e := m.Evidence
	p.f("%s: %s", nameOf(e), p.paint(words(string(e.Status))))
	if e.Reason != "" {
		p.f(", %s", e.Reason)
	}
	p.f("\n")
	if s := figuresOf(e); s != "" {
		p.hang("  ", s)
	}
	if e.Check == "load" {
		var x checks.LoadPayload
		if json.Unmarshal(e.Payload, &x) == nil {
			p.load(x)
		}
	}
	p.f("  evidence %s\n", m.Digest)
	p.findings("  ", findings(e.Payload))
}

// figuresOf is a payload in a sentence; "" where the check has a table of its
// own or is not known here.
func figuresOf(e checks.Evidence) string {
	switch e.Check {
	case "tests":
		return sentenceOf(e.Payload, func(x checks.TestsPayload) string {
			return fmt.Sprintf("%d passed, %d failed, %d skipped; exit code %d", x.Passed, x.Failed, x.Skipped, x.ExitCode)
		})
	case "scan":
		return sentenceOf(e.Payload, func(x checks.ScanPayload) string {
			return fmt.Sprintf("%d reachable and %d other vulnerabilities in %d modules; %d high, %d medium, %d low findings in %d files; database of %s",
				x.ReachableVulns, x.ImportedVulns, x.Modules, x.High, x.Medium, x.Low, x.Files, stamp(x.DatabaseDate))
		})
	case "leaks":
		return sentenceOf(e.Payload, func(x checks.LeaksPayload) string {
			return fmt.Sprintf("%d secrets in %d files", x.Secrets, x.Files)
		})
	case "update":
		return sentenceOf(e.Payload, func(x checks.UpdatePayload) string {
			return fmt.Sprintf("%d of %d requests failed%s while %d instances were replaced; p99 %s", x.Failed, x.Requests, inParentheses(counts(x.Failures)), x.Replaced, milliseconds(x.P99))
		})
	case "migration":
		return sentenceOf(e.Payload, func(x checks.MigrationPayload) string {
			s := plural(x.Pending, "new migration")
			if r := x.Rehearsal; r != nil {
				s += fmt.Sprintf(", rehearsed in %.2f s, tables locked for at most %s", r.Seconds, milliseconds(r.LockSeconds))
			}
			if x.RollbackUntil != "" {
				s += "; a rollback is possible up to " + x.RollbackUntil
			}
			return s + fmt.Sprintf("; %d of %d acknowledged writes lost, %d partial", x.ACID.Lost, x.ACID.Acknowledged, x.ACID.Partial)
		})
	case "backup":
		return sentenceOf(e.Payload, func(x checks.BackupPayload) string {
			s := fmt.Sprintf("%d of %d tables equal, %d rows; RPO %s, RTO %.1f s; base backup of %s", x.Equal, x.Tables, x.Rows, milliseconds(x.RPOSeconds), x.RTOSeconds, stamp(x.BaseTime))
			for _, f := range x.Faults[:min(len(x.Faults), 3)] {
				s += "; " + f.What
			}
			return s
		})
	case "rollback":
		return sentenceOf(e.Payload, func(x checks.RollbackPayload) string {
			if !x.Reached {
				return "the earlier release did not come up: " + x.Problem
			}
			return fmt.Sprintf("%d of %d requests failed%s; back in %s, forth in %s; %s", x.Failed, x.Requests, inParentheses(counts(x.Failures)), milliseconds(x.BackSeconds), milliseconds(x.ForthSeconds), x.Schema)
		})
	case "restart":
		return sentenceOf(e.Payload, func(x checks.RestartPayload) string {
			var all []string
			for _, f := range x.Faults {
				all = append(all, fmt.Sprintf("%s back after %.1f s (%d of %d in flight lost, %d refused, %d errors)", f.Part, f.RecoverSeconds, f.Lost, f.InFlight, f.Refused, f.Errors))
			}
			return fmt.Sprintf("%s; of %d acknowledged writes %d missing, %d doubled", strings.Join(all, ", "), x.Writes.Acknowledged, x.Writes.Missing, x.Writes.Doubled)
		})
	case "scaling":
		return sentenceOf(e.Payload, func(x checks.ScalingPayload) string {
			return fmt.Sprintf("%d to %d instances after %.1f s, back to %d after %.1f s; %d of %d requests failed%s", x.Before, x.Peak, x.UpSeconds, x.After, x.DownSeconds, x.Failed, x.Requests, inParentheses(counts(x.Failures)))
		})
	case "tls":
		return sentenceOf(e.Payload, func(x checks.TLSPayload) string {
			s := fmt.Sprintf("%s at %s for %s, chain valid: %t, name valid: %t, until %s", x.Version, x.Address, x.Name, x.ChainValid, x.NameValid, stamp(x.NotAfter))
			if x.Problem != "" {
				s += "; " + x.Problem
			}
			return s
		})
	case "config":
		return sentenceOf(e.Payload, func(x checks.ConfigPayload) string {
			return fmt.Sprintf("%d values in %s, %s", x.Values, strings.Join(x.Environments, ", "), plural(len(x.Findings), "finding"))
		})
	}
	return ""
}

func sentenceOf[T any](payload json.RawMessage, say func(T) string) string {
	var x T
	if json.Unmarshal(payload, &x) != nil {
		return ""
	}
	return say(x)
}

// counts lists what was counted, by name.
func counts(m map[string]int) string {
	var all []string
	for _, k := range sorted(m) {
		all = append(all, fmt.Sprintf("%s: %d", k, m[k]))
	}
	return strings.Join(all, ", ")
}

func findings(payload json.RawMessage) []checks.Finding {
	var x struct {
		Findings []checks.Finding `json:"findings"`
	}
	if json.Unmarshal(payload, &x) != nil {
		return nil
	}
	return x.Findings
}

// mostFindings keeps one broken package from scrolling away what matters.
const mostFindings = 20

// findings writes each with its place first, as editors and people look for it.
func (p *printer) findings(indent string, all []checks.Finding) {
	for i, f := range all {
		if i == mostFindings {
			p.f("%sand %d more: --output json and the report have all\n", indent, len(all)-i)
			return
		}
		place := placeOf(f)
		if place != "" {
			place += ": "
		}
		if f.Severity != "" {
			place += f.Severity + ": "
		}
		if f.Rule != "" {
			place += "[" + f.Rule + "] "
		}
		// A tool's lines, a stack or a diff, are kept as lines.
		for j, line := range strings.Split(strings.TrimSpace(f.Message), "\n") {
			if j == 0 {
				p.hang(indent, place+line)
			} else {
				p.f("%s    %s\n", indent, strings.ReplaceAll(line, "\t", "    "))
			}
		}
		if f.Fix != "" {
			p.hang(indent+"    fix: ", f.Fix)
		}
	}
}

func placeOf(f checks.Finding) string {
	if f.Line > 0 {
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return f.File
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
