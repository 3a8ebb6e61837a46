package checks

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

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
	if e == nil || d.Environment(e.Name) == nil {
		return Measurement{Status: Unavailable, Reason: "no declared environment was given"}, nil
	}
	c := configLook{root: in.Root, trees: map[string]*ast.File{}}
	if c.root == "" {
		c.root = environments.Dir
	}
	if in.Source != "" {
		c.source = os.DirFS(in.Source)
	}
	for _, x := range d.Environments {
		c.Environments = append(c.Environments, x.Name)
	}
	c.shared("app.yaml", d.App)
	file := e.Name + ".yaml"
	c.credentials(file, "$.config", e.Config)
	c.Values += len(e.Secrets)
	if from := d.Environment(e.Promotion.From); from != nil {
		c.compare(file, from, e)
	}
	return Measurement{Status: Completed, Payload: c.ConfigPayload}, nil
}

// shared looks at what is the same for all environments.
func (c *configLook) shared(file string, a *environments.App) {
	look := func(at string, values map[string]string) {
		c.address(file, at, values)
		c.credentials(file, at, values)
	}
	look("$.serve.env", a.Serve.Env)
	c.args(file, "$.serve.args", a.Serve.Args)
	if a.Migrate != nil {
		look("$.migrate.env", a.Migrate.Env)
		c.args(file, "$.migrate.args", a.Migrate.Args)
	}
	for i, e := range a.Load.Endpoints {
		c.credentials(file, fmt.Sprintf("$.load.endpoints[%d].headers", i), e.Headers)
	}
	if w := a.Drills.Write; w != nil {
		c.credentials(file, "$.drills.write.headers", w.Headers)
	}
}

// args looks at options like --token=value as at variables.
func (c *configLook) args(file, at string, args []string) {
	for i, a := range args {
		name, value, option := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !option {
			name, value = fmt.Sprintf("argument %d", i+1), a
		}
		values := map[string]string{name: value}
		c.address(file, fmt.Sprintf("%s[%d]", at, i), values)
		c.credentials(file, fmt.Sprintf("%s[%d]", at, i), values)
	}
}

type configLook struct {
	ConfigPayload
	source fs.FS // nil: not at hand
	root   string
	trees  map[string]*ast.File
}

func (c *configLook) find(severity, rule, file, at, name, message, fix string) {
	c.Findings = append(c.Findings, Finding{
		Tool: "config", Rule: rule, Severity: severity, File: path.Join(c.root, file), Line: c.line(file, at, name), Message: name + " " + message, Fix: fix,
	})
}

// line is where the name is declared, else where the mapping or list that would
// hold it is, else the first; 0 when the source is not at hand.
func (c *configLook) line(file, at, name string) int {
	tree, known := c.trees[file]
	if !known && c.source != nil {
		if b, err := fs.ReadFile(c.source, path.Join(c.root, file)); err == nil {
			tree, _ = parser.ParseBytes(b, 0)
		}
		c.trees[file] = tree
	}
	if tree == nil {
		return 0
	}
	if n := configNode(tree, at); n != nil {
		if m, ok := n.(ast.MapNode); ok {
			for it := m.MapRange(); it.Next(); {
				if t := it.Key().GetToken(); t.Value == name {
					return t.Position.Line
				}
			}
		}
		return n.GetToken().Position.Line
	}
	return 1
}

func configNode(tree *ast.File, at string) ast.Node {
	p, err := yaml.PathString(at)
	if err != nil {
		return nil
	}
	n, err := p.FilterFile(tree)
	if err != nil || n == nil || n.GetToken() == nil {
		return nil
	}
	return n
}

// configSecret stands for every secret's value, and is none's in plain text.
const configSecret = "secret"

