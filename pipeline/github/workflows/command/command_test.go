package command

import (
	"errors"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

var declared = []string{"staging", "production"}

var release = "sha256:" + strings.Repeat("0a", 32)

func TestParseReadsCommands(t *testing.T) {
	for body, want := range map[string]Command{
		"/gate promote " + release + " --to production":       {Verb: Promote, Environment: "production", Release: release},
		"/gate promote  " + release + "  --to staging \r\n\n": {Verb: Promote, Environment: "staging", Release: release},
		"/gate rollback production":                           {Verb: Rollback, Environment: "production"},
		"/gate rollback production " + release + "\n":         {Verb: Rollback, Environment: "production", Release: release},
		"/gate hold production until Müller’s fix is in":      {Verb: Hold, Environment: "production", Reason: "until Müller’s fix is in"},
		"/gate hold staging $(reboot) `id` ${{ secrets.X }}":  {Verb: Hold, Environment: "staging", Reason: "$(reboot) `id` ${{ secrets.X }}"},
		"/gate explain staging":                               {Verb: Explain, Environment: "staging"},
		"/gate rerun":                                         {Verb: Rerun},
	} {
		got, err := Parse(body, declared)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", body, got, err, want)
		}
	}
}

func TestParseTakesTalkForTalk(t *testing.T) {
	for _, body := range []string{
		"", "/gate", "/gateway rerun", " /gate rerun", "\n/gate rerun", "> /gate rerun", "`/gate rerun`", "```\n/gate rerun\n```",
		"please /gate rerun", "/GATE rerun", "\ufeff/gate rerun", "/gate\trerun", "/gate\nrerun",
	} {
		if c, err := Parse(body, declared); !errors.Is(err, ErrTalk) {
			t.Errorf("Parse(%q) = %+v, %v; want ErrTalk", body, c, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for body, want := range map[string]string{
		"/gate  ":                  "no command",
		"/gate promote":            "write it as",
		"/gate promote " + release: "write it as",
		"/gate promote " + release + " --to production --force":               "write it as",
		"/gate promote --to production " + release:                            "write it as",
		"/gate promote " + release + " --to=production":                       "write it as",
		"/gate promote " + release[:20] + " --to production":                  "whole digest",
		"/gate promote " + strings.ToUpper(release) + " --to production":      "whole digest",
		"/gate promote " + release + " --to prod":                             "no such environment",
		"/gate promote " + release + " --to Production":                       "no such environment",
		"/gate promote " + release + " --to production\nthanks":               "on one line",
		"/gate promote " + release + " --to production\u2028x":                "on one line",
		"/gate promote " + release + " --to production\n/gate hold staging x": "several commands",
		"/gate rerun\n\n/gate rerun":                                          "several commands",
		"/gate rollback":                                                      "write it as",
		"/gate rollback production latest":                                    "whole digest",
		"/gate rollback production " + release + " x":                         "write it as",
		"/gate hold production":                                               "write it as",
		"/gate hold production \x1b[2J":                                       "on one line",
		"/gate hold production a\u202eb":                                      "on one line",
		"/gate hold production " + strings.Repeat("x", maxReason+1):           "longer than 300",
		"/gate hold production \xff":                                          "no text",
		"/gate hold production " + strings.Repeat("x", maxBody):               "longer than 1000",
		"/gate explain":                                 "write it as",
		"/gate explain staging production":              "write it as",
		"/gate rerun now":                               "nothing else",
		"/gate unhold production":                       "no such command",
		"/gate Promote " + release + " --to production": "no such command",
	} {
		c, err := Parse(body, declared)
		if err == nil || errors.Is(err, ErrTalk) || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %+v, %v; want an error with %q", body, c, err, want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("Parse(%q): its error is not one clean line: %q", body, err)
		}
	}
}

// TestEveryCommandStartsAWorkflowThatTakesItsInputs: a misspelt input would be
// refused by GitHub only.
func TestEveryCommandStartsAWorkflowThatTakesItsInputs(t *testing.T) {
	files, err := workflows.Render(workflows.Params{
		Repository: "o/r", Gate: workflows.Checkout, Owners: []string{"@o/t"}, Environments: declared,
	})
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]map[string]bool{}
	for _, f := range files {
		if f.Path == workflows.CodeOwners {
			continue
		}
		var w struct {
			RunName string `yaml:"run-name"`
			On      struct {
				Dispatch *struct {
					Inputs map[string]struct{ Required bool }
				} `yaml:"workflow_dispatch"`
			}
		}
		if err := yaml.Unmarshal(f.Data, &w); err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
		if w.On.Dispatch != nil {
			inputs[f.Path] = map[string]bool{}
			// By the title a run is known that was started already.
			if _, ok := w.On.Dispatch.Inputs["marker"]; ok != strings.Contains(w.RunName, "inputs.marker") {
				t.Errorf("%s is titled %q", f.Path, w.RunName)
			}
			for name, in := range w.On.Dispatch.Inputs {
				inputs[f.Path][name] = in.Required
			}
		}
	}
	for _, verb := range []string{Promote, Rollback, Hold, Explain, Rerun} {
		c := Command{Verb: verb, Environment: "production", Release: release, Reason: "why"}
		file, given := c.Workflow(Asked{By: "somebody", URL: "https://x", ID: 12, Run: 7})
		takes := inputs[workflows.Dir+"/"+file]
		if takes == nil {
			t.Errorf("%s starts %q, which nobody can start", verb, file)
		}
		for name, required := range takes {
			if required && given[name] == "" {
				t.Errorf("%s gives %s no %q", verb, file, name)
			}
		}
		for name := range given {
			if _, ok := takes[name]; !ok {
				t.Errorf("%s gives %s %q, which it does not take", verb, file, name)
			}
		}
	}
	file, given := Command{Verb: Hold, Environment: "production", Reason: "why"}.Workflow(Asked{By: "o", URL: "https://x", ID: 12})
	if diff := cmp.Diff(map[string]string{"environment": "production", "reason": "why (asked by o in https://x)", "marker": "comment-12"}, given); diff != "" || file != "hold.yml" {
		t.Errorf("hold starts %s: %s", file, diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/gate promote " + release + " --to production")
	f.Add("/gate hold production x")
	f.Fuzz(func(t *testing.T, body string) {
		c, err := Parse(body, declared)
		if err != nil {
			return
		}
		if err := c.validate(declared); err != nil {
			t.Errorf("Parse(%q) took what does not hold: %v", body, err)
		}
		if strings.ContainsAny(c.Reason, "\r\n") {
			t.Errorf("Parse(%q) took a reason of several lines", body)
		}
	})
}
