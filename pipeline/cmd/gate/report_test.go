package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/policies"
)

// TestReportFormats: each format is what it says, on standard output and in a
// file, and nothing of it says that what was never measured is well.
func TestReportFormats(t *testing.T) {
	w := emptyWorld(t)
	w.copyTree("testdata/foreign")
	w.git("init", "-q", "-b", "main")
	w.commit("begin")
	w.want(promotion.CodePass, "build")
	whole := map[string]func(t *testing.T, text string){
		"html": func(t *testing.T, text string) {
			if !strings.HasPrefix(text, "<!doctype html>") {
				t.Errorf("no HTML: %.200s", text)
			}
		},
		"markdown": func(t *testing.T, text string) {
			if !strings.HasPrefix(text, "## ❔ INCONCLUSIVE: ") || !strings.Contains(text, "| <b>tests</b>") {
				t.Errorf("no Markdown: %.400s", text)
			}
		},
		"sarif": func(t *testing.T, text string) {
			log := parsed[struct {
				Version string
				Runs    []struct {
					Invocations []struct{ ExecutionSuccessful bool }
				}
			}](t, result{out: text})
			if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Invocations[0].ExecutionSuccessful {
				t.Errorf("SARIF of nothing says %+v", log)
			}
		},
		"junit": func(t *testing.T, text string) {
			var suites struct {
				Errors int `xml:"errors,attr"`
				Suites []struct {
					Name string `xml:"name,attr"`
				} `xml:"testsuite"`
			}
			if err := xml.Unmarshal([]byte(text), &suites); err != nil || suites.Errors == 0 || suites.Suites[0].Name != "staging readiness" {
				t.Errorf("JUnit of nothing says %+v, %v", suites, err)
			}
		},
		"json": func(t *testing.T, text string) {
			var r outcome
			if err := json.Unmarshal([]byte(text), &r); err != nil || len(r.Decisions) != 1 || r.Decisions[0].Verdict != policies.Inconclusive {
				t.Errorf("JSON of nothing says %+v, %v", r, err)
			}
		},
	}
	for format, check := range whole {
		t.Run(format, func(t *testing.T) {
			r := w.want(promotion.CodePass, "report", "--format", format, "--file", "-")
			check(t, r.out)
			file := filepath.Join(t.TempDir(), "report")
			said := w.want(promotion.CodePass, "report", "--format", format, "--file", file)
			if said.out != file+"  inconclusive for staging\n" {
				t.Errorf("it says %q", said.out)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			check(t, string(text))
			told := parsed[map[string]any](t, w.want(promotion.CodePass, "report", "-o", "json", "--format", format, "--file", file))
			if told["file"] != file || told["verdict"] != "inconclusive" {
				t.Errorf("it says %v", told)
			}
			// Without --file, only what a browser shows goes to the state directory.
			said = w.want(promotion.CodePass, "report", "--format", format)
			if latest := filepath.Join(w.state, "reports", "latest.html"); (said.out == latest+"  inconclusive for staging\n") != (format == "html") {
				t.Errorf("it says %.200q", said.out)
			}
		})
	}
	t.Run("as before", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "report.html")
		if r := w.want(promotion.CodePass, "report", "staging", "--html", file); r.out != file+"  inconclusive for staging\n" {
			t.Errorf("%s", r)
		}
	})
	for _, args := range [][]string{
		{"report", "--format", "pdf"}, {"report", "--html", "a", "--format", "junit"}, {"report", "--html", "a", "--file", "b"},
		{"report", "--format", "junit", "-o", "json"}, {"report", "--file", "-", "-o", "json"},
	} {
		if r := w.gate(args...); r.code != promotion.CodeUsage || r.out != "" || r.err == "" {
			t.Errorf("gate %s\n%s", strings.Join(args, " "), r)
		}
	}
	if r := w.gate("report", "--format", "junit", "--file", filepath.Join(w.state, "no", "folder")); r.code != promotion.CodeInternal || !strings.Contains(r.err, "report: ") {
		t.Errorf("%s", r)
	}
}
