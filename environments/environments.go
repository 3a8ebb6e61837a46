// Package environments holds what is declared: the app, its environments and
// whom to trust. It loads the files, rejects what it does not know, and names
// file and line of every mistake.
package environments

import (
	"fmt"
	"net"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Declarations is everything that the folder environments/ of a commit says.
type Declarations struct {
	App          *App
	Environments []*Environment // in order of promotion: an environment stands behind the one it is promoted from
	Trust        *Trust
	Waivers      []*Waiver `json:",omitempty"` // by name
}

// Environment returns the declaration named name, or nil.
func (d *Declarations) Environment(name string) *Environment {
	for _, e := range d.Environments {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// App is app.yaml: all that the pipeline knows about the service.
type App struct {
	Name  string  `yaml:"name" json:"name"`
	Build Build   `yaml:"build" json:"build"`
	Test  Command `yaml:"test" json:"test"`
	// Registry is where releases are pushed to and pulled from, by digest, as
	// host/path; empty: nowhere, they are built where they are needed.
	Registry string   `yaml:"registry" json:"registry,omitempty"`
	Docs     []string `yaml:"docs" json:"docs,omitempty"` // globs (** spans folders) of files that neither the binary, the tests nor the code scan depend on
	Serve    Serve    `yaml:"serve" json:"serve"`
	Migrate  *Migrate `yaml:"migrate" json:"migrate,omitempty"`
	Load     Load     `yaml:"load" json:"load"`
	Update   Update   `yaml:"update" json:"update"`
	Drills   Drills   `yaml:"drills" json:"drills"`
	Rehearse Rehearse `yaml:"rehearse" json:"rehearse"`
	Alerting Alerting `yaml:"alerting" json:"alerting,omitzero"`
	// Runbooks is the folder with one runbook for each alert.
	Runbooks string `yaml:"runbooks" json:"runbooks,omitempty"`
	// Checks are programs of the repository that measure something of its own.
	Checks []Program `yaml:"checks" json:"checks,omitempty"`
}

// Program is a check that the repository brings: it prints one JSON object, and
// the policy of its criterion judges that.
type Program struct {
	Name      string   `yaml:"name" json:"name"`
	Criterion string   `yaml:"criterion" json:"criterion"`
	Command   []string `yaml:"command" json:"command"`
	Timeout   Duration `yaml:"timeout" json:"timeout"`
	// InEnvironment: measured on the running environment where a release proves
	// itself, not on the source alone.
	InEnvironment bool `yaml:"in_environment" json:"in_environment,omitempty"`
}

// Build says which Go package becomes the release.
type Build struct {
	Package   string `yaml:"package" json:"package"`     // import path relative to the repository, "./cmd/x"
	Toolchain string `yaml:"toolchain" json:"toolchain"` // exact, "go1.26.8"
}

// Command is a command that is run in a clean export of the commit.
type Command struct {
	Command []string `yaml:"command" json:"command"`
	Timeout Duration `yaml:"timeout" json:"timeout"`
}

// Serve says how one instance is started. In Env and Args these are replaced:
// ${PORT}, ${DATABASE_URL}, ${RELEASE}, ${ENVIRONMENT}, ${INSTANCE}; in Env also
// ${secret:NAME} by the value of a declared secret, and ${secret_file:NAME} by
// the path of a file that holds it.
type Serve struct {
	Args         []string          `yaml:"args" json:"args,omitempty"`
	Env          map[string]string `yaml:"env" json:"env,omitempty"`
	Ready        string            `yaml:"ready" json:"ready"` // path that answers 200 once the instance may get traffic
	StartTimeout Duration          `yaml:"start_timeout" json:"start_timeout"`
	StopTimeout  Duration          `yaml:"stop_timeout" json:"stop_timeout"` // from SIGTERM to SIGKILL
}

// Migrate says how the schema is brought up to date. The same replacements as
// in Serve; ${DATABASE_URL} is the migrator's here.
type Migrate struct {
	Files   []string          `yaml:"files" json:"files,omitempty"` // patterns of the migrations' files, for people who review a change
	Args    []string          `yaml:"args" json:"args,omitempty"`
	Env     map[string]string `yaml:"env" json:"env,omitempty"`
	Timeout Duration          `yaml:"timeout" json:"timeout"`
	// Contract takes away what only releases before this one need; nil: nothing.
	Contract *Contract `yaml:"contract" json:"contract,omitempty"`
}

// Contract is the step of a migration after which no earlier release can serve.
// It is run once in an environment, by its name, after the soak of the first
// release that declares it, with Migrate's Env and Timeout.
type Contract struct {
	Name string   `yaml:"name" json:"name"`
	Args []string `yaml:"args" json:"args"`
}

// Load is the load scenario.
type Load struct {
	Users     int        `yaml:"users" json:"users"`
	Think     Duration   `yaml:"think" json:"think"`   // mean of the exponential think time
	Warmup    Duration   `yaml:"warmup" json:"warmup"` // discarded
	Closed    Duration   `yaml:"closed" json:"closed"` // kept part of the closed model
	Open      Duration   `yaml:"open" json:"open"`     // open model at the arrival rate that the closed one had
	Step      Duration   `yaml:"step" json:"step"`     // one step: the users without think time, then each rate of the search for the knee; DefaultStep
	Knee      Duration   `yaml:"knee" json:"knee"`     // all rates of the search together; DefaultKnee
	Endpoints []Endpoint `yaml:"endpoints" json:"endpoints"`
}

// What a load scenario that says nothing of its steps gets.
const (
	DefaultStep = Duration(5 * time.Second)
	DefaultKnee = Duration(40 * time.Second)
)

// Endpoint is one kind of request. In Path, Headers and Body these are
// replaced: ${USER} (number of the virtual user), ${SEQ} (unique in the run),
// ${RUN} (unique id of the run), ${NOW} (RFC 3339 with nanoseconds, UTC).
type Endpoint struct {
	Name    string            `yaml:"name" json:"name"`
	Method  string            `yaml:"method" json:"method"`
	Path    string            `yaml:"path" json:"path"`
	Headers map[string]string `yaml:"headers" json:"headers,omitempty"`
	Body    string            `yaml:"body" json:"body,omitempty"`
	Weight  int               `yaml:"weight" json:"weight"`
	Expect  Expect            `yaml:"expect" json:"expect"`
	Safe    bool              `yaml:"safe" json:"safe"` // may be sent to production as a synthetic request
}

// Expect is what a right answer looks like.
type Expect struct {
	Status int    `yaml:"status" json:"status"`
	Body   string `yaml:"body" json:"body,omitempty"` // must be contained in the body
}

// Update says how hard the service is used while it is replaced.
type Update struct {
	Rate int `yaml:"rate" json:"rate"` // requests per second
}

// Environment is one of staging.yaml, production.yaml, ….
type Environment struct {
	Name       string                    `yaml:"environment" json:"environment"`
	Target     string                    `yaml:"target" json:"target"`
	Listen     string                    `yaml:"listen" json:"listen"` // host:port of the load balancer
	Instances  Instances                 `yaml:"instances" json:"instances"`
	Scaling    *Scaling                  `yaml:"scaling" json:"scaling,omitempty"`
	TLS        TLS                       `yaml:"tls" json:"tls"`
	Database   Database                  `yaml:"database" json:"database"`
	Backup     Backup                    `yaml:"backup" json:"backup,omitzero"`
	Config     map[string]string         `yaml:"config" json:"config,omitempty"`   // handed to every instance as environment variables
	Secrets    map[string]Secret         `yaml:"secrets" json:"secrets,omitempty"` // by reference: what app.yaml does not place itself is handed over likewise
	Differs    []string                  `yaml:"differs" json:"differs,omitempty"` // names in Config or Secrets that may differ from the environment it is promoted from
	Alerts     *Alerts                   `yaml:"alerts" json:"alerts,omitempty"`   // who is told when something is wrong; nil: nobody
	Metrics    *Metrics                  `yaml:"metrics" json:"metrics,omitempty"` // where Prometheus may ask
	Promotion  Promotion                 `yaml:"promotion" json:"promotion"`
	Thresholds map[string]map[string]any `yaml:"thresholds" json:"thresholds,omitempty"` // criterion → name → value, over the defaults of policies/

	File string `yaml:"-" json:"-"` // where it was declared

	source *source // of File; nil for one that was not read from a file
}

// At is the file and line where the key path, "thresholds.load.success", is
// declared, or the nearest key above it that is.
func (e *Environment) At(path string) string {
	switch {
	case e.File == "":
		return e.Name
	case e.source == nil:
		return e.File
	}
	return fmt.Sprintf("%s:%d", e.File, e.source.line("$."+path))
}

// Instances bounds how many instances serve.
type Instances struct {
	Min int `yaml:"min" json:"min"`
	Max int `yaml:"max" json:"max"`
}

// TLS says what the public address presents.
type TLS struct {
	Trust string   `yaml:"trust" json:"trust"` // private: gate's own CA; public: the system's roots must accept it
	Names []string `yaml:"names" json:"names"`
	Cert  string   `yaml:"cert" json:"cert,omitempty"` // PEM file; with trust: public
	Key   string   `yaml:"key" json:"key,omitempty"`
	ACME  *ACME    `yaml:"acme" json:"acme,omitempty"` // instead of Cert and Key
}

// ACME says who issues the certificate, by RFC 8555. The authority connects to
// port 443 of every name (tls-alpn-01), so that is where it must be forwarded from.
type ACME struct {
	Directory string `yaml:"directory" json:"directory"` // URL
	Email     string `yaml:"email" json:"email"`         // whom the authority warns
	Agree     bool   `yaml:"agree" json:"agree"`         // to the authority's terms of service
	// Roots is a PEM file with the authority that the directory's own certificate
	// is of; empty: the system's.
	Roots string `yaml:"roots" json:"roots,omitempty"`
}

// Database says where the environment's PostgreSQL is.
type Database struct {
	// URLEnv names the environment variable that holds the URL of a database
	// whose user may create roles. When the variable is not set, or no name is
	// given, gate runs a cluster of its own.
	URLEnv string `yaml:"url_env" json:"url_env,omitempty"`
	// Adopt says that the database may hold tables from before gate came: else
	// an environment without a history must have an empty one.
	Adopt bool `yaml:"adopt" json:"adopt,omitempty"`
}

// Backup says how the environment's own PostgreSQL is backed up. What is left
// out has a default.
type Backup struct {
	Every Duration `yaml:"every" json:"every,omitempty"` // between base backups; 24h
	Keep  int      `yaml:"keep" json:"keep,omitempty"`   // base backups, with the WAL from the oldest on; 2
	For   Duration `yaml:"for" json:"for,omitempty"`     // older base backups go, but the newest; any age
	Dir   string   `yaml:"dir" json:"dir,omitempty"`     // absolute path; beside the data
	S3    *S3      `yaml:"s3" json:"s3,omitempty"`       // where copies go, sealed; nowhere
}

// Interval is between base backups.
func (b Backup) Interval() time.Duration {
	if b.Every > 0 {
		return b.Every.D()
	}
	return 24 * time.Hour
}

// Count is how many base backups are kept.
func (b Backup) Count() int {
	if b.Keep > 0 {
		return b.Keep
	}
	return 2
}

// S3 is an object store with Amazon's API. Credentials and key are the values
// of environment variables of whoever starts the daemon.
type S3 struct {
	Bucket       string `yaml:"bucket" json:"bucket"`
	Prefix       string `yaml:"prefix" json:"prefix,omitempty"`
	Region       string `yaml:"region" json:"region,omitempty"`             // us-east-1
	EndpointEnv  string `yaml:"endpoint_env" json:"endpoint_env,omitempty"` // variable with the URL of a store that is not Amazon's
	AccessKeyEnv string `yaml:"access_key_env" json:"access_key_env"`
	SecretKeyEnv string `yaml:"secret_key_env" json:"secret_key_env"`
	SealEnv      string `yaml:"seal_env" json:"seal_env"` // variable with the key (age, AGE-SECRET-KEY-1…) that copies are encrypted for
}

// Secret is a reference, never a value. Exactly one of Env, File, Command and AWS
// is set.
type Secret struct {
	Env     string     `yaml:"env" json:"env,omitempty"`         // variable of the daemon's own environment
	File    string     `yaml:"file" json:"file,omitempty"`       // mode 0600 or less, of the daemon's user or root
	Command []string   `yaml:"command" json:"command,omitempty"` // whose output it is; no shell
	AWS     *AWSSecret `yaml:"aws" json:"aws,omitempty"`
	Every   Duration   `yaml:"every" json:"every,omitempty"`     // how often it is read anew; 0: DefaultEvery
	Timeout Duration   `yaml:"timeout" json:"timeout,omitempty"` // of reading it once; 0: DefaultSecretTimeout
}

// AWSSecret is one in AWS Secrets Manager.
type AWSSecret struct {
	SecretID string `yaml:"secret_id" json:"secret_id"` // name or ARN
	Region   string `yaml:"region" json:"region"`       //
	Key      string `yaml:"key" json:"key,omitempty"`   // of the JSON object that it holds; empty: the whole text
}

// What counts where a secret does not say.
const (
	DefaultEvery         = Duration(time.Minute)
	DefaultSecretTimeout = Duration(10 * time.Second)
)

// Source names where the secret comes from: env, file, command or aws.
func (s Secret) Source() string {
	switch {
	case s.Env != "":
		return "env"
	case s.File != "":
		return "file"
	case s.AWS != nil:
		return "aws"
	}
	return "command"
}

// Promotion says how a release gets into the environment.
type Promotion struct {
	From   string   `yaml:"from" json:"from,omitempty"` // environment that it must have passed; empty for the first
	Canary *Canary  `yaml:"canary" json:"canary,omitempty"`
	Steps  []Canary `yaml:"steps" json:"steps,omitempty"` // instead of Canary: one comparison after the other, each with more traffic
	Soak   Duration `yaml:"soak" json:"soak"`             // the previous release's instances stay warm so long
	// Approvals that a release needs; nil: none.
	Approvals *Approvals `yaml:"approvals" json:"approvals,omitempty"`
	Freeze    []Freeze   `yaml:"freeze" json:"freeze,omitempty"`     // when nothing goes forward
	Pace      *Pace      `yaml:"pace" json:"pace,omitempty"`         // of what is promoted automatically; nil: any
	Drift     string     `yaml:"drift" json:"drift,omitempty"`       // report, or reconcile; empty: report
	Degraded  string     `yaml:"degraded" json:"degraded,omitempty"` // report, or hold the next promotion; empty: report
}

// Canary says how a release is compared with the one that serves, before it gets
// all traffic.
type Canary struct {
	Weight     int      `yaml:"weight" json:"weight"`           // percent of the traffic; 100: all of it at once, as blue and green
	MinSamples int      `yaml:"min_samples" json:"min_samples"` // requests an arm
	Limit      Duration `yaml:"limit" json:"limit"`             // by then it is inconclusive
	Synthetic  int      `yaml:"synthetic" json:"synthetic"`     // declared synthetic requests per second an arm; 0: none
	// Sticky is the name of a cookie whose value decides which arm a request goes
	// to; empty: each request is dealt out by itself.
	Sticky string `yaml:"sticky" json:"sticky,omitempty"`
	// Inputs are what it is judged by beside its requests; nil: nothing.
	Inputs *Inputs `yaml:"inputs" json:"inputs,omitempty"`
}

// Trust is trust.yaml.
type Trust struct {
	// Remote is where the ledger travels, by Git; empty: nowhere. A
	// machine's own key counts only on a ledger without a remote.
	Remote string `yaml:"remote" json:"remote,omitempty"`
	// Protected is the branch whose commits alone may be promoted into an
	// environment that is promoted into, where the ledger has a remote; empty: any.
	Protected string `yaml:"protected" json:"protected,omitempty"`
	// Machines are the classes of machines whose figures count, as
	// "linux/amd64/4cpu"; empty: only the class of the machine that judges.
	Machines []string `yaml:"machines" json:"machines,omitempty"`
	// Owned are patterns of files that, beside those that gate always owns, a
	// change may touch only with the approval of one of People.
	Owned  []string `yaml:"owned" json:"owned,omitempty"`
	Keys   []Key    `yaml:"keys" json:"keys,omitempty"`
	People []Person `yaml:"people" json:"people,omitempty"`
}

// Person is somebody whose identity GitHub vouches for.
type Person struct {
	GitHub       string   `yaml:"github" json:"github"`                       // login
	May          []string `yaml:"may" json:"may"`                             // approve
	Environments []string `yaml:"environments" json:"environments,omitempty"` // empty: all
	Emails       []string `yaml:"emails" json:"emails,omitempty"`             // that the person's commits are made with
}

// Key is somebody who may sign.
type Key struct {
	ID           string   `yaml:"id" json:"id"`                               // "ed25519:" and 64 hexadecimal digits of the public key
	Name         string   `yaml:"name" json:"name"`                           // for people
	May          []string `yaml:"may" json:"may"`                             // measure, decide, promote, approve, vouch, daemon
	Environments []string `yaml:"environments" json:"environments,omitempty"` // empty: all
	Emails       []string `yaml:"emails" json:"emails,omitempty"`             // that its owner's commits are made with
}

// Duration is a time.Duration written as "1m30s".
type Duration time.Duration

// D is d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes "1m30s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "1m30s".
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// UnmarshalYAML is UnmarshalText that knows the line of a mistake.
func (d *Duration) UnmarshalYAML(n ast.Node) error {
	s, ok := n.(*ast.StringNode)
	if ok && d.UnmarshalText([]byte(s.Value)) == nil {
		return nil
	}
	return &Problem{Line: n.GetToken().Position.Line, What: n.String() + " is no duration", Next: "write it as 1m30s"}
}

// URL is where people reach the environment.
func (e *Environment) URL() string {
	_, port, err := net.SplitHostPort(e.Listen)
	if err != nil || len(e.TLS.Names) == 0 {
		return ""
	}
	if port == "443" {
		return "https://" + e.TLS.Names[0]
	}
	return "https://" + net.JoinHostPort(e.TLS.Names[0], port)
}

// Probe is the safe request that shows best that the service works: one that
// can be sent as it stands; nil: none can.
func (a *App) Probe() *Endpoint {
	for i, e := range a.Load.Endpoints {
		if e.Safe && e.Method == "GET" && !variableRE.MatchString(e.Path) && !variableRE.MatchString(e.Expect.Body) {
			return &a.Load.Endpoints[i]
		}
	}
	return nil
}
