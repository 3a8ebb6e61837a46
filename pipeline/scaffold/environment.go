package scaffold

import (
	"regexp"
	"strings"
)

// environment is staging.yaml or production.yaml.
func (f *findings) environment(name string) []byte {
	p := &page{}
	staging := name == "staging"
	p.line(0, "environment: %s", name)
	p.line(0, "target: local")
	p.note(0, "assumed: where the load balancer of this environment listens; its port must be free, and another one than that of other environments on the same machine")
	if staging {
		p.line(0, "listen: 127.0.0.1:8443")
	} else {
		p.line(0, "listen: 127.0.0.1:9443")
	}
	p.note(0, "assumed: at least 2, so that one can be replaced while another serves")
	p.line(0, "instances: {min: 2, max: 4}")
	p.line(0, "tls:")
	p.note(1, "assumed: an authority of gate's own, good for one machine; for users declare public, with cert and key")
	p.line(1, "trust: private")
	p.line(1, "names: [localhost, 127.0.0.1]")
	p.line(0, "database:")
	p.note(1, "assumed: while this variable is not set for whoever starts the daemon, gate runs a PostgreSQL of its own")
	p.line(1, "url_env: %s_DATABASE_URL", strings.ToUpper(name))
	f.config(p, name)
	p.line(0, "alerts:")
	p.note(1, "assumed: nobody beyond this machine is to be told when something is wrong; for people declare smtp or webhook (docs/alerts.md of gate)")
	p.line(1, "local: true")
	p.line(0, "promotion:")
	if !staging {
		p.line(1, "from: staging")
		p.note(1, "assumed: one instance gets 20 percent of the traffic and is compared with the rest; synthetic requests are the load's safe ones, per second and side, for a service that has few users")
		p.line(1, "canary:")
		p.line(2, "weight: 20")
		p.line(2, "min_samples: 300")
		p.line(2, "limit: 2m")
		p.line(2, "synthetic: 30")
		p.line(1, "soak: 10s")
	} else {
		p.line(1, "soak: 0s")
	}
	p.gap()
	p.note(0, "Limits other than gate's own, by criterion; gate explain shows those in force.")
	p.off(0, "thresholds:")
	p.off(0, "  load: {p95_seconds: 0.5}")
	return []byte(p.String())
}

// config names what else the program reads. What it demands is declared: a
// secret by reference, a value as a choice.
func (f *findings) config(p *page, environment string) {
	var config, secrets, mayConfig, maySecrets []setting
	for _, s := range further(f.settings, f.listen.setting, f.database.setting) {
		switch secret := private.MatchString(s.name); {
		case secret && s.must:
			secrets = append(secrets, s)
		case secret:
			maySecrets = append(maySecrets, s)
		case s.must:
			config = append(config, s)
		default:
			mayConfig = append(mayConfig, s)
		}
	}
	if len(config)+len(mayConfig) > 0 {
		p.note(0, "What instances see beside app.yaml's serve.env; they see nothing else.%s", assume(mayConfig))
		head(p, "config:", len(config) > 0)
		for _, s := range config {
			p.note(1, "choose: %s demands it", s.at)
			p.line(1, "%s: %s", s.name, quote("${the value of "+s.name+"}"))
		}
		for _, s := range mayConfig {
			p.off(0, "  %s: %s  # %s", s.name, quote(s.value), s.at)
		}
	}
	if len(secrets)+len(maySecrets) > 0 {
		p.note(0, "Secrets are references to variables of whoever starts the daemon, or to files, never values.%s", assume(maySecrets))
		head(p, "secrets:", len(secrets) > 0)
		for _, s := range secrets {
			p.note(1, "found: %s demands it", s.at)
			p.line(1, "%s: {env: %s_%s}", s.name, strings.ToUpper(environment), s.name)
		}
		for _, s := range maySecrets {
			p.off(0, "  %s: {env: %s_%s}  # %s", s.name, strings.ToUpper(environment), s.name, s.at)
		}
	}
}

func head(p *page, key string, on bool) {
	if on {
		p.line(0, "%s", key)
	} else {
		p.off(0, "%s", key)
	}
}

func assume(may []setting) string {
	if len(may) == 0 {
		return ""
	}
	return " assumed: the service does well without what is commented out here"
}

// trust is trust.yaml.
func (f *findings) trust(branch string) []byte {
	p := &page{}
	p.note(0, "Whose signatures count. Without a remote, the ledger lives on one machine and that machine's own key counts for everything; with one, only the keys below do, each for what it may.")
	p.line(0, `remote: ""`)
	p.line(0, "keys: []")
	p.gap()
	p.note(0, "The branch whose commits alone get into an environment that is promoted into, once there is a remote.")
	if branchName.MatchString(branch) {
		p.note(0, "assumed: it is this one, by the clone")
		p.line(0, "protected: %s", quote(branch))
	} else {
		p.off(0, "protected: main")
	}
	return []byte(p.String())
}

var branchName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9/_-]{0,99}$`)
