package policies

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// more are the criteria that an overlay adds to gate's own, by name. It can add
// criteria, and none of gate's goes away by it.
type more map[string]added

// added is one of them, as criteria.yaml declares it.
type added struct {
	Stages     []Stage          `yaml:"stages"` // that require it
	Thresholds map[string]limit `yaml:"thresholds"`
}

// addable are the stages that may require more. A canary is judged by the
// daemon's own figures alone.
var addable = []Stage{Admission, Readiness, Promotion, Serving, Proposal}

var criterionRE = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)

// parseMore reads criteria.yaml, if there is one, and adds its thresholds to ls.
func parseMore(files map[string][]byte, ls limits) (more, error) {
	text, ok := files[criteriaFile]
	if !ok {
		return nil, nil
	}
	var file struct {
		Criteria more `yaml:"criteria"`
	}
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.Strict()); err != nil {
		return nil, err
	}
	if len(file.Criteria) == 0 {
		return nil, fmt.Errorf("no criteria are declared")
	}
	for _, id := range slices.Sorted(maps.Keys(file.Criteria)) {
		c := file.Criteria[id]
		if !criterionRE.MatchString(id) {
			return nil, fmt.Errorf("%q is no name: use a lower-case letter, then up to 30 letters, digits or underscores", id)
		}
		if own(id) || ls[id] != nil {
			return nil, fmt.Errorf("%s is a criterion of gate's own: give it another name", id)
		}
		policy := "readiness/" + id + "/" + id + ".rego"
		if files[policy] == nil {
			return nil, fmt.Errorf("%s has no policy: write policies/%s", id, policy)
		}
		if len(c.Stages) == 0 {
			return nil, fmt.Errorf("%s is required at no stage: name some of %v", id, addable)
		}
		for i, stage := range c.Stages {
			if !slices.Contains(addable, stage) || slices.Contains(c.Stages[:i], stage) {
				return nil, fmt.Errorf("%s: stage %q is there twice, or is none of %v", id, stage, addable)
			}
		}
		if _, ok := c.Thresholds["max_age_seconds"]; !ok {
			return nil, fmt.Errorf("%s lacks the threshold max_age_seconds: how old may its evidence be?", id)
		}
		for name, l := range c.Thresholds {
			v, err := l.value(l.Default)
			if err != nil {
				return nil, fmt.Errorf("default of %s.%s: %w", id, name, err)
			}
			l.Default = v
			c.Thresholds[name] = l
		}
		ls[id] = c.Thresholds
	}
	return file.Criteria, nil
}

// own says whether gate requires the criterion itself.
func own(id string) bool {
	for _, ids := range Required {
		if slices.Contains(ids, id) {
			return true
		}
	}
	return false
}

// at are the criteria that a stage requires beside gate's own.
func (m more) at(stage Stage) []string {
	ids := []string{}
	for _, id := range slices.Sorted(maps.Keys(m)) {
		if slices.Contains(m[id].Stages, stage) {
			ids = append(ids, id)
		}
	}
	return ids
}

// data is what readiness.rego reads as data.extra.
func (m more) data() map[string]any {
	byStage := map[string]any{}
	for _, stage := range addable {
		ids := []any{}
		for _, id := range m.at(stage) {
			ids = append(ids, id)
		}
		byStage[string(stage)] = ids
	}
	return byStage
}

// module is the Rego by which readiness finds them; empty: there are none.
func (m more) module() string {
	if len(m) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("package gate.readiness\n")
	for _, id := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "\nfound[%q] := data.gate.readiness.%s.criterion\n", id, id)
	}
	return b.String()
}
