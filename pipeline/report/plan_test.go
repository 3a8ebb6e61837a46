package report

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/environments"
)

// TestNoPlanHoldsASecret, even where whoever made it took the value for the
// reference.
func TestNoPlanHoldsASecret(t *testing.T) {
	const secret = "hunter2 is:the/secret"
	plan := Plan{Environments: []PlanEnvironment{{Name: "staging", Changes: []PlanChange{
		{Name: "secrets.A", Change: Changed, Secret: true, From: secret, To: secret},
		{Name: "secrets.B", Change: Added, Secret: true, To: "env:" + secret},
		{Name: "secrets.C", Change: Removed, Secret: true, From: secret},
		{Name: "secrets.D", Change: Changed, Secret: true, From: Reference(environments.Secret{File: "/etc/gate/d"}), To: Reference(environments.Secret{Env: "D_TOKEN"})},
	}}}}
	for name, write := range map[string]func(io.Writer) error{
		"text":    func(w io.Writer) error { return PlanText(w, plan) },
		"JSON":    func(w io.Writer) error { return JSON(w, plan) },
		"comment": func(w io.Writer) error { return Comment(w, CommentData{Plan: &plan}) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "hunter2") {
			t.Errorf("the %s holds the secret:\n%s", name, b.String())
		}
		for _, want := range []string{"file:/etc/gate/d", "env:D_TOKEN", "not shown"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("the %s lacks %s:\n%s", name, want, b.String())
			}
		}
	}
}

// TestPlanKeysAreAContract, as those of a decision.
func TestPlanKeysAreAContract(t *testing.T) {
	p := decoded(t, planOf()).(map[string]any)
	contract(t, "plan", p, []string{"app", "commit", "base", "release", "environments"}, nil)
	e := p["environments"].([]any)
	staging := e[0].(map[string]any)
	contract(t, "environment", staging, []string{"environment", "now", "now_commit", "next", "next_commit", "migrations", "changes", "unchanged"}, nil)
	contract(t, "migration", staging["migrations"].([]any)[1].(map[string]any), []string{"file", "findings"}, nil)
	contract(t, "change", staging["changes"].([]any)[1].(map[string]any), []string{"name", "change", "secret", "to"}, nil)
	if e[2].(map[string]any)["unchanged"] != true || staging["unchanged"] != false || e[3].(map[string]any)["unchanged"] != false {
		t.Errorf("unchanged is wrong in %v", e)
	}
	empty, err := json.Marshal(Plan{Environments: []PlanEnvironment{{Migrations: []PlanMigration{{}}}}})
	if err != nil || strings.Contains(string(empty), "null") {
		t.Errorf("an empty plan is %s, %v", empty, err)
	}
	var back Plan
	if err := json.Unmarshal(empty, &back); err != nil || len(back.Environments) != 1 {
		t.Errorf("a plan can not be read again: %v", err)
	}
}

func TestUnchangedIsOnlyWhatIsKnownToBe(t *testing.T) {
	same := PlanEnvironment{Name: "a", Now: id("ab"), Next: id("ab")}
	if !same.Unchanged() {
		t.Error("the same release changes something")
	}
	for name, change := range map[string]func(*PlanEnvironment){
		"nothing is known":   func(e *PlanEnvironment) { e.Now, e.Next = "", "" },
		"another release":    func(e *PlanEnvironment) { e.Next = id("cd") },
		"a migration":        func(e *PlanEnvironment) { e.Migrations = []PlanMigration{{}} },
		"configuration":      func(e *PlanEnvironment) { e.Changes = []PlanChange{{}} },
		"it was not planned": func(e *PlanEnvironment) { e.Problem = "x" },
	} {
		e := same
		change(&e)
		if e.Unchanged() {
			t.Errorf("unchanged, though %s", name)
		}
	}
}
