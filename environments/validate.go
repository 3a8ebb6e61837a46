package environments

import (
	"fmt"
	"net"
	"path"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

var (
	nameRE      = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	envVarRE    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	toolchainRE = regexp.MustCompile(`^go1\.[0-9]+\.[0-9]+$`)
	registryRE  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$`)
	machineRE   = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+/[1-9][0-9]*cpu$`)
	branchRE    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$`)
	loginRE     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,38})$`)
	keyIDRE     = regexp.MustCompile(`^ed25519:[0-9a-f]{64}$`)
	cookieRE    = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")
	variableRE  = regexp.MustCompile(`\$\{([^}]*)\}`)
)

// Placeholders that declarations may use.
var (
	serveVariables = []string{"PORT", "DATABASE_URL", "RELEASE", "ENVIRONMENT", "INSTANCE"}
	loadVariables  = []string{"USER", "SEQ", "RUN", "NOW"}
	actions        = []string{"measure", "decide", "promote", "approve", "vouch", "daemon"}
	personal       = []string{"approve"}
	methods        = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
)

// MaxInstances is the most that one machine is asked to run.
const MaxInstances = 10

type validator struct {
	files    map[string]*source
	problems Problems
}

func (v *validator) say(file, at, next, format string, args ...any) {
	p := &Problem{File: file, What: strings.TrimPrefix(at, "$.") + " " + fmt.Sprintf(format, args...), Next: next}
	if s := v.files[file]; s != nil {
		p.Line = s.line(at)
	}
	v.problems = append(v.problems, p)
}

func (v *validator) all(d *Declarations) {
	v.app(Dir+"/app.yaml", d.App)
	names := map[string]bool{}
	listens := map[string]string{}
	for _, e := range d.Environments {
		v.environment(e)
		if names[e.Name] {
			v.say(e.File, "$.environment", "give each environment its own name", "%q is declared twice", e.Name)
		}
		names[e.Name] = true
		if other, taken := listens[e.Listen]; taken {
			v.say(e.File, "$.listen", "choose another port", "%q is the address of %s already", e.Listen, other)
		}
		listens[e.Listen] = e.Name
	}
	v.secretReferences(Dir+"/app.yaml", d)
	v.order(d)
	v.trust(Dir+"/trust.yaml", d.Trust)
	v.waivers(d)
}

