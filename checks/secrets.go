package checks

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// SecretState is one declared secret: its name and where it comes from, never
// its value.
type SecretState struct {
	Name       string   `json:"name"`
	Source     string   `json:"source"` // env, file, command, aws
	Resolved   bool     `json:"resolved"`
	AgeSeconds *float64 `json:"age_seconds,omitempty"` // since it was last changed; absent: the source doesn't know
	Problem    string   `json:"problem,omitempty"`     // why it is not resolved
}

// KnownSecret is a value that must stand nowhere in plain text but where it was
// delivered to.
type KnownSecret struct {
	Name  string
	Value string
	// Instances and Daemon name the environment variables by which instances, and
	// the daemon, have it by declaration.
	Instances, Daemon []string
}

// String keeps the value out of whatever prints it.
func (k KnownSecret) String() string   { return "secret " + k.Name }
func (k KnownSecret) GoString() string { return k.String() }

// HeldSecrets are the secrets of an environment.
type HeldSecrets struct {
	States []SecretState
	Known  []KnownSecret
	// Marks are variables in instances' environments whose values look like
	// secrets, and are none.
	Marks []string
}

// SecretHolder knows an environment's secrets.
type SecretHolder interface {
	// Secrets reads every declared secret anew from where it comes from.
	Secrets(ctx context.Context) (HeldSecrets, error)
}

// Writings are what is kept in writing of an environment.
type Writings interface {
	// Writings hands over each text with its kind and name, and fails when one
	// can't be read. A log that is gone meanwhile is no failure. Kinds are image,
	// logs, ledger, and requests: logs of what clients have sent.
	Writings(ctx context.Context, release string, each func(kind, name string, text io.Reader) error) error
}

// SecretsPayload is what came of resolving and of searching.
type SecretsPayload struct {
	Secrets    []SecretState  `json:"secrets"` // that are declared
	Unresolved int            `json:"unresolved"`
	Known      int            `json:"known"`  // values that were searched for
	Places     []SecretsPlace `json:"places"` // where
	Found      int            `json:"found"`
	Findings   []Finding      `json:"findings,omitempty"` // never with the secret itself
}

// SecretsPlace counts what was looked at of one kind.
type SecretsPlace struct {
	Kind  string `json:"kind"` // source, image, environment, arguments, logs, ledger
	Items int    `json:"items"`
	Bytes int64  `json:"bytes"`
}

// secretsKinds are the places that are searched.
var secretsKinds = []string{"source", "image", "environment", "arguments", "logs", "ledger"}

// secretsShortest is the length, in bytes, below which a value can't be told
// from other text.
const secretsShortest = 8

// Secrets resolves what the environment declares, and searches for secrets in
// plain text: the values themselves, also encoded, wherever something is written
// down or handed over, and what looks like one. An environment that declares
// none has the passwords of its database. What stands in the commit and is only
// shaped like a secret is for the check leaks.
func Secrets() Check {
	return Check{
		Name:      "secrets",
		Criterion: "secrets",
		Version:   1,
		Scope:     OfEnvironment,
		InEnv:     true,
		Title:     "Declared secrets resolve, and none stands in plain text",
		Parameters: func(in Input) map[string]string {
			return map[string]string{"release": in.Release, "tree": in.TreeDigest}
		},
		Estimate: func(Input) time.Duration { return 3 * time.Second },
		Measure:  secretsMeasure,
		Pool:     secretsPool,
	}
}

// secretsPool keeps the newest search. What stands where is a state: a secret
// that was found is rotated and taken away, which changes neither release nor
// configuration, and the finding would else stay for good.
func secretsPool(payloads [][]byte) ([]byte, error) {
	return poolWorst(payloads, func(_, b SecretsPayload) SecretsPayload { return b })
}

// secretsBlind is why something could not be looked at.
type secretsBlind struct{ why string }

func (e secretsBlind) Error() string { return e.why }

func secretsMeasure(ctx context.Context, in Input) (Measurement, error) {
	holder, holds := in.Target.(SecretHolder)
	lister, lists := in.Target.(ProcessLister)
	writings, writes := in.Target.(Writings)
	switch {
	case !holds || !lists || !writes:
		return Measurement{Status: Unavailable, Reason: "the target does not say what its secrets, its processes and its writings are"}, nil
	case in.Source == "":
		return Measurement{Status: Unavailable, Reason: "the source of the commit is not at hand"}, nil
	}
	held, err := holder.Secrets(ctx)
	if err != nil {
		return Measurement{Status: Unavailable, Reason: "secrets of the environment: " + err.Error()}, nil
	}
	if why := secretsProbe(); why != "" {
		return Measurement{Status: Invalid, Reason: why}, nil
	}
	s := newSecretsSearch(held)
	p := SecretsPayload{Secrets: held.States, Known: len(held.Known)}
	for _, state := range held.States {
		if !state.Resolved {
			p.Unresolved++
		}
	}
	s.short(held.Known)
	in.Note(fmt.Sprintf("looking for %d values", len(held.Known)))
	err = errors.Join(
		s.source(ctx, in.Source),
		s.processes(ctx, lister),
		writings.Writings(ctx, in.Release, func(kind, name string, text io.Reader) error { return s.text(ctx, kind, name, text) }),
	)
	if ctx.Err() != nil {
		return Measurement{}, ctx.Err()
	}
	if err != nil {
		// A place that was not searched may hold anything.
		return Measurement{Status: Unavailable, Reason: strings.ReplaceAll(err.Error(), "\n", "; ")}, nil
	}
	for _, kind := range secretsKinds {
		c := s.counts[kind]
		p.Places = append(p.Places, SecretsPlace{Kind: kind, Items: c.Items, Bytes: c.Bytes})
	}
	p.Findings = s.sorted()
	p.Found = len(p.Findings)
	return Measurement{Status: Completed, Tools: loadTools(), Payload: p}, nil
}

