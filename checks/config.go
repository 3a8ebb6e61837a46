package checks

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// Config compares what is declared: every environment is valid, it differs from
// the one that it is promoted from only where it says so, and neither addresses
// nor credentials stand where they must not.
func Config() Check {
	return Check{
		Name: "config", Criterion: "config", Version: 1, Scope: OfEnvironment, Title: "configuration of the environment",
		Parameters: func(in Input) map[string]string {
			return map[string]string{"declarations": environments.Digest(in.Declarations)}
		},
		Estimate: func(Input) time.Duration { return 0 },
		Measure:  configMeasure,
		Pool: func(payloads [][]byte) ([]byte, error) {
			return poolWorst(payloads, func(a, b ConfigPayload) ConfigPayload {
				b.Values = min(a.Values, b.Values)
				b.Findings = poolFindings(a.Findings, b.Findings)
				return b
			})
		},
	}
}

func configMeasure(_ context.Context, in Input) (Measurement, error) {
	d, e := in.Declarations, in.Environment
	c := configLook{source: in.Source}
	for _, x := range d.Environments {
		c.Environments = append(c.Environments, x.Name)
	}
	app := environments.Dir + "/app.yaml"
	c.address(app, d.App.Serve.Env)
	c.credentials(app, d.App.Serve.Env)
	if d.App.Migrate != nil {
		c.address(app, d.App.Migrate.Env)
		c.credentials(app, d.App.Migrate.Env)
	}
	file := environments.Dir + "/" + e.Name + ".yaml"
	c.credentials(file, e.Config)
	c.Values += len(e.Secrets)
	if from := d.Environment(e.Promotion.From); from != nil {
		c.compare(file, from, e)
	}
	return Measurement{Status: Completed, Payload: c.ConfigPayload}, nil
}

type configLook struct {
	ConfigPayload
	source string
}

func (c *configLook) find(severity, rule, file, name, message, fix string) {
	c.Findings = append(c.Findings, Finding{
		Tool: "config", Rule: rule, Severity: severity, File: file, Line: c.line(file, name), Message: name + " " + message, Fix: fix,
	})
}

// line is where the name is declared, 0 when the source is not at hand.
func (c *configLook) line(file, name string) int {
	if c.source == "" {
		return 0
	}
	f, err := os.Open(filepath.Join(c.source, file))
	if err != nil {
		return 0
	}
	defer f.Close()
	key := regexp.MustCompile(`^[\s{-]*"?` + regexp.QuoteMeta(name) + `"?\s*:`)
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		if key.MatchString(sc.Text()) {
			return n
		}
	}
	return 0
}

// compare finds differences that nobody declared, and declared ones that are
// none.
func (c *configLook) compare(file string, from, to *environments.Environment) {
	values := func(e *environments.Environment) map[string]string {
		all := map[string]string{}
		for k, v := range e.Config {
			all[k] = v
		}
		for k := range e.Secrets {
			// Where a secret comes from may differ; that it is one may not.
			all[k] = "a secret"
		}
		return all
	}
	a, b := values(from), values(to)
	names := map[string]bool{}
	for _, m := range []map[string]string{a, b} {
		for k := range m {
			names[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(names)) {
		x, inFrom := a[k]
		y, inTo := b[k]
		differs := inFrom != inTo || x != y
		declared := slices.Contains(to.Differs, k)
		switch {
		case differs && !declared && !inTo:
			c.find("high", "undeclared-difference", file, k, "is set in "+from.Name+" and missing in "+to.Name, "set it, or list it in differs")
		case differs && !declared:
			c.find("high", "undeclared-difference", file, k, "differs from "+from.Name, "make it the same, or list it in differs")
		}
	}
	for _, k := range to.Differs {
		if x, ok := a[k]; !names[k] || ok && x == b[k] && x != "a secret" {
			c.find("medium", "idle-difference", file, k, "is listed in differs and does not differ from "+from.Name, "take it off the list")
		}
	}
}

// address finds addresses of machines in what is the same for all environments.
func (c *configLook) address(file string, env map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(env)) {
		for _, word := range strings.FieldsFunc(env[k], func(r rune) bool { return strings.ContainsRune(" ,;=@/", r) }) {
			host := word
			if h, _, err := net.SplitHostPort(word); err == nil {
				host = h
			}
			if ip := net.ParseIP(strings.Trim(host, "[]")); ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() {
				c.find("high", "hardcoded-address", file, k, "holds the address "+host+" for all environments", "move it to the config of each environment")
			}
		}
	}
}

var configSecretName = regexp.MustCompile(`(?i)(passw(or)?d|secret|token|api_?key|private_?key|credential)`)

// credentials finds values that look like secrets and stand in plain text.
func (c *configLook) credentials(file string, env map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(env)) {
		v := env[k]
		c.Values++
		if strings.Contains(v, "${") {
			continue
		}
		const fix = "declare it under secrets, by reference"
		u, err := url.Parse(v)
		switch {
		case err == nil && u.User != nil && configHasPassword(u):
			c.find("high", "credential", file, k, "is an address with a password", fix)
		case configSecretName.MatchString(k) && v != "":
			c.find("high", "credential", file, k, "is named like a secret and has its value in plain text", fix)
		case configEntropy(v) >= 4 && len(v) >= 20 && !strings.ContainsAny(v, " /:."):
			c.find("high", "credential", file, k, fmt.Sprintf("looks like a secret (%.1f bits a character)", configEntropy(v)), fix)
		}
	}
}

func configHasPassword(u *url.URL) bool {
	_, set := u.User.Password()
	return set
}

// configEntropy is Shannon's, in bits a character.
func configEntropy(s string) float64 {
	n := map[rune]float64{}
	total := 0.0
	for _, r := range s {
		n[r]++
		total++
	}
	h := 0.0
	for _, k := range n {
		h -= k / total * math.Log2(k/total)
	}
	return h
}