func (v *validator) app(f string, a *App) {
	if !nameRE.MatchString(a.Name) {
		v.say(f, "$.name", "use a lower-case letter, then up to 30 letters, digits or hyphens", "is %q", a.Name)
	}
	if !strings.HasPrefix(a.Build.Package, "./") && a.Build.Package != "." {
		v.say(f, "$.build.package", "name the main package relative to the repository, as ./cmd/service", "is %q", a.Build.Package)
	}
	if !toolchainRE.MatchString(a.Build.Toolchain) {
		v.say(f, "$.build.toolchain", "name one exact Go version, as go1.26.8", "is %q", a.Build.Toolchain)
	}
	if len(a.Test.Command) == 0 {
		v.say(f, "$.test.command", "name the command that runs the tests, as [go, test, ./...]", "is empty")
	}
	v.positive(f, "$.test.timeout", a.Test.Timeout)
	if a.Registry != "" && !registryRE.MatchString(a.Registry) {
		v.say(f, "$.registry", "write host/path without tag or digest, as registry.example.com/team/app", "is %q", a.Registry)
	}
	v.variables(f, "$.serve.args", a.Serve.Args, serveVariables)
	v.placed(f, "$.serve.env", a.Serve.Env)
	if !strings.HasPrefix(a.Serve.Ready, "/") {
		v.say(f, "$.serve.ready", "name the path that answers 200 once an instance may get traffic, as /readyz", "is %q", a.Serve.Ready)
	}
	v.positive(f, "$.serve.start_timeout", a.Serve.StartTimeout)
	v.positive(f, "$.serve.stop_timeout", a.Serve.StopTimeout)
	if a.Migrate != nil {
		for i, p := range a.Migrate.Files {
			v.pattern(f, fmt.Sprintf("$.migrate.files[%d]", i), p)
		}
		v.variables(f, "$.migrate.args", a.Migrate.Args, serveVariables)
		v.placed(f, "$.migrate.env", a.Migrate.Env)
		v.positive(f, "$.migrate.timeout", a.Migrate.Timeout)
		v.contract(f, a.Migrate.Contract)
	}
	v.load(f, &a.Load)
	v.between(f, "$.update.rate", a.Update.Rate, 1, 5000)
	v.drills(f, &a.Drills)
	seen := map[string]bool{}
	for i, c := range a.Checks {
		at := fmt.Sprintf("$.checks[%d]", i)
		if !nameRE.MatchString(c.Name) || seen[c.Name] {
			v.say(f, at+".name", "give each check its own lower-case name", "is %q", c.Name)
		}
		seen[c.Name] = true
		if !nameRE.MatchString(c.Criterion) {
			v.say(f, at+".criterion", "name the criterion whose policy judges it", "is %q", c.Criterion)
		}
		if len(c.Command) == 0 || c.Command[0] == "" {
			v.say(f, at+".command", "name the program and its arguments, as [ci/licences]", "is empty")
		}
		v.positive(f, at+".timeout", c.Timeout)
	}
	v.rehearse(f, &a.Rehearse)
	if a.Alerting.Fault < 0 {
		v.say(f, "$.alerting.fault", "write a duration as 1m", "is negative")
	}
	if a.Alerting.Ramp < 0 {
		v.say(f, "$.alerting.ramp", "write a duration as 10s", "is negative")
	}
	if r := a.Runbooks; r != "" && (strings.HasPrefix(r, "/") || strings.Contains("/"+r+"/", "/../")) {
		v.say(f, "$.runbooks", "name a folder of the repository, as docs/runbooks", "is %q", r)
	}
}

func (v *validator) load(f string, l *Load) {
	v.between(f, "$.load.users", l.Users, 1, 10000)
	v.positive(f, "$.load.think", l.Think)
	v.positive(f, "$.load.warmup", l.Warmup)
	v.positive(f, "$.load.closed", l.Closed)
	v.positive(f, "$.load.open", l.Open)
	v.positive(f, "$.load.step", l.Step)
	if v.positive(f, "$.load.knee", l.Knee); l.Knee < 2*l.Step && l.Step > 0 && l.Knee > 0 {
		v.say(f, "$.load.knee", "give it at least two steps' time", "is %s, and a step takes %s", l.Knee, l.Step)
	}
	if len(l.Endpoints) == 0 {
		v.say(f, "$.load.endpoints", "declare at least one kind of request", "is empty")
	}
	seen := map[string]bool{}
	for i, e := range l.Endpoints {
		at := fmt.Sprintf("$.load.endpoints[%d]", i)
		if !nameRE.MatchString(e.Name) || seen[e.Name] {
			v.say(f, at+".name", "give each endpoint its own lower-case name", "is %q", e.Name)
		}
		seen[e.Name] = true
		v.between(f, at+".weight", e.Weight, 1, 1000)
		v.endpoint(f, at, e)
	}
}

func (v *validator) endpoint(f, at string, e Endpoint) {
	if !slices.Contains(methods, e.Method) {
		v.say(f, at+".method", "use one of "+strings.Join(methods, ", "), "is %q", e.Method)
	}
	if !strings.HasPrefix(e.Path, "/") {
		v.say(f, at+".path", "start it with /", "is %q", e.Path)
	}
	v.between(f, at+".expect.status", e.Expect.Status, 100, 599)
	v.variables(f, at+".path", []string{e.Path}, loadVariables)
	v.variables(f, at+".body", []string{e.Body}, loadVariables)
	for _, h := range sortedValues(e.Headers) {
		v.variables(f, at+".headers", []string{h}, loadVariables)
	}
}

