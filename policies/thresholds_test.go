package policies

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/environments"
)

func TestThresholdsMerge(t *testing.T) {
	t.Parallel()
	env := &environments.Environment{
		Name:       "staging",
		Thresholds: map[string]map[string]any{"load": {"p95_seconds": uint64(1), "success": 0.999}},
		Promotion:  environments.Promotion{Canary: &environments.Canary{MinSamples: 500}},
	}
	got, err := embedded(t).Thresholds(env)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"load.p95_seconds": 1.0, "load.success": 0.999, "load.p99_seconds": 2.0,
		"canary.min_samples": int64(500), "tests.max_failed": int64(0),
	} {
		criterion, name, _ := strings.Cut(path, ".")
		if got[criterion][name] != want {
			t.Errorf("%s is %v, want %v", path, got[criterion][name], want)
		}
	}
	again, err := embedded(t).Thresholds(nil)
	if err != nil || again["load"]["p95_seconds"] != 2.0 {
		t.Errorf("an override changed the defaults: %v, %v", again["load"], err)
	}
}

func TestThresholdsRefuse(t *testing.T) {
	t.Parallel()
	canary := func(n int) environments.Promotion {
		return environments.Promotion{Canary: &environments.Canary{MinSamples: n}}
	}
	one := func(criterion, name string, v any) map[string]map[string]any {
		return map[string]map[string]any{criterion: {name: v}}
	}
	for name, c := range map[string]struct {
		env  environments.Environment
		says string
	}{
		"unknown criterion":  {environments.Environment{Thresholds: one("laod", "p95_seconds", 1)}, "there are backup, canary, config, load"},
		"unknown name":       {environments.Environment{Thresholds: one("load", "p95", 1)}, "p95_seconds"},
		"string":             {environments.Environment{Thresholds: one("load", "p95_seconds", "1")}, `"1" must be a number`},
		"boolean":            {environments.Environment{Thresholds: one("tests", "max_failed", true)}, "whole number"},
		"null":               {environments.Environment{Thresholds: one("tests", "max_failed", nil)}, "whole number"},
		"fraction":           {environments.Environment{Thresholds: one("tests", "max_failed", 0.5)}, "whole number"},
		"negative":           {environments.Environment{Thresholds: one("tests", "max_failed", -1)}, "0 or more"},
		"no sample":          {environments.Environment{Thresholds: one("load", "min_requests", 0)}, "1 or more"},
		"more than a share":  {environments.Environment{Thresholds: one("load", "success", 99)}, "from 0 to 1"},
		"NaN":                {environments.Environment{Thresholds: one("load", "success", math.NaN())}, "from 0 to 1"},
		"infinite":           {environments.Environment{Thresholds: one("load", "p95_seconds", math.Inf(1))}, "must be a number"},
		"two minima":         {environments.Environment{Thresholds: one("canary", "min_samples", 400), Promotion: canary(500)}, "declare one"},
		"negative min count": {environments.Environment{Promotion: canary(-5)}, "1 or more"},
	} {
		c.env.File = "environments/staging.yaml"
		_, err := embedded(t).Thresholds(&c.env)
		if !errors.Is(err, ErrThreshold) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.env.File) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
	}
}

func TestThresholdFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":         "",
		"no threshold":  "thresholds: {}\n",
		"unknown kind":  "thresholds: {tests: {x: {default: 1, kind: whatever}}}\n",
		"wrong default": "thresholds: {tests: {x: {default: no, kind: count}}}\n",
		"unknown field": "thresholds: {tests: {x: {default: 1, kind: count, sasy: x}}}\n",
		"no YAML":       "\t",
	} {
		if _, err := parseLimits([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
