package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/report"
)

// changes are the names under which two declarations of one type differ.
func changes(prefix string, from, to any) []report.PlanChange {
	a, b := map[string]string{}, map[string]string{}
	flatten(prefix, tree(from), a)
	flatten(prefix, tree(to), b)
	var out []report.PlanChange
	for name, was := range a {
		if is, ok := b[name]; !ok {
			out = append(out, change(name, report.Removed, was, ""))
		} else if is != was {
			out = append(out, change(name, report.Changed, was, is))
		}
	}
	for name, is := range b {
		if _, ok := a[name]; !ok {
			out = append(out, change(name, report.Added, "", is))
		}
	}
	slices.SortFunc(out, func(x, y report.PlanChange) int { return strings.Compare(x.Name, y.Name) })
	return out
}

func change(name string, kind report.ChangeKind, from, to string) report.PlanChange {
	return report.PlanChange{Name: name, Change: kind, Secret: strings.HasPrefix(name, "secrets."), From: from, To: to}
}

// tree is a declaration as its JSON. Declarations have been read from text, and
// always become some again.
func tree(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		return string(b)
	}
	return out
}

// flatten writes every value below v under its dotted name. A reference to a
// secret is one value, and so is a list.
func flatten(name string, v any, into map[string]string) {
	m, ok := v.(map[string]any)
	if !ok {
		if s, ok := v.(string); ok {
			into[name] = s
			return
		}
		b, err := json.Marshal(v)
		if err != nil {
			b = fmt.Append(nil, v)
		}
		into[name] = string(b)
		return
	}
	if strings.HasPrefix(name, "secrets.") {
		var ref environments.Secret
		if b, err := json.Marshal(m); err == nil && json.Unmarshal(b, &ref) == nil {
			into[name] = report.Reference(ref)
		}
		return
	}
	for key, child := range m {
		at := key
		if name != "" {
			at = name + "." + key
		}
		flatten(at, child, into)
	}
}