func (v *validator) environment(e *Environment) {
	f := e.File
	if want := strings.TrimSuffix(f[strings.LastIndexByte(f, '/')+1:], ".yaml"); e.Name != want {
		v.say(f, "$.environment", "name it as the file: "+want, "is %q", e.Name)
	} else if !nameRE.MatchString(e.Name) {
		v.say(f, "$.environment", "use a lower-case letter, then up to 30 letters, digits or hyphens", "is %q", e.Name)
	}
	if e.Target != "local" {
		v.say(f, "$.target", "use local", "is %q, which this gate does not know", e.Target)
	}
	if _, port, err := net.SplitHostPort(e.Listen); err != nil {
		v.say(f, "$.listen", "write host:port, as 127.0.0.1:8443", "is %q", e.Listen)
	} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		v.say(f, "$.listen", "use a port from 1 to 65535", "has port %q", port)
	}
	v.between(f, "$.instances.min", e.Instances.Min, 1, MaxInstances)
	v.between(f, "$.instances.max", e.Instances.Max, 1, MaxInstances)
	if e.Instances.Min > e.Instances.Max {
		v.say(f, "$.instances.min", "make it at most instances.max", "%d is greater than instances.max %d", e.Instances.Min, e.Instances.Max)
	}
	v.scaling(f, e.Scaling)
	v.tls(f, &e.TLS)
	if len(e.TLS.Names) == 0 {
		v.say(f, "$.tls.names", "list the names and addresses that clients use", "is empty")
	}
	if e.Database.URLEnv != "" && !envVarRE.MatchString(e.Database.URLEnv) {
		v.say(f, "$.database.url_env", "name an environment variable", "is %q", e.Database.URLEnv)
	}
	v.backup(f, e.Backup)
	v.env(f, "$.config", e.Config)
	for _, name := range sortedKeys(e.Secrets) {
		s, at := e.Secrets[name], "$.secrets."+name
		if !envVarRE.MatchString(name) {
			v.say(f, at, "use letters, digits and underscores", "is no name of an environment variable")
		}
		v.secret(f, at, s)
		if _, both := e.Config[name]; both {
			v.say(f, at, "keep it in one of them", "stands in config, too")
		}
	}
	v.alerts(f, e.Alerts)
	v.metrics(f, e.Metrics)
	v.promotion(e)
}

func (v *validator) backup(f string, b Backup) {
	if b.Every != 0 && b.Every.D() < time.Minute {
		v.say(f, "$.backup.every", "write 1m or more, as 24h", "is %s", b.Every)
	}
	if b.For < 0 {
		v.say(f, "$.backup.for", "write how long base backups are kept, as 168h", "is %s", b.For)
	}
	v.between(f, "$.backup.keep", b.Keep, 0, 1000)
	if b.Dir != "" && (!path.IsAbs(b.Dir) || path.Clean(b.Dir) != b.Dir) {
		v.say(f, "$.backup.dir", "write an absolute path without . and ..", "is %q", b.Dir)
	}
	if b.S3 == nil {
		return
	}
	if b.S3.Bucket == "" {
		v.say(f, "$.backup.s3.bucket", "name the bucket", "is empty")
	}
	for _, name := range []struct {
		key, value string
		needed     bool
	}{
		{"endpoint_env", b.S3.EndpointEnv, false}, {"access_key_env", b.S3.AccessKeyEnv, true},
		{"secret_key_env", b.S3.SecretKeyEnv, true}, {"seal_env", b.S3.SealEnv, true},
	} {
		// The value is not repeated: it may be what should stand in the variable.
		if (name.needed || name.value != "") && !envVarRE.MatchString(name.value) {
			v.say(f, "$.backup.s3."+name.key, "name an environment variable", "is no name of one")
		}
	}
}

