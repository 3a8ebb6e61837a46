package promotion

import (
	"fmt"
	"slices"
)

// waysBack are the records that can be gone back to, the newest last: what serves
// and what was promoted before it. What was rolled back from is none of them, so
// that going back twice goes further back. beyond are, by release, the promotions
// whose contract took away what the release needs.
func (v *View) waysBack(environment string) (stack []string, beyond map[string]Transition) {
	ev := v.Environment(environment)
	beyond = map[string]Transition{}
	all := ev.History
	if a := ev.Active; a != nil && a.Contract != "" {
		all = append(slices.Clip(all), *a)
	}
	served := map[string]string{} // release → newest record
	cut := func(t Transition, stays string) {
		for release, record := range served {
			if release != stays && !v.declaresContract(record, t.Contract) {
				beyond[release] = t
			}
		}
		stack = slices.DeleteFunc(stack, func(d string) bool { return v.Releases[d] == nil || v.Releases[d].Release != stays })
	}
	for _, t := range all {
		if t.Contract != "" && t.Overdue && len(stack) > 0 {
			if r := v.Releases[stack[len(stack)-1]]; r != nil {
				cut(t, r.Release)
			}
		}
		contracts := t.Contract != "" && !t.Overdue
		if t.Token != 0 {
			served[t.Release] = t.Record // or was to
		}
		if t.State != Succeeded && !contracts {
			continue
		}
		served[t.Release] = t.Record
		delete(beyond, t.Release)
		at := slices.IndexFunc(stack, func(d string) bool { return v.alike(environment, d, t.Record) })
		switch {
		case t.Kind == Rollback && at >= 0:
			stack = stack[:at+1]
		case len(stack) > 0 && at == len(stack)-1:
			stack = slices.Clone(stack)
			stack[at] = t.Record
		default:
			stack = append(slices.Clip(stack), t.Record)
		}
		if contracts {
			cut(t, t.Release)
		}
	}
	return stack, beyond
}

func (v *View) declaresContract(record, name string) bool {
	r := v.Releases[record]
	return r != nil && r.Declarations.App != nil && r.Declarations.App.Migrate != nil && r.Declarations.App.Migrate.Contract != nil && r.Declarations.App.Migrate.Contract.Name == name
}

// alike says whether the records run the same in the environment.
func (v *View) alike(environment, a, b string) bool {
	runs := v.runs(environment, a)
	return a == b || runs != "" && runs == v.runs(environment, b)
}

// PreviousRecord is the release record that serves once the one desired now is
// gone back from; empty when there is none.
func (v *View) PreviousRecord(environment string) string {
	stack, _ := v.waysBack(environment)
	if len(stack) < 2 || v.Releases[stack[len(stack)-2]] == nil {
		return ""
	}
	return stack[len(stack)-2]
}

// NoWayTo is why the release must not serve in the environment any more; empty:
// it may.
func (v *View) NoWayTo(environment, release string) string {
	_, beyond := v.waysBack(environment)
	t, ok := beyond[release]
	if !ok {
		return ""
	}
	return fmt.Sprintf("release %s can't serve in %s any more: the contract %s, begun with release %s on %s, took away what it needs; mend what serves, and promote that",
		short(release), environment, t.Contract, short(t.Release), t.At.UTC().Format("2006-01-02 15:04 MST"))
}

// NoWayBackTo is why the record can't be rolled back to; empty: it can.
func (v *View) NoWayBackTo(environment, record string) string {
	r := v.Releases[record]
	if r == nil || !v.Served(environment, record) {
		return fmt.Sprintf("release %s has never served in %s with this configuration, so that it can't be rolled back to: gate promote asks for it", short(v.releaseOf(record)), environment)
	}
	stack, _ := v.waysBack(environment)
	if why := v.NoWayTo(environment, r.Release); why != "" {
		return why
	}
	if !slices.ContainsFunc(stack, func(d string) bool { return v.alike(environment, d, record) }) {
		return fmt.Sprintf("%s was rolled back from release %s, so that to serve it again is no way back: gate promote asks for it, and it is judged", environment, short(r.Release))
	}
	return ""
}

func (v *View) releaseOf(record string) string {
	if r := v.Releases[record]; r != nil {
		return r.Release
	}
	return record
}
