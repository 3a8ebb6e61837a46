package environments

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestOwnedFiles(t *testing.T) {
	t.Parallel()
	trust := &Trust{Owned: []string{"checks/**", "*.lock"}}
	for path, kind := range map[string]string{
		"environments/trust.yaml":           "trust",
		"environments/staging.yaml":         "declarations",
		"environments/waivers/a.yaml":       "waivers",
		"policies/thresholds.yaml":          "thresholds",
		"policies/readiness/load/load.rego": "policies",
		".github/workflows/commit.yml":      "workflows",
		".github/CODEOWNERS":                "workflows",
		"CODEOWNERS":                        "code owners",
		"docs/CODEOWNERS":                   "code owners",
		"dagger.json":                       "pipeline",
		"checks/load.go":                    "gate",
		"go.lock":                           "gate",
		"app/store.go":                      "",
		"README.md":                         "",
		"other/environments/staging.yaml":   "",
		"my-policies/readiness/x.rego":      "",
		"app/checks/load.go":                "",
	} {
		if got := trust.OwnedKind(path); got != kind {
			t.Errorf("%s is %q, want %q", path, got, kind)
		}
	}
	if got := (*Trust)(nil).OwnedKind("environments/trust.yaml"); got != "trust" {
		t.Errorf("without trust.yaml, trust.yaml is %q", got)
	}
}

func TestApprovers(t *testing.T) {
	t.Parallel()
	trust := &Trust{People: []Person{
		{GitHub: "Olga", May: []string{"approve"}},
		{GitHub: "pat", May: []string{"approve"}, Environments: []string{"production"}},
		{GitHub: "nil"},
	}}
	for _, tc := range []struct {
		login, environment string
		want               bool
	}{
		{"olga", "staging", true}, {"OLGA", "production", true}, {"pat", "production", true}, {"pat", "staging", false},
		{"nil", "staging", false}, {"mallory", "staging", false}, {"", "staging", false},
	} {
		if got := trust.Approver(tc.login, tc.environment); got != tc.want {
			t.Errorf("%q for %s: %v", tc.login, tc.environment, got)
		}
	}
}

func TestMistakesInTrust(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"protected: ../main": "protected",
		"machines: [big]":    "machines",
		"owned: [/etc/**]":   "owned",
		"owned: ['[']":       "owned",
		"people: [{github: 'a b', may: [approve]}]": "github",
		"people: [{github: olga, may: [promote]}]":  "may",
		"people: [{github: olga}]":                  "may",
	} {
		v := &validator{files: map[string]*source{}}
		src, err := open(fstest.MapFS{"trust.yaml": {Data: []byte(text)}}, "trust.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var trust Trust
		if ps := src.decode(&trust); len(ps) > 0 {
			t.Errorf("%s: %v", text, ps)
			continue
		}
		v.files["trust.yaml"] = src
		v.trust("trust.yaml", &trust)
		if len(v.problems) == 0 || !strings.Contains(v.problems.Error(), says) {
			t.Errorf("%s: %v, want a complaint about %s", text, v.problems, says)
		}
	}
}
