// Package notify tells people: by mail, by webhook, into a file. What is to be
// told is on disk before anybody is, and stays there until the other side has
// taken it.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/smartcloudops/gate/checks"
)

// States of an alert.
const (
	Firing   = "firing"
	Resolved = "resolved"
)

// Message is one thing to tell: that an alert fires, or that it has ended.
type Message struct {
	ID          string    `json:"id"`       // the same however often it is sent
	Incident    string    `json:"incident"` // the same when the alert fires and when it ends
	Fingerprint string    `json:"fingerprint"`
	Alert       string    `json:"alert"`
	Severity    string    `json:"severity"`
	State       string    `json:"state"`
	App         string    `json:"app"`
	Environment string    `json:"environment"`
	Release     string    `json:"release,omitempty"`
	Summary     string    `json:"summary"`
	Runbook     string    `json:"runbook"`
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until,omitzero"` // with Resolved
	Raised      time.Time `json:"raised"`         // when it was put into the queue
	Exercise    string    `json:"exercise,omitempty"`
}

// identify fills in what follows from the rest.
func (m *Message) identify() {
	m.Incident = digest(m.App, m.Environment, m.Fingerprint, m.Since.UTC().Format(time.RFC3339Nano))
	m.ID = digest(m.Incident, m.State)
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// Subject is m in one line.
func (m Message) Subject() string {
	word := strings.ToUpper(m.State)
	if m.Exercise != "" {
		word = "EXERCISE " + word
	}
	return fmt.Sprintf("[%s %s] %s %s: %s", word, m.Severity, m.App, m.Environment, line(m.Summary))
}

// Text is m for people.
func (m Message) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", line(m.Summary))
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name, line(value))
		}
	}
	row("alert", m.Alert)
	row("severity", m.Severity)
	row("state", m.State)
	row("service", m.App)
	row("environment", m.Environment)
	row("release", m.Release)
	row("since", m.Since.UTC().Format(time.RFC3339))
	if !m.Until.IsZero() {
		row("until", fmt.Sprintf("%s (%s)", m.Until.UTC().Format(time.RFC3339), m.Until.Sub(m.Since).Round(time.Second)))
	}
	row("runbook", m.Runbook)
	row("exercise", m.Exercise)
	row("incident", m.Incident)
	return b.String()
}

// line keeps a text from being more than one.
func line(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}

// Sender brings a message to the next hop of a route.
type Sender interface {
	// Send returns what the other side said when it took the message.
	Send(ctx context.Context, m Message) (said string, err error)
}

// concerns says whether the route is told of the message: incidents are opened
// for what somebody must look at at once, and by an exercise.
func concerns(route string, m Message) bool {
	return route != "incident" || m.Severity == checks.Page || m.Exercise != ""
}