// compare finds differences that nobody declared, and declared ones that are
// none.
func (c *configLook) compare(file string, from, to *environments.Environment) {
	values := func(e *environments.Environment) map[string]string {
		all := map[string]string{}
		for k, v := range e.Config {
			all[k] = "=" + v
		}
		for k := range e.Secrets {
			// Where a secret comes from may differ; that it is one may not.
			all[k] = configSecret
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
			c.find("high", "undeclared-difference", file, "$.config", k, "is set in "+from.Name+" and missing in "+to.Name, "set it, or list it in differs")
		case differs && !declared:
			at := "$.config"
			if _, secret := to.Secrets[k]; secret {
				at = "$.secrets"
			}
			c.find("high", "undeclared-difference", file, at, k, "differs from "+from.Name, "make it the same, or list it in differs")
		}
	}
	for i, k := range to.Differs {
		if x, ok := a[k]; !names[k] || ok && x == b[k] && x != configSecret {
			c.find("medium", "idle-difference", file, fmt.Sprintf("$.differs[%d]", i), k, "is listed in differs and does not differ from "+from.Name, "take it off the list")
		}
	}
}

// address finds addresses of machines in what is the same for all environments.
// One in digits is surely a machine's; a name may be that of a public service.
func (c *configLook) address(file, at string, values map[string]string) {
	const fix = "move it to the config of each environment"
	for _, k := range slices.Sorted(maps.Keys(values)) {
		for _, word := range strings.FieldsFunc(values[k], func(r rune) bool { return strings.ContainsRune(" ,;=@/'\"(){}[]<>|&?", r) }) {
			host := word
			if h, _, err := net.SplitHostPort(word); err == nil {
				host = h
			}
			if ip := net.ParseIP(host); ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() {
				c.find("high", "hardcoded-address", file, at, k, "holds the address "+host+" for all environments", fix)
			}
		}
		for _, m := range configURL.FindAllStringSubmatch(values[k], -1) {
			if host := m[1]; host != "localhost" && net.ParseIP(host) == nil {
				c.find("medium", "hardcoded-address", file, at, k, "holds the address "+host+" for all environments", fix)
			}
		}
	}
}

var (
	configURL = regexp.MustCompile(`://(?:[^/@\s]*@)?([A-Za-z0-9][A-Za-z0-9.-]*)`)
	// A password in an address, or in a connection string of words.
	configPassword = regexp.MustCompile(`://[^/\s:@]*:[^/\s@]+@|(?i:\b(?:password|passwd|pwd|secret|token)\s*=\s*[^\s;&]+)`)
	configHolder   = regexp.MustCompile(`\$\{[^}]*\}`)
	// Names of secrets, and names of what is only about one.
	configSecretName = regexp.MustCompile(`(?i)(passw(or)?d|secret|token|api[_-]?key|private[_-]?key|credential|authorization|cookie)`)
	configAboutName  = regexp.MustCompile(`(?i)[_-](ttl|timeout|length|size|min|max|count|rounds|cost|url|file|path|dir|name|header|issuer|audience|enabled|required|expiry|lifetime|age|algorithm|type|format)$`)
)

// credentials finds values that look like secrets and stand in plain text. What
// is filled in when an instance starts is none.
func (c *configLook) credentials(file, at string, values map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		c.Values++
		v := strings.TrimSpace(configHolder.ReplaceAllString(values[k], ""))
		filled := v != strings.TrimSpace(values[k])
		const fix = "declare it under secrets, by reference"
		switch {
		case configPassword.MatchString(v):
			c.find("high", "credential", file, at, k, "is an address with a password", fix)
		case configSecretName.MatchString(k) && !configAboutName.MatchString(k) && v != "" && v != "true" && v != "false" && (!filled || len(v) >= 8):
			c.find("high", "credential", file, at, k, "is named like a secret and has its value in plain text", fix)
		case configEntropy(v) >= 4 && len(v) >= 20 && !strings.ContainsAny(v, " /:."):
			c.find("high", "credential", file, at, k, fmt.Sprintf("looks like a secret (%.1f bits a character)", configEntropy(v)), fix)
		}
	}
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