// order refuses unknown and circular promotion.from.
func (v *validator) order(d *Declarations) {
	for _, e := range d.Environments {
		seen := map[string]bool{}
		for at := e; at.Promotion.From != ""; {
			if seen[at.Name] {
				v.say(e.File, "$.promotion.from", "let one environment be the first", "leads in a circle")
				break
			}
			seen[at.Name] = true
			next := d.Environment(at.Promotion.From)
			if next == nil {
				if at == e {
					v.say(e.File, "$.promotion.from", "name a declared environment", "is %q, which is not declared", e.Promotion.From)
				}
				break
			}
			at = next
		}
	}
}

func (v *validator) trust(f string, t *Trust) {
	if t.Protected != "" && (!branchRE.MatchString(t.Protected) || strings.Contains(t.Protected, "..")) {
		v.say(f, "$.protected", "name a branch, as main", "is %q", t.Protected)
	}
	for i, m := range t.Machines {
		if !machineRE.MatchString(m) {
			v.say(f, fmt.Sprintf("$.machines[%d]", i), "write it as gate doctor prints it, linux/amd64/4cpu", "is %q", m)
		}
	}
	for i, o := range t.Owned {
		v.pattern(f, fmt.Sprintf("$.owned[%d]", i), o)
	}
	for i, k := range t.Keys {
		at := fmt.Sprintf("$.keys[%d]", i)
		if !keyIDRE.MatchString(k.ID) {
			v.say(f, at+".id", "write ed25519: and 64 hexadecimal digits, as gate doctor prints it", "is %q", k.ID)
		}
		v.may(f, at, k.May, actions)
		v.emails(f, at, k.Emails)
	}
	for i, p := range t.People {
		at := fmt.Sprintf("$.people[%d]", i)
		if !loginRE.MatchString(p.GitHub) {
			v.say(f, at+".github", "write a GitHub login", "is %q", p.GitHub)
		}
		v.may(f, at, p.May, personal)
		v.emails(f, at, p.Emails)
	}
}

func (v *validator) pattern(f, at, p string) {
	if !doublestar.ValidatePattern(p) || strings.HasPrefix(p, "/") || p == "" {
		v.say(f, at, "write a pattern relative to the repository, as checks/**", "is %q", p)
	}
}

func (v *validator) may(f, at string, may, known []string) {
	if len(may) == 0 {
		v.say(f, at+".may", "list some of: "+strings.Join(known, ", "), "is empty")
	}
	for _, m := range may {
		if !slices.Contains(known, m) {
			v.say(f, at+".may", "use some of "+strings.Join(known, ", "), "holds %q", m)
		}
	}
}

func (v *validator) positive(f, at string, d Duration) {
	if d <= 0 {
		v.say(f, at, "write a duration as 1m30s", "is missing or not positive")
	}
}

func (v *validator) between(f, at string, n, low, high int) {
	if n < low || n > high {
		v.say(f, at, fmt.Sprintf("use %d to %d", low, high), "is %d", n)
	}
}

func (v *validator) env(f, at string, m map[string]string) {
	for _, k := range sortedKeys(m) {
		if !envVarRE.MatchString(k) {
			v.say(f, at+"."+k, "use letters, digits and underscores", "is no name of an environment variable")
		}
		v.variables(f, at+"."+k, []string{m[k]}, serveVariables)
	}
}

func (v *validator) variables(f, at string, in, known []string) {
	for _, s := range in {
		for _, m := range variableRE.FindAllStringSubmatch(s, -1) {
			if !slices.Contains(known, m[1]) {
				v.say(f, at, "use some of ${"+strings.Join(known, "}, ${")+"}", "holds ${%s}, which nothing fills", m[1])
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func sortedValues(m map[string]string) []string {
	var vs []string
	for _, k := range sortedKeys(m) {
		vs = append(vs, m[k])
	}
	return vs
}
