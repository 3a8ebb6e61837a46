package environments

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const goodWaiver = "criterion: load\nenvironment: staging\nsince: 2026-01-01\nuntil: 2026-01-31\nreason: the fix is under way\nauthor: Ann <ann@example.com>\n"

func TestWaiversAreRead(t *testing.T) {
	m := declared(t)
	m["environments/waivers/load-slow.yaml"] = &fstest.MapFile{Data: []byte(goodWaiver)}
	m["environments/waivers/README.md"] = &fstest.MapFile{Data: []byte("# Waivers\n")}
	d, err := Read(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Waivers) != 1 {
		t.Fatalf("%d waivers", len(d.Waivers))
	}
	w := d.Waivers[0]
	if w.Name != "load-slow" || w.Criterion != "load" || w.Until.String() != "2026-01-31" || !w.Since.Time().Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", w)
	}
	if kind := d.Trust.OwnedKind("environments/waivers/load-slow.yaml"); kind != "waivers" {
		t.Errorf("a waiver is owned as %q", kind)
	}
}

func TestWaiversThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ old, new, says string }{
		"tls":                      {"criterion: load", "criterion: tls", ":1: criterion is tls, which can't be waived"},
		"secrets":                  {"criterion: load", "criterion: secrets", ":1: criterion is secrets, which can't be waived"},
		"source":                   {"criterion: load", "criterion: source", ":1: criterion is source, which can't be waived"},
		"an owner's approval":      {"criterion: load", "criterion: change", ":1: criterion is change, which can't be waived"},
		"backup in production":     {"criterion: load\nenvironment: staging", "criterion: backup\nenvironment: production", ":1: criterion is backup, which can't be waived in an environment that is promoted into"},
		"31 days":                  {"until: 2026-01-31", "until: 2026-02-01", ":4: until is 2026-02-01, 31 days after since; a waiver holds for 30 days at most: until 2026-01-31"},
		"until before since":       {"until: 2026-01-31", "until: 2025-12-31", ":4: until is 2025-12-31, not after since"},
		"until since":              {"until: 2026-01-31", "until: 2026-01-01", ":4: until"},
		"no until":                 {"until: 2026-01-31\n", "", "until"},
		"no since":                 {"since: 2026-01-01\n", "", "since is missing"},
		"until that is no day":     {"until: 2026-01-31", "until: soon", ":4: until: soon is no day; write it as 2026-01-31"},
		"until with a time":        {"until: 2026-01-31", "until: 2026-01-31T10:00:00Z", "is no day"},
		"no reason":                {"reason: the fix is under way\n", "", "reason"},
		"a reason of one word":     {"reason: the fix is under way", "reason: later", ":5: reason is \"later\""},
		"no author":                {"author: Ann <ann@example.com>\n", "", "author"},
		"another environment":      {"environment: staging", "environment: moon", ":2: environment is \"moon\"; name one that is declared"},
		"no criterion":             {"criterion: load\n", "", "criterion"},
		"an unknown key":           {"author:", "for: ever\nauthor:", ":6: unknown key \"for\""},
		"all criteria in one":      {"criterion: load", "criterion: \"*\"", ":1: criterion is \"*\""},
		"a file that is something": {goodWaiver, "- load\n", ":1: the file is a list"},
	} {
		m := declared(t)
		text := strings.Replace(goodWaiver, c.old, c.new, 1)
		if text == goodWaiver {
			t.Fatalf("%s: nothing changed", name)
		}
		m["environments/waivers/load-slow.yaml"] = &fstest.MapFile{Data: []byte(text)}
		_, err := Read(m)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "environments/waivers/load-slow.yaml") {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
	}
	m := declared(t)
	m["environments/waivers/load.yml"] = &fstest.MapFile{Data: []byte(goodWaiver)}
	if _, err := Read(m); err == nil || !strings.Contains(err.Error(), "load.yml: is no waiver") {
		t.Errorf("a waiver that nobody reads: %v", err)
	}
}

func TestBackupCanBeWaivedWhereAReleaseProvesItself(t *testing.T) {
	m := declared(t)
	m["environments/waivers/backup.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(goodWaiver, "load", "backup", 1))}
	if _, err := Read(m); err != nil {
		t.Error(err)
	}
}

func TestProgramsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"no name":       {"- {criterion: licences, command: [x], timeout: 1m}", "checks[0].name"},
		"one twice":     {"- {name: a, criterion: c, command: [x], timeout: 1m}\n  - {name: a, criterion: c, command: [x], timeout: 1m}", "checks[1].name"},
		"no criterion":  {"- {name: a, command: [x], timeout: 1m}", "checks[0].criterion"},
		"no command":    {"- {name: a, criterion: c, timeout: 1m}", "checks[0].command"},
		"no timeout":    {"- {name: a, criterion: c, command: [x]}", "checks[0].timeout"},
		"a shell line":  {"- {name: a, criterion: c, command: x y, timeout: 1m}", "checks[0].command is text, and must be a list"},
		"a lone option": {"- {name: a, criterion: c, command: [x], timeout: 1m, shell: true}", "checks[0].shell"},
	} {
		m := declared(t)
		app := m["environments/app.yaml"]
		app.Data = append(app.Data, "\nchecks:\n  "+c.text+"\n"...)
		if _, err := Read(m); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
	}
}
