package report

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
)

// Plan is what a change would do where its app runs. The JSON keys are a
// contract, as those of a decision.
type Plan struct {
	App          string            `json:"app"`
	Commit       string            `json:"commit"`         // that was planned
	Base         string            `json:"base,omitempty"` // commit that it is compared with
	Release      string            `json:"release,omitempty"`
	Environments []PlanEnvironment `json:"environments"`
	Problem      string            `json:"problem,omitempty"` // why there is no plan, or not all of it
}

// PlanEnvironment is what would change in one environment.
type PlanEnvironment struct {
	Name       string          `json:"environment"`
	Now        string          `json:"now,omitempty"` // release that is desired there; empty: none yet
	NowCommit  string          `json:"now_commit,omitempty"`
	Next       string          `json:"next,omitempty"` // release by this change; empty: not known
	NextCommit string          `json:"next_commit,omitempty"`
	Migrations []PlanMigration `json:"migrations"` // that this change adds, in their order
	Changes    []PlanChange    `json:"changes"`    // of what is declared
	Held       string          `json:"held,omitempty"`
	NoReturn   string          `json:"no_return,omitempty"` // why nothing before it can be gone back to after it; empty: something can
	Refused    string          `json:"refused,omitempty"`   // why it can't be promoted at all
	Problem    string          `json:"problem,omitempty"`
}

// PlanMigration is a migration that the change adds.
type PlanMigration struct {
	File     string           `json:"file"`
	Findings []checks.Finding `json:"findings"`
}

// ChangeKind says what happens to a declared name.
type ChangeKind string

// Kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// PlanChange is one name of an environment's declaration that would be another
// one, or differ.
type PlanChange struct {
	Name   string     `json:"name"` // "config.LOG_LEVEL", "secrets.API_TOKEN", "instances.max"
	Change ChangeKind `json:"change"`
	// Secret says that From and To are references, as Reference makes them.
	// Anything else is not shown.
	Secret bool   `json:"secret,omitempty"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
}

// Reference names where a secret comes from: "env:NAME", "file:PATH",
// "command:PROGRAM" or "aws:ID". What else its declaration says shows as a short
// digest.
func Reference(s environments.Secret) string {
	plain := environments.Secret{Env: s.Env, File: s.File}
	var at string
	switch {
	case s.Env != "":
		at = "env:" + s.Env
	case s.File != "":
		at = "file:" + s.File
	case len(s.Command) > 0:
		at = "command:" + s.Command[0]
	case s.AWS != nil:
		at = "aws:" + s.AWS.SecretID
	default:
		return ""
	}
	if d := environments.Digest(s); d != environments.Digest(plain) {
		at += "#" + strings.TrimPrefix(d, "sha256:")[:8]
	}
	return at
}

// reference is what may be shown where a secret is meant.
var reference = regexp.MustCompile(`^(env:[A-Za-z_][A-Za-z0-9_]{0,99}|(file|command):[A-Za-z0-9_./-]{1,200}|aws:[A-Za-z0-9_./:+=@-]{1,200})(#[0-9a-f]{8})?$`)

const hidden = "not shown"

// shown is the change without what must not be read in it.
func (c PlanChange) shown() PlanChange {
	if c.Secret {
		for _, s := range []*string{&c.From, &c.To} {
			if *s != "" && !reference.MatchString(*s) {
				*s = hidden
			}
		}
	}
	return c
}

// side is what there is before the change, or after it: a value, or a word for
// where there is none.
type side struct{ word, value string }

func (s side) String() string {
	if s.value == "" {
		return s.word
	}
	return s.value
}

// sides are the values before and after.
func (c PlanChange) sides() (from, to side) {
	c = c.shown()
	value := func(s string) side {
		if c.Secret && s == hidden {
			return side{word: hidden}
		}
		return side{"empty", s}
	}
	from, to = value(c.From), value(c.To)
	if c.Change == Added {
		from = side{word: "not set"}
	}
	if c.Change == Removed {
		to = side{word: "not set"}
	}
	return from, to
}

// MarshalJSON never writes the value of a secret.
func (c PlanChange) MarshalJSON() ([]byte, error) {
	type plain PlanChange
	return json.Marshal(plain(c.shown()))
}

// Unchanged says that the change leaves the environment as it is.
func (e PlanEnvironment) Unchanged() bool {
	return e.Problem == "" && e.Now != "" && e.Now == e.Next && len(e.Migrations) == 0 && len(e.Changes) == 0
}

// MarshalJSON adds whether anything changes; a list that holds nothing is [].
func (e PlanEnvironment) MarshalJSON() ([]byte, error) {
	type plain PlanEnvironment
	orEmpty(&e.Migrations)
	orEmpty(&e.Changes)
	return json.Marshal(struct {
		plain
		Unchanged bool `json:"unchanged"`
	}{plain(e), e.Unchanged()})
}

// MarshalJSON writes a list that holds nothing as [].
func (p Plan) MarshalJSON() ([]byte, error) {
	type plain Plan
	orEmpty(&p.Environments)
	return json.Marshal(plain(p))
}

// MarshalJSON writes a list that holds nothing as [].
func (m PlanMigration) MarshalJSON() ([]byte, error) {
	type plain PlanMigration
	orEmpty(&m.Findings)
	return json.Marshal(plain(m))
}

func (e PlanEnvironment) now() side { return running("nothing yet", e.Now, e.NowCommit) }

// next is what the environment would run.
func (e PlanEnvironment) next() side {
	switch {
	case e.Unchanged():
		return side{word: "unchanged"}
	case e.Next != "" && e.Next == e.Now:
		return side{word: "the same release"}
	}
	return running("not known", e.Next, e.NextCommit)
}

func running(otherwise, release, commit string) side {
	value := short(release)
	if value != "" && commit != "" {
		value += " (commit " + short(commit) + ")"
	}
	return side{otherwise, value}
}
