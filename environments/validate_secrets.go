package environments

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
	"time"
)

// Prefixes of the placeholders that stand for a secret.
const (
	SecretValue = "secret:"
	SecretFile  = "secret_file:"
)

// SecretsIn are the names of the secrets that a text refers to by prefix.
func SecretsIn(s, prefix string) []string {
	var names []string
	for _, m := range variableRE.FindAllStringSubmatch(s, -1) {
		if name, ok := strings.CutPrefix(m[1], prefix); ok {
			names = append(names, name)
		}
	}
	return names
}

// secret refuses a reference to none or several sources, and what its source
// can't be.
func (v *validator) secret(f, at string, s Secret) {
	n := 0
	for _, set := range []bool{s.Env != "", s.File != "", len(s.Command) > 0, s.AWS != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		v.say(f, at, "give exactly one of env, file, command and aws", "refers to %s", map[bool]string{true: "no source", false: "two sources or more"}[n == 0])
	}
	if s.Env != "" && !envVarRE.MatchString(s.Env) {
		v.say(f, at+".env", "name an environment variable", "is no name of an environment variable")
	}
	if s.File != "" && !path.IsAbs(s.File) {
		v.say(f, at+".file", "begin it with /", "is no absolute path")
	}
	if len(s.Command) > 0 && !path.IsAbs(s.Command[0]) {
		v.say(f, at+".command", "name the program by its absolute path", "is looked up nowhere")
	}
	if a := s.AWS; a != nil {
		if a.SecretID == "" {
			v.say(f, at+".aws.secret_id", "write its name or ARN", "is empty")
		}
		if a.Region == "" {
			v.say(f, at+".aws.region", "write it as eu-central-1", "is empty")
		}
	}
	if s.Every != 0 && s.Every < Duration(time.Second) {
		v.say(f, at+".every", "write 1s or more", "is %s", s.Every)
	}
	if s.Timeout != 0 && (s.Timeout < 0 || s.Timeout > Duration(time.Minute)) {
		v.say(f, at+".timeout", "write up to 1m", "is %s", s.Timeout)
	}
}

// placed is env for variables that may refer to secrets.
func (v *validator) placed(f, at string, m map[string]string) {
	known := map[string]string{}
	for k, text := range m {
		for _, prefix := range []string{SecretValue, SecretFile} {
			for _, name := range SecretsIn(text, prefix) {
				text = strings.ReplaceAll(text, "${"+prefix+name+"}", "")
			}
		}
		known[k] = text
	}
	v.env(f, at, known)
}

// secretReferences refuses references to secrets that an environment lacks.
func (v *validator) secretReferences(f string, d *Declarations) {
	look := func(at string, m map[string]string) {
		for _, k := range sortedKeys(m) {
			names := append(SecretsIn(m[k], SecretValue), SecretsIn(m[k], SecretFile)...)
			for _, name := range names {
				for _, e := range d.Environments {
					if _, ok := e.Secrets[name]; !ok {
						v.say(f, at+"."+k, "declare it under secrets in "+e.File, "refers to the secret %s, which %s does not declare", name, e.Name)
					}
				}
			}
		}
	}
	look("$.serve.env", d.App.Serve.Env)
	if d.App.Migrate != nil {
		look("$.migrate.env", d.App.Migrate.Env)
	}
}

func (v *validator) tls(f string, t *TLS) {
	given := t.Cert != "" || t.Key != ""
	switch t.Trust {
	case "private":
		if given {
			v.say(f, "$.tls.cert", "drop it, or declare trust: public", "goes with trust: public only")
		}
		if t.ACME != nil {
			v.say(f, "$.tls.acme", "drop it, or declare trust: public", "goes with trust: public only")
		}
	case "public":
		switch {
		case t.ACME != nil && given:
			v.say(f, "$.tls.acme", "keep one of them", "stands beside tls.cert and tls.key")
		case t.ACME == nil && (t.Cert == "" || t.Key == ""):
			v.say(f, "$.tls", "name the PEM files tls.cert and tls.key, or declare tls.acme", "lacks a certificate")
		}
	default:
		v.say(f, "$.tls.trust", "use private (gate's own authority) or public", "is %q", t.Trust)
	}
	if t.ACME == nil {
		return
	}
	for i, name := range t.Names {
		if net.ParseIP(name) != nil || strings.HasPrefix(name, "*.") {
			v.say(f, fmt.Sprintf("$.tls.names[%d]", i), "name hosts; an authority that connects to prove them can prove nothing else", "is %q, which tls.acme can't get", name)
		}
	}
	if u, err := url.Parse(t.ACME.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		v.say(f, "$.tls.acme.directory", "write the https:// address of the authority's directory", "is no such address")
	}
	if !strings.Contains(t.ACME.Email, "@") || strings.ContainsAny(t.ACME.Email, " ,") {
		v.say(f, "$.tls.acme.email", "write one address, for the authority's warnings", "is no address of a mailbox")
	}
	if !t.ACME.Agree {
		v.say(f, "$.tls.acme.agree", "read the authority's terms of service, and write agree: true", "is not true")
	}
	if t.ACME.Roots != "" && !path.IsAbs(t.ACME.Roots) {
		v.say(f, "$.tls.acme.roots", "begin it with /", "is no absolute path")
	}
}
