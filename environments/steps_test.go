package environments

import (
	"strings"
	"testing"
	"testing/fstest"
)

// promotionOf reads production with the keys below promotion, and app.yaml with
// those of migrate.
func promotionOf(t *testing.T, promotion, migrate string, samples bool) (*Declarations, error) {
	t.Helper()
	m := declared(t)
	edit := func(file, old, text string) {
		f := "environments/" + file
		before := string(m[f].Data)
		after := strings.Replace(before, old, text, 1)
		if after == before {
			t.Fatalf("%s holds no %q", f, old)
		}
		m[f] = &fstest.MapFile{Data: []byte(after)}
	}
	const canary = "  canary:\n    weight: 20\n    min_samples: 300\n    limit: 2m\n    synthetic: 30\n"
	edit("production.yaml", canary, promotion)
	if migrate != "" {
		edit("app.yaml", "  args: [migrate]\n", "  args: [migrate]\n"+migrate)
	}
	if samples {
		edit("production.yaml", "scaling:", "thresholds: {canary: {min_samples: 3}}\nscaling:")
	}
	return Read(m)
}

func TestComparisons(t *testing.T) {
	for name, c := range map[string]struct {
		promotion, migrate string
		weights            []int
		samples            bool
		wrong              string
	}{
		"one canary":      {promotion: "  canary: {weight: 20, min_samples: 1, limit: 1m, synthetic: 0}\n", weights: []int{20}},
		"blue and green":  {promotion: "  steps:\n  - {weight: 100, min_samples: 1, limit: 1m, synthetic: 0}\n", weights: []int{100}},
		"three steps":     {promotion: "  steps:\n  - {weight: 5, min_samples: 1, limit: 1m, synthetic: 0}\n  - {weight: 20, min_samples: 1, limit: 1m, synthetic: 0}\n  - {weight: 50, min_samples: 1, limit: 1m, synthetic: 0}\n", weights: []int{5, 20, 50}},
		"none":            {promotion: "", wrong: "lacks canary or steps"},
		"both":            {promotion: "  canary: {weight: 20, min_samples: 1, limit: 1m, synthetic: 0}\n  steps:\n  - {weight: 5, min_samples: 1, limit: 1m, synthetic: 0}\n", wrong: "which is one step"},
		"less traffic":    {promotion: "  steps:\n  - {weight: 20, min_samples: 1, limit: 1m, synthetic: 0}\n  - {weight: 20, min_samples: 1, limit: 1m, synthetic: 0}\n", wrong: "promotion.steps[1].weight is 20 after 20"},
		"too much":        {promotion: "  canary: {weight: 60, min_samples: 1, limit: 1m, synthetic: 0}\n", wrong: "use 1 to 50, or 100"},
		"all, and others": {promotion: "  steps:\n  - {weight: 20, min_samples: 1, limit: 1m, synthetic: 0}\n  - {weight: 100, min_samples: 1, limit: 1m, synthetic: 0}\n", wrong: "there are other steps"},
		"no limit":        {promotion: "  steps:\n  - {weight: 20, min_samples: 1, limit: 0s, synthetic: 0}\n", wrong: "promotion.steps[0].limit"},
		"samples twice":   {promotion: "  steps:\n  - {weight: 20, min_samples: 1, limit: 1m, synthetic: 0}\n", samples: true, wrong: "each step has its own"},
		"few synthetic":   {promotion: "  canary: {weight: 20, min_samples: 1, limit: 1m, synthetic: 9}\n", wrong: "promotion.canary.synthetic is 9 a second: too few"},
		"enough of them":  {promotion: "  canary: {weight: 20, min_samples: 1, limit: 1m, synthetic: 10}\n", weights: []int{20}},
		"a contract":      {promotion: "  steps:\n  - {weight: 20, min_samples: 1, limit: 1m, synthetic: 0}\n", migrate: "  contract: {name: drop-old, args: [migrate, --contract]}\n", weights: []int{20}},
		"one without a name": {
			promotion: "  steps:\n  - {weight: 20, min_samples: 1, limit: 1m, synthetic: 0}\n", migrate: "  contract: {name: 'Drop it', args: []}\n", wrong: "migrate.contract.name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := promotionOf(t, c.promotion, c.migrate, c.samples)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("%v, want %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			steps := d.Environment("production").Promotion.Comparisons()
			for i, want := range c.weights {
				if len(steps) != len(c.weights) || steps[i].Weight != want {
					t.Fatalf("%+v, want the weights %v", steps, c.weights)
				}
			}
			if c.migrate != "" && (d.App.Migrate.Contract == nil || d.App.Migrate.Contract.Name != "drop-old") {
				t.Errorf("%+v", d.App.Migrate.Contract)
			}
		})
	}
	old := Promotion{Canary: &Canary{Weight: 80}}
	if got := old.Comparisons(); len(got) != 1 || got[0].Weight != MaxWeight || old.Canary.Weight != 80 {
		t.Errorf("declared before weights had a bound: %+v", got)
	}
}
