package checks

import (
	"fmt"
	"maps"
	"slices"
)

// backupLead is how many values of a sequence PostgreSQL logs ahead, and the
// one that it is at.
const backupLead = 33

// backupCompare says how the copy differs from the source. Nothing is left out:
// what only one of them has is a difference, too.
func backupCompare(source, copied DatabaseDigest) BackupPayload {
	var p BackupPayload
	tables := map[string]TableDigest{}
	for _, t := range copied.Tables {
		tables[t.Name] = t
	}
	for _, t := range source.Tables {
		c, there := tables[t.Name]
		delete(tables, t.Name)
		if t.Skipped != "" {
			p.Skipped = append(p.Skipped, t.Name+": "+t.Skipped)
			if !there {
				p.Missing = append(p.Missing, t.Name)
			}
			continue
		}
		p.Tables++
		p.Rows += t.Rows
		equal := there && c.Skipped == "" && c.Rows == t.Rows && c.Digest == t.Digest
		switch {
		case equal:
			p.Equal++
		case !there:
			p.Missing = append(p.Missing, t.Name)
		default:
			p.Different = append(p.Different, fmt.Sprintf("table %s (%d rows in the source, %d in the copy)", t.Name, t.Rows, c.Rows))
		}
		if len(p.Compared) < backupNames {
			p.Compared = append(p.Compared, BackupTable{Name: t.Name, Rows: t.Rows, Equal: equal})
		}
	}
	for _, t := range copied.Tables {
		if _, extra := tables[t.Name]; extra {
			p.Different = append(p.Different, "table "+t.Name+" is in the copy alone")
		}
	}
	p.Different = append(p.Different, backupSequences(source.Sequences, copied.Sequences)...)
	p.Sequences, p.Indexes, p.Roles, p.Extensions = len(source.Sequences), len(source.Indexes), len(source.Roles), len(source.Extensions)
	for _, l := range []struct {
		what           string
		source, copied []string
	}{
		{"index", source.Indexes, copied.Indexes}, {"role", source.Roles, copied.Roles},
		{"extension", source.Extensions, copied.Extensions}, {"object", source.Objects, copied.Objects},
	} {
		p.Different = append(p.Different, backupLists(l.what, l.source, l.copied)...)
	}
	for _, name := range p.Missing {
		p.fault(FaultDifferent, "table %s is missing in the copy", name)
	}
	for _, what := range p.Different {
		p.fault(FaultDifferent, "%s", what)
	}
	// The faults are for people, and a database may hold thousands of tables.
	p.Missing, p.Different = backupSome(p.Missing), backupSome(p.Different)
	p.Skipped, p.Faults = backupSome(p.Skipped), p.Faults[:min(len(p.Faults), backupNames)]
	return p
}

func backupSome(list []string) []string { return list[:min(len(list), backupNames)] }

func backupSequences(source, copied []SequenceDigest) []string {
	var out []string
	for _, s := range source {
		i := slices.IndexFunc(copied, func(c SequenceDigest) bool { return c.Name == s.Name })
		if i < 0 {
			out = append(out, "sequence "+s.Name+" is missing in the copy")
			continue
		}
		at, low, high := copied[i].Last, s.First, s.Last+backupLead*s.Step
		if s.Step < 0 {
			low, high = high, low
		}
		if at < low || at > high {
			out = append(out, fmt.Sprintf("sequence %s is at %d, the source from %d to %d", s.Name, at, s.First, s.Last))
		}
	}
	for _, c := range copied {
		if !slices.ContainsFunc(source, func(s SequenceDigest) bool { return s.Name == c.Name }) {
			out = append(out, "sequence "+c.Name+" is in the copy alone")
		}
	}
	return out
}

// backupLists compares lists, whatever their order.
func backupLists(what string, source, copied []string) []string {
	balance := map[string]int{}
	for _, s := range source {
		balance[s]++
	}
	for _, c := range copied {
		balance[c]--
	}
	var out []string
	for _, s := range slices.Sorted(maps.Keys(balance)) {
		switch n := balance[s]; {
		case n > 0:
			out = append(out, fmt.Sprintf("%s missing in the copy: %.120s", what, s))
		case n < 0:
			out = append(out, fmt.Sprintf("%s in the copy alone: %.120s", what, s))
		}
	}
	return out
}

// take takes over what was compared.
func (p *BackupPayload) take(c BackupPayload) {
	p.Tables, p.Equal, p.Rows, p.Compared = c.Tables, c.Equal, c.Rows, c.Compared
	p.Missing, p.Different, p.Skipped = c.Missing, c.Different, c.Skipped
	p.Sequences, p.Indexes, p.Roles, p.Extensions = c.Sequences, c.Indexes, c.Roles, c.Extensions
	p.Faults = append(p.Faults, c.Faults...)
}