// source searches the commit's files for the known values.
func (s *secretsSearch) source(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return secretsBlind{"source: " + err.Error()}
	}
	defer root.Close()
	return filepath.WalkDir(dir, func(file string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		f, err := root.Open(rel)
		if err != nil {
			return secretsBlind{"source: " + err.Error()}
		}
		defer f.Close()
		return s.text(ctx, "source", filepath.ToSlash(rel), f)
	})
}

// processes searches what the environment's processes were started with. What
// the daemon's own environment holds beside is the operator's: there only the
// known values are searched for.
func (s *secretsSearch) processes(ctx context.Context, lister ProcessLister) error {
	processes, err := lister.Processes(ctx)
	if err != nil {
		return secretsBlind{"processes: " + err.Error()}
	}
	for _, p := range processes {
		dir := fmt.Sprintf("/proc/%d/", p.PID)
		var environ, arguments []byte
		err := LookAt(dir, func() (err error) {
			if environ, err = os.ReadFile(dir + "environ"); err == nil {
				arguments, err = os.ReadFile(dir + "cmdline")
			}
			return err
		})
		if networkGone(err) {
			continue
		} else if err != nil {
			return secretsBlind{fmt.Sprintf("environment of %s (process %d): %v; measure as the user that runs it, or as root", p.Name, p.PID, err)}
		}
		s.environment(p, environ)
		s.count("arguments", len(arguments))
		s.look("arguments of "+p.Name, []byte(strings.ReplaceAll(string(arguments), "\x00", " ")), true)
	}
	return nil
}

func (s *secretsSearch) environment(p Process, environ []byte) {
	s.count("environment", len(environ))
	place := "environment of " + p.Name
	for entry := range strings.SplitSeq(string(environ), "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		declared := slices.Contains(s.held.Marks, name)
		for _, k := range s.held.Known {
			if p.Role == "instance" && slices.Contains(k.Instances, name) || p.Role == "daemon" && slices.Contains(k.Daemon, name) {
				declared = true
			}
		}
		for _, hit := range s.values([]byte(value)) {
			k := s.held.Known[hit.known]
			if p.Role == "instance" && slices.Contains(k.Instances, name) || p.Role == "daemon" && slices.Contains(k.Daemon, name) {
				continue
			}
			s.find(place, "known-value", 0, fmt.Sprintf("the variable %s holds the value of %s%s", name, k.Name, hit.words()))
		}
		if p.Role != "daemon" && !declared {
			for _, hit := range secretsShapes([]byte(entry), true) {
				s.find(place, hit.name, 0, fmt.Sprintf("the variable %s holds %s", name, hit.what))
			}
		}
	}
}

// short complains of values that can't be searched for, and be guessed.
func (s *secretsSearch) short(known []KnownSecret) {
	for _, k := range known {
		if len(k.Value) < secretsShortest {
			s.find("secret "+k.Name, "short-value", 0, fmt.Sprintf("the value of %s is shorter than %d bytes: it can be guessed, and is not told from other text", k.Name, secretsShortest))
		}
	}
}

// secretsProbe plants made-up secrets and says what was not found: a search that
// does not find them has searched nothing.
func secretsProbe() string {
	value := rand.Text() + "/+ \"&" + rand.Text()
	quoted, err := json.Marshal(value)
	if err != nil {
		return "a made-up secret can't be written: " + err.Error()
	}
	s := newSecretsSearch(HeldSecrets{Known: []KnownSecret{{Name: "probe", Value: value}}})
	for what, text := range map[string]string{
		"plain": value, "JSON": string(quoted), "URL": url.QueryEscape(value), "base64": base64.StdEncoding.EncodeToString([]byte("x" + value + "yz")),
		"URL-safe base64": base64.URLEncoding.EncodeToString([]byte("xy" + value + "z")), "hexadecimal": fmt.Sprintf("%x", value),
	} {
		if len(s.values([]byte("some text "+text+" and more"))) == 0 {
			return "a made-up secret was not found where it was planted (" + what + ")"
		}
	}
	if len(secretsShapes([]byte("key "+leaksProbe+"\n"), false)) == 0 {
		return "a made-up access key was not found where it was planted"
	}
	return ""
}
