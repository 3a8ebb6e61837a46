// Package command reads what a person asks gate for in a comment on a pull
// request. A command only names one of the workflows that anybody with the same
// right could start by hand.
package command

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

// Prefix is how a comment begins that is a command. Anything before it, be it a
// space or the sign of a quotation, makes it talk.
const Prefix = "/gate "

// Verbs of commands.
const (
	Promote  = "promote"
	Rollback = "rollback"
	Hold     = "hold"
	Explain  = "explain"
	Rerun    = "rerun"
)

// Usage lists the commands, for an answer.
const Usage = "`/gate promote sha256:… --to ENV`, `/gate rollback ENV [sha256:…]`, `/gate hold ENV reason…`, `/gate explain ENV` or `/gate rerun`"

// Limits of a comment that is a command, in bytes.
const (
	maxBody   = 1000
	maxReason = 300
)

// ErrTalk: the comment is not addressed to gate. Nobody expects an answer.
var ErrTalk = errors.New("the comment does not begin with " + strings.TrimSpace(Prefix))

// Command is one command.
type Command struct {
	Verb        string
	Environment string // of all but Rerun
	Release     string // digest; of Promote, and of Rollback to a named one
	Reason      string // of Hold
}

var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Parse reads the comment's body. Its errors, ErrTalk aside, are for whoever
// wrote it, and repeat nothing of what they wrote.
func Parse(body string, environments []string) (Command, error) {
	if !strings.HasPrefix(body, Prefix) {
		return Command{}, ErrTalk
	}
	line := strings.TrimRight(body, " \r\n")
	switch {
	case len(line) > maxBody || !utf8.ValidString(line):
		return Command{}, fmt.Errorf("the comment is longer than %d bytes or no text", maxBody)
	case strings.Count("\n"+line, "\n/gate") > 1:
		return Command{}, errors.New("the comment holds several commands: write one comment for each")
	case strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }):
		return Command{}, errors.New("a command stands alone in its comment, on one line")
	}
	words := strings.Fields(line)[1:]
	if len(words) == 0 {
		return Command{}, errors.New("the comment names no command: write " + Usage)
	}
	c := Command{Verb: words[0]}
	args := words[1:]
	switch c.Verb {
	case Promote:
		if len(args) != 3 || args[1] != "--to" {
			return Command{}, form("`/gate promote sha256:… --to ENV`")
		}
		c.Release, c.Environment = args[0], args[2]
	case Rollback:
		if len(args) < 1 || len(args) > 2 {
			return Command{}, form("`/gate rollback ENV` or `/gate rollback ENV sha256:…`")
		}
		c.Environment = args[0]
		if len(args) == 2 {
			c.Release = args[1]
		}
	case Hold:
		if len(args) < 2 {
			return Command{}, form("`/gate hold ENV reason…`")
		}
		c.Environment, c.Reason = args[0], strings.Join(args[1:], " ")
	case Explain:
		if len(args) != 1 {
			return Command{}, form("`/gate explain ENV`")
		}
		c.Environment = args[0]
	case Rerun:
		if len(args) != 0 {
			return Command{}, form("`/gate rerun`, and nothing else")
		}
	default:
		return Command{}, errors.New("there is no such command: write " + Usage)
	}
	return c, c.validate(environments)
}

func form(want string) error { return errors.New("write it as " + want) }

func (c Command) validate(environments []string) error {
	switch {
	case c.Verb != Rerun && !slices.Contains(environments, c.Environment):
		return fmt.Errorf("no such environment is declared; there are %s", strings.Join(environments, ", "))
	case (c.Verb == Promote || c.Release != "") && !digest.MatchString(c.Release):
		return errors.New("name the release by its whole digest, `sha256:` and 64 hexadecimal digits: a shorter name can come to mean another one")
	case len(c.Reason) > maxReason:
		return fmt.Errorf("the reason is longer than %d bytes", maxReason)
	}
	return nil
}

// Asked is who asked for a command, and where.
type Asked struct {
	By  string // login
	URL string // of the comment
	ID  int64  // of the comment
	Run int64  // that Rerun publishes again
}

// Marker names the comment alone, in the title of the run that it starts.
func (a Asked) Marker() string { return fmt.Sprintf("comment-%d", a.ID) }

// Workflow is what the command starts: the workflow's file and its inputs.
func (c Command) Workflow(a Asked) (file string, inputs map[string]string) {
	by := fmt.Sprintf("asked by %s in %s", a.By, a.URL)
	switch c.Verb {
	case Promote:
		file, inputs = workflows.Promote, map[string]string{"environment": c.Environment, "release": c.Release, "reason": by}
	case Rollback:
		file, inputs = workflows.Rollback, map[string]string{"environment": c.Environment, "release": c.Release, "reason": by}
	case Hold:
		file, inputs = workflows.Hold, map[string]string{"environment": c.Environment, "reason": c.Reason + " (" + by + ")"}
	case Explain:
		file, inputs = workflows.Explain, map[string]string{"environment": c.Environment}
	case Rerun:
		file, inputs = workflows.Publish, map[string]string{"run": fmt.Sprint(a.Run)}
	default:
		return "", nil
	}
	inputs["marker"] = a.Marker()
	return file, inputs
}
