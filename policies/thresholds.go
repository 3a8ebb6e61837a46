package policies

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/smartcloudops/gate/environments"
)

// limit is one threshold as thresholds.yaml declares it.
type limit struct {
	Default any    `yaml:"default"`
	Kind    string `yaml:"kind"`
	Says    string `yaml:"says"`
}

// limits are all thresholds: criterion → name → limit.
type limits map[string]map[string]limit

// Bounds within which numbers are believed. The policies know the same.
const (
	greatestCount  = 1<<53 - 1
	greatestNumber = 1e12
)

func parseLimits(text []byte) (limits, error) {
	var file struct {
		Thresholds limits `yaml:"thresholds"`
	}
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.DisallowUnknownField()); err != nil {
		return nil, err
	}
	for criterion, named := range file.Thresholds {
		for name, l := range named {
			v, err := l.value(l.Default)
			if err != nil {
				return nil, fmt.Errorf("default of %s.%s: %w", criterion, name, err)
			}
			l.Default = v
			named[name] = l
		}
	}
	if len(file.Thresholds) == 0 {
		return nil, fmt.Errorf("no thresholds are declared")
	}
	return file.Thresholds, nil
}

// data is what the Rego sees as data: the kinds, not the defaults, so that a
// threshold that was not given is missing instead of quietly the default.
func (ls limits) data() map[string]any {
	criteria := map[string]any{}
	for criterion, named := range ls {
		kinds := map[string]any{}
		for name, l := range named {
			kinds[name] = map[string]any{"kind": l.Kind}
		}
		criteria[criterion] = kinds
	}
	return map[string]any{"thresholds": criteria}
}

// value is v as a number of l's kind: an int64 or a finite float64.
func (l limit) value(v any) (any, error) {
	f, ok := number(v)
	switch l.Kind {
	case "count", "positive":
		least := 0.0
		if l.Kind == "positive" {
			least = 1
		}
		if ok && f == math.Trunc(f) && f >= least && f <= greatestCount {
			return int64(f), nil
		}
		return nil, fmt.Errorf("%s must be a whole number, %v or more", shown(v), least)
	case "number":
		if ok && f >= 0 && f <= greatestNumber {
			return f, nil
		}
		return nil, fmt.Errorf("%s must be a number, 0 or more", shown(v))
	case "share":
		if ok && f >= 0 && f <= 1 {
			return f, nil
		}
		return nil, fmt.Errorf("%s must be a number from 0 to 1", shown(v))
	}
	return nil, fmt.Errorf("kind %q is none of count, positive, number, share", l.Kind)
}

// shown tells a string from a number of the same look.
func shown(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%v", v)
}

// number is v as a finite float64, whatever type a decoder of YAML or JSON gave
// it.
func number(v any) (float64, bool) {
	var f float64
	switch n := v.(type) {
	case int:
		f = float64(n)
	case int64:
		f = float64(n)
	case uint64:
		f = float64(n)
	case float64:
		f = n
	case json.Number:
		var err error
		if f, err = n.Float64(); err != nil {
			return 0, false
		}
	default:
		return 0, false
	}
	return f, !math.IsNaN(f) && !math.IsInf(f, 0)
}

// Thresholds are the defaults with what env declares over them; env may be nil.
// The minimum of samples of its canary is a threshold as well. A criterion, a
// name or a type that is not known is ErrThreshold and says what is allowed.
func (p *Policies) Thresholds(env *environments.Environment) (map[string]map[string]any, error) {
	merged := map[string]map[string]any{}
	for criterion, named := range p.limits {
		merged[criterion] = map[string]any{}
		for name, l := range named {
			merged[criterion][name] = l.Default
		}
	}
	if env == nil {
		return merged, nil
	}
	for _, criterion := range slices.Sorted(maps.Keys(env.Thresholds)) {
		named, ok := p.limits[criterion]
		if !ok {
			return nil, refused(env, "thresholds."+criterion, "criterion %q does not exist; there are %s", criterion, list(p.limits))
		}
		for _, name := range slices.Sorted(maps.Keys(env.Thresholds[criterion])) {
			l, ok := named[name]
			if !ok {
				return nil, refused(env, "thresholds."+criterion+"."+name, "%s.%s does not exist; there are %s", criterion, name, list(named))
			}
			v, err := l.value(env.Thresholds[criterion][name])
			if err != nil {
				return nil, refused(env, "thresholds."+criterion+"."+name, "%s.%s: %v (%s)", criterion, name, err, l.Says)
			}
			merged[criterion][name] = v
		}
	}
	return merged, p.canarySamples(env, merged)
}

// canarySamples takes over promotion.canary.min_samples. Where both places name
// a number they must agree: two numbers for one thing are a mistake.
func (p *Policies) canarySamples(env *environments.Environment, merged map[string]map[string]any) error {
	if env.Promotion.Canary == nil || env.Promotion.Canary.MinSamples == 0 {
		return nil
	}
	const name = "min_samples"
	l, ok := p.limits["canary"][name]
	if !ok {
		return nil
	}
	v, err := l.value(env.Promotion.Canary.MinSamples)
	if err != nil {
		return refused(env, "promotion.canary."+name, "promotion.canary.%s: %v", name, err)
	}
	if _, twice := env.Thresholds["canary"][name]; twice && merged["canary"][name] != v {
		return refused(env, "thresholds.canary."+name, "canary.%s is %v, but promotion.canary.%s is %v; declare one of them", name, merged["canary"][name], name, v)
	}
	merged["canary"][name] = v
	return nil
}

func refused(env *environments.Environment, at, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", env.At(at), ErrThreshold, fmt.Sprintf(format, args...))
}

func list[V any](m map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
