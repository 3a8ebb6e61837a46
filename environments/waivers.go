package environments

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// WaiverDir is the folder of a repository that holds its waivers, one a file.
const WaiverDir = Dir + "/waivers"

// LongestWaiver is how long a waiver may hold.
const LongestWaiver = 30 * 24 * time.Hour

// Waiver excuses one criterion in one environment for a while. It is a file that
// is reviewed as policies are.
type Waiver struct {
	Name        string `yaml:"-" json:"name"` // of the file, without .yaml
	Criterion   string `yaml:"criterion" json:"criterion"`
	Environment string `yaml:"environment" json:"environment"`
	Since       Date   `yaml:"since" json:"since"` // holds from the beginning of this day, UTC
	Until       Date   `yaml:"until" json:"until"` // and no longer when this day begins
	Reason      string `yaml:"reason" json:"reason"`
	Author      string `yaml:"author" json:"author"`
}

// Date is a day, written as 2026-01-31.
type Date time.Time

// Time is the beginning of d, UTC.
func (d Date) Time() time.Time { return time.Time(d) }

func (d Date) String() string { return time.Time(d).Format(time.DateOnly) }

// MarshalText writes "2026-01-31".
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// MarshalYAML writes 2026-01-31.
func (d Date) MarshalYAML() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "2026-01-31".
func (d *Date) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.DateOnly, string(b))
	*d = Date(t)
	return err
}

// UnmarshalYAML is UnmarshalText that knows the line of a mistake.
func (d *Date) UnmarshalYAML(n ast.Node) error {
	if s, ok := n.(*ast.StringNode); ok && d.UnmarshalText([]byte(s.Value)) == nil {
		return nil
	}
	return &Problem{Line: n.GetToken().Position.Line, What: n.String() + " is no day", Next: "write it as 2026-01-31"}
}

// Firm says whether nobody can waive the criterion: what would hide a way in,
// where a release comes from, and in production the way back to the data.
// production is an environment that is promoted into.
func Firm(criterion string, production bool) bool {
	return slices.Contains([]string{"secrets", "tls", "source", "change", "canary"}, criterion) || criterion == "backup" && production
}

// readWaivers reads the waivers of a repository, by name.
func readWaivers(root fs.FS, files map[string]*source) ([]*Waiver, Problems, error) {
	names, err := fs.Glob(root, path.Join(WaiverDir, "*"))
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(names)
	var all []*Waiver
	var problems Problems
	for _, name := range names {
		if path.Ext(name) != ".yaml" {
			if path.Base(name) != "README.md" {
				problems = append(problems, &Problem{File: name, What: "is no waiver", Next: "name it .yaml, or remove it"})
			}
			continue
		}
		src, err := open(root, name)
		if err != nil {
			return nil, nil, err
		}
		files[name] = src
		w := &Waiver{Name: strings.TrimSuffix(path.Base(name), ".yaml")}
		problems = append(problems, src.decode(w)...)
		all = append(all, w)
	}
	return all, problems, nil
}

// waivers refuses what can't be waived, and what holds for too long.
func (v *validator) waivers(d *Declarations) {
	for _, w := range d.Waivers {
		f := path.Join(WaiverDir, w.Name+".yaml")
		if !nameRE.MatchString(w.Name) {
			v.say(f, "$", "name the file with a lower-case letter, then up to 30 letters, digits or hyphens", "has an odd name")
		}
		if !nameRE.MatchString(w.Criterion) {
			v.say(f, "$.criterion", "name one criterion, as load", "is %q", w.Criterion)
		}
		e := d.Environment(w.Environment)
		if e == nil {
			v.say(f, "$.environment", "name one that is declared", "is %q", w.Environment)
		} else if Firm(w.Criterion, e.Promotion.From != "") {
			where := ""
			if w.Criterion == "backup" {
				where = " in an environment that is promoted into"
			}
			v.say(f, "$.criterion", "mend what it finds", "is %s, which can't be waived%s", w.Criterion, where)
		}
		switch hold := w.Until.Time().Sub(w.Since.Time()); {
		case w.Since.Time().IsZero():
			v.say(f, "$.since", "write the day from which it holds, as 2026-01-31", "is missing")
		case hold <= 0:
			v.say(f, "$.until", "name a day behind since", "is %s, not after since %s", w.Until, w.Since)
		case hold > LongestWaiver:
			v.say(f, "$.until", fmt.Sprintf("a waiver holds for 30 days at most: until %s", Date(w.Since.Time().Add(LongestWaiver))), "is %s, %d days after since", w.Until, int(hold.Hours()/24))
		}
		if len(strings.Fields(w.Reason)) < 2 || len(w.Reason) > 300 || strings.ContainsAny(w.Reason, "\n\r") {
			v.say(f, "$.reason", "say in one line why, for those who review it", "is %q", w.Reason)
		}
		if strings.TrimSpace(w.Author) == "" || strings.ContainsAny(w.Author, "\n\r") {
			v.say(f, "$.author", "name who answers for it", "is %q", w.Author)
		}
	}
}
