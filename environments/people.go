package environments

import (
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strings"
)

// Approvals says how many people must have agreed before a release goes in.
type Approvals struct {
	Required int `yaml:"required" json:"required"`
	// NotAuthor: at least one of them must not be the author of the commit.
	NotAuthor bool `yaml:"not_author" json:"not_author,omitempty"`
}

// Pace bounds what is promoted without anybody's asking for it.
type Pace struct {
	Pause      Duration `yaml:"pause" json:"pause,omitempty"`           // after a rollback; 0: none
	Promotions int      `yaml:"promotions" json:"promotions,omitempty"` // at most within Per; 0: any number
	Per        Duration `yaml:"per" json:"per,omitempty"`
}

// What is done about drift, and about a live release that is judged degraded.
const (
	Report    = "report"
	Reconcile = "reconcile"
	HoldNext  = "hold"
)

// Approver is somebody who may approve: a key, or a person whose identity GitHub
// vouches for.
type Approver struct {
	Name   string
	Emails []string // declared ones
	login  string   // on GitHub; empty: not known
}

// Same says whether two approvers are the same person, as far as that is
// declared: the same name, or an address that both have.
func (a Approver) Same(b Approver) bool {
	return strings.EqualFold(a.Name, b.Name) || slices.ContainsFunc(a.Emails, b.Has) || slices.ContainsFunc(b.Emails, a.Has)
}

// Has says whether the address is one of the approver's: declared, or one of
// those that GitHub makes for a login.
func (a Approver) Has(email string) bool {
	email = strings.TrimSpace(email)
	if m := noreplyRE.FindStringSubmatch(email); m != nil && a.login != "" && strings.EqualFold(m[1], a.login) {
		return true
	}
	return slices.ContainsFunc(a.Emails, func(e string) bool { return strings.EqualFold(e, email) })
}

var noreplyRE = regexp.MustCompile(`(?i)^(?:[0-9]+\+)?([^@+]+)@users\.noreply\.github\.com$`)

// KeyOwner is whom the key belongs to, by trust.yaml.
func (t *Trust) KeyOwner(id string) Approver {
	for _, k := range t.Keys {
		if k.ID == id {
			return Approver{Name: id, Emails: k.Emails}
		}
	}
	return Approver{Name: id}
}

// GitHubUser is the person with the login. GitHub's own addresses for a login are
// the person's without being declared, and tell nothing of what others there are.
func (t *Trust) GitHubUser(login string) Approver {
	a := Approver{Name: "@" + login, login: login}
	for _, p := range t.People {
		if strings.EqualFold(p.GitHub, login) {
			a.Emails = append(a.Emails, p.Emails...)
		}
	}
	return a
}

func (v *validator) people(e *Environment) {
	f, p := e.File, e.Promotion
	v.freeze(f, p.Freeze)
	if a := p.Approvals; a != nil {
		v.between(f, "$.promotion.approvals.required", a.Required, 1, 20)
	}
	if c := p.Pace; c != nil {
		if c.Pause < 0 {
			v.say(f, "$.promotion.pace.pause", "write a duration as 30m", "is %s", c.Pause)
		}
		v.between(f, "$.promotion.pace.promotions", c.Promotions, 0, 1000)
		if (c.Promotions > 0) != (c.Per > 0) || c.Per < 0 {
			v.say(f, "$.promotion.pace.promotions", "give both, as promotions: 4 and per: 24h, or none", "and per go together")
		}
		if c.Pause == 0 && c.Promotions == 0 {
			v.say(f, "$.promotion.pace", "declare pause, or promotions and per", "bounds nothing")
		}
	}
	v.oneOf(f, "$.promotion.drift", p.Drift, Report, Reconcile)
	v.oneOf(f, "$.promotion.degraded", p.Degraded, Report, HoldNext)
}

func (v *validator) oneOf(f, at, s string, known ...string) {
	if s != "" && !slices.Contains(known, s) {
		v.say(f, at, "use "+strings.Join(known, " or "), "is %q", s)
	}
}

func (v *validator) emails(f, at string, all []string) {
	for i, s := range all {
		if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
			v.say(f, fmt.Sprintf("%s.emails[%d]", at, i), "write the address that commits are made with, as ann@example.org", "is %q", s)
		}
	}
}

// Approvers says whether anybody is listed who may approve in the environment.
func (t *Trust) Approvers(environment string) bool {
	may := func(all, where []string) bool {
		return slices.Contains(all, "approve") && (len(where) == 0 || slices.Contains(where, environment))
	}
	return slices.ContainsFunc(t.Keys, func(k Key) bool { return may(k.May, k.Environments) }) ||
		slices.ContainsFunc(t.People, func(p Person) bool { return may(p.May, p.Environments) })
}
