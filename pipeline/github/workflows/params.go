package workflows

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/goccy/go-yaml"
)

// SettingsFile is where Params are kept, beside what they make.
const SettingsFile = ".github/gate.yaml"

// Checkout as Params.Gate: gate is built from the protected branch itself.
const Checkout = "checkout"

// What a repository gets that says nothing else.
const (
	defaultProtected = "main"
	defaultGo        = "1.26.8"
	defaultDagger    = "0.19.7"
	defaultRunner    = "ubuntu-24.04"
)

// Engines that measure: containers, or the runner itself.
const (
	EngineDagger = "dagger"
	EngineNone   = "none"
)

// Params are what the files depend on. The YAML keys are those of SettingsFile.
type Params struct {
	Repository string   `yaml:"repository"`  // "owner/name" on GitHub
	Protected  string   `yaml:"protected"`   // branch; must be GitHub's default branch too
	Gate       string   `yaml:"gate"`        // Checkout, or the version to install: "v1.2.3"
	Owners     []string `yaml:"owners,flow"` // "@org/team" or "@login"
	Go         string   `yaml:"go"`          // exact version that builds gate
	Dagger     string   `yaml:"dagger"`      // exact version
	Engine     string   `yaml:"engine"`      // what the repository's variable GATE_ENGINE overrides
	Runner     string   `yaml:"runner"`      // label
	// EnterpriseServer leaves out what GitHub Enterprise Server does not know yet.
	EnterpriseServer bool `yaml:"enterprise_server,omitempty"`
	// Environments are those that are declared, in order of promotion.
	Environments []string `yaml:"-"`
}

// WithDefaults fills in what is left out and has a default.
func (p Params) WithDefaults() Params {
	for _, f := range []struct {
		to    *string
		value string
	}{
		{&p.Protected, defaultProtected}, {&p.Go, defaultGo}, {&p.Dagger, defaultDagger},
		{&p.Engine, EngineDagger}, {&p.Runner, defaultRunner},
	} {
		if *f.to == "" {
			*f.to = f.value
		}
	}
	return p
}

// First is the environment that a commit is measured in.
func (p Params) First() string { return p.Environments[0] }

// FromCheckout says that gate is built from the protected branch itself.
func (p Params) FromCheckout() bool { return p.Gate == Checkout }

var (
	repository  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$`)
	branch      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)
	version     = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	exact       = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)
	owner       = regexp.MustCompile(`^@[A-Za-z0-9][A-Za-z0-9-]*(/[A-Za-z0-9._-]+)?$`)
	label       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	environment = regexp.MustCompile(`^[a-z][a-z0-9-]{0,50}$`)
)

// Validate says all that is wrong. Everything that goes into a workflow has a
// narrow alphabet, so that nothing can end a line or a string there.
func (p Params) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(repository.MatchString(p.Repository), "repository %.80q is no owner/name on GitHub: give --repository", p.Repository)
	want(branch.MatchString(p.Protected) && plain(p.Protected), "protected branch %.80q is no plain branch name: give --protected", p.Protected)
	want(p.Gate == Checkout || version.MatchString(p.Gate), "gate's version %.80q is no released one such as v1.2.3: give --version", p.Gate)
	want(len(p.Owners) > 0, "nobody owns the judge: give --owners @org/team")
	for _, o := range p.Owners {
		want(owner.MatchString(o), "owner %.80q is no @login or @org/team", o)
	}
	want(exact.MatchString(p.Go), "Go version %.80q is not exact, such as %s", p.Go, defaultGo)
	want(exact.MatchString(p.Dagger), "Dagger version %.80q is not exact, such as %s", p.Dagger, defaultDagger)
	want(p.Engine == EngineDagger || p.Engine == EngineNone, "engine %.80q is neither %s nor %s", p.Engine, EngineDagger, EngineNone)
	want(label.MatchString(p.Runner) && plain(p.Runner), "runner label %.80q is not a plain one", p.Runner)
	want(len(p.Environments) > 0, "no environment is declared in environments/")
	for _, e := range p.Environments {
		want(environment.MatchString(e) && plain(e), "environment %.80q can't be one of GitHub's: want at most 51 lower-case letters, digits and hyphens", e)
		for _, reserved := range []string{EnvironmentApp, EnvironmentEvidence} {
			want(e != reserved, "environment %q has the name of one that holds gate's own secrets", e)
		}
		want(!slices.Contains(p.Environments, BackEnvironment(e)), "environment %q has the name that the ways back from %s need", BackEnvironment(e), e)
	}
	return errors.Join(errs...)
}

// ReadSettings reads SettingsFile. Unknown keys are mistakes.
func ReadSettings(data []byte) (Params, error) {
	var p Params
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&p); err != nil {
		return p, fmt.Errorf("%s: %w", SettingsFile, err)
	}
	return p, nil
}

// Settings is SettingsFile for the parameters.
func (p Params) Settings() ([]byte, error) {
	body, err := yaml.Marshal(p.WithDefaults())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", SettingsFile, err)
	}
	return append([]byte("# What gate github init makes the workflows and CODEOWNERS of. Change it, and run that again.\n"), body...), nil
}

// plain says whether s stands for itself as a YAML scalar without quotes.
func plain(s string) bool {
	var v any
	err := yaml.Unmarshal([]byte(s), &v)
	got, ok := v.(string)
	return err == nil && ok && got == s
}
