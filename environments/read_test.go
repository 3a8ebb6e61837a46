package environments

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func declared(t *testing.T) fstest.MapFS {
	t.Helper()
	m := fstest.MapFS{}
	for _, f := range []string{"app.yaml", "staging.yaml", "production.yaml", "trust.yaml"} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m["environments/"+f] = &fstest.MapFile{Data: b}
	}
	return m
}

func TestReadOwnDeclarations(t *testing.T) {
	d, err := Read(declared(t))
	if err != nil {
		t.Fatal(err)
	}
	if d.App.Name != "smartcloudops" || len(d.Environments) != 2 {
		t.Fatalf("read %+v", d)
	}
	if d.Environments[0].Name != "staging" || d.Environments[1].Name != "production" {
		t.Errorf("order is not that of promotion: %s, %s", d.Environments[0].Name, d.Environments[1].Name)
	}
}

func TestMistakesNameFileAndLine(t *testing.T) {
	tests := []struct {
		name, file, old, new string
		want                 []string
	}{
		{"unknown key", "staging.yaml", "target: local", "target: local\ncolour: red", []string{"environments/staging.yaml:3", "colour"}},
		{"wrong type", "staging.yaml", "instances: {min: 2, max: 10}", "instances: {min: two, max: 10}", []string{"environments/staging.yaml:4", "instances.min is text, and must be a whole number"}},
		{"fraction", "staging.yaml", "{min: 2, max: 10}", "{min: 2.5, max: 10}", []string{"environments/staging.yaml:4", "instances.min"}},
		{"number as text", "app.yaml", "users: 50", `users: "50"`, []string{"environments/app.yaml:40", "load.users is text"}},
		{"text as bool", "app.yaml", "safe: false", "safe: no", []string{"environments/app.yaml:56", "load.endpoints[0].safe is text, and must be true or false"}},
		{"value forgotten", "staging.yaml", "LOG_LEVEL: info", "LOG_LEVEL:", []string{"environments/staging.yaml:11", "config.LOG_LEVEL is left empty"}},
		{"list for keys", "staging.yaml", "{min: 2, max: 10}", "[2, 10]", []string{"environments/staging.yaml:4", "instances is a list"}},
		{"text for list", "staging.yaml", "[localhost, 127.0.0.1]", "localhost", []string{"environments/staging.yaml:7", "tls.names is text, and must be a list"}},
		{"nested unknown key", "staging.yaml", "soak: 0s", "soke: 0s", []string{"environments/staging.yaml:13", `unknown key "promotion.soke"`, "approvals, canary, degraded, drift, freeze, from, pace, soak, steps"}},
		{"alias of the wrong type", "staging.yaml", "{min: 2, max: 10}", "{min: &n 1.5, max: *n}", []string{"environments/staging.yaml:4", "instances.max"}},
		{"nothing but a list", "trust.yaml", "*", "[1]", []string{"environments/trust.yaml:1", "the file is a list"}},
		{"min over max", "staging.yaml", "{min: 2, max: 10}", "{min: 5, max: 3}", []string{"environments/staging.yaml:4", "5 is greater than instances.max 3"}},
		{"bad duration", "app.yaml", "think: 1s", "think: soon", []string{"environments/app.yaml:41", "load.think", "soon"}},
		{"missing required", "app.yaml", "  ready: /readyz\n", "", []string{"environments/app.yaml:", "serve.ready"}},
		{"unknown target", "production.yaml", "target: local", "target: moon", []string{"environments/production.yaml:2", "moon"}},
		{"unknown from", "production.yaml", "from: staging", "from: stagging", []string{"environments/production.yaml:13", "stagging"}},
		{"short interval", "staging.yaml", "config:", "backup: {every: 5s}\nconfig:", []string{"environments/staging.yaml:10", "backup.every is 5s"}},
		{"relative folder", "staging.yaml", "config:", "backup: {dir: ../backups}\nconfig:", []string{"environments/staging.yaml:10", "backup.dir", "absolute path"}},
		{"store without keys", "staging.yaml", "config:", "backup:\n  s3: {bucket: b, access_key_env: A}\nconfig:", []string{"environments/staging.yaml:11", "backup.s3.secret_key_env", "backup.s3.seal_env"}},
		{"value for a name", "staging.yaml", "config:", "backup:\n  s3: {bucket: b, access_key_env: A, secret_key_env: B, seal_env: 'hush hush'}\nconfig:", []string{"environments/staging.yaml:11", "backup.s3.seal_env is no name of one"}},
		{"same address", "production.yaml", "127.0.0.1:9443", "127.0.0.1:8443", []string{"environments/staging.yaml:3", "address of production"}},
		{"unknown placeholder", "app.yaml", "127.0.0.1:${PORT}", "127.0.0.1:${PROT}", []string{"environments/app.yaml:22", "${PROT}"}},
		{"not YAML", "app.yaml", "name: smartcloudops", "name: [", []string{"environments/app.yaml:"}},
		{"empty file", "app.yaml", "*", "", []string{"environments/app.yaml"}},
		{"name is not the file's", "staging.yaml", "environment: staging", "environment: stage", []string{"environments/staging.yaml:1", "staging"}},
		{"untrusted action", "trust.yaml", "keys: []", "keys:\n  - {id: x, name: me, may: [rule]}", []string{"environments/trust.yaml:5", `holds "rule"`}},
		{"secret with two sources", "staging.yaml", "config:", "secrets:\n  API: {env: A, file: /b}\nconfig:", []string{"environments/staging.yaml:11", "two sources"}},
		{"secret without a source", "staging.yaml", "config:", "secrets:\n  API: {every: 10s}\nconfig:", []string{"environments/staging.yaml:11", "no source"}},
		{"secret in a relative file", "staging.yaml", "config:", "secrets:\n  API: {file: key}\nconfig:", []string{"environments/staging.yaml:11", "secrets.API.file is no absolute path"}},
		{"secret by a command of no place", "staging.yaml", "config:", "secrets:\n  API: {command: [pass, show]}\nconfig:", []string{"environments/staging.yaml:11", "absolute path"}},
		{"secret in AWS without a region", "staging.yaml", "config:", "secrets:\n  API: {aws: {secret_id: a}}\nconfig:", []string{"environments/staging.yaml:11", "secrets.API.aws.region is empty"}},
		{"secret read all the time", "staging.yaml", "config:", "secrets:\n  API: {env: A, every: 1ms}\nconfig:", []string{"environments/staging.yaml:11", "secrets.API.every"}},
		{"secret that nobody declares", "app.yaml", "${DATABASE_URL}", "${secret:API}", []string{"environments/app.yaml:23", "refers to the secret API, which staging does not declare", "which production does not declare"}},
		{"secret in an argument", "app.yaml", "args: [serve]", "args: [serve, '${secret:API}']", []string{"environments/app.yaml:", "${secret:API}"}},
		{"secret in config", "staging.yaml", "LOG_LEVEL: info", "LOG_LEVEL: ${secret:API}", []string{"environments/staging.yaml:11", "${secret:API}"}},
		{"authority beside a certificate", "staging.yaml", "trust: private", "trust: public\n  cert: /a\n  key: /b\n  acme: {directory: 'https://acme.example.org/dir', email: a@example.org, agree: true}", []string{"environments/staging.yaml:", "beside tls.cert and tls.key"}},
		{"authority without consent", "staging.yaml", "trust: private", "trust: public\n  acme: {directory: 'https://acme.example.org/dir', email: a@example.org, agree: false}", []string{"tls.acme.agree is not true", "127.0.0.1"}},
		{"authority in plain text", "staging.yaml", "trust: private", "trust: public\n  acme: {directory: 'http://acme.example.org/dir', email: nobody, agree: true}", []string{"tls.acme.directory", "tls.acme.email"}},
		{"authority of gate's own", "staging.yaml", "trust: private", "trust: private\n  acme: {directory: 'https://acme.example.org/dir', email: a@example.org, agree: true}", []string{"goes with trust: public only"}},
		{"port out of range", "staging.yaml", "127.0.0.1:8443", "127.0.0.1:99999", []string{"environments/staging.yaml:3", "99999"}},
		{"two documents", "staging.yaml", "environment: staging", "---\nenvironment: staging\n---", []string{"environments/staging.yaml"}},
		{"more than half twice", "production.yaml", "weight: 20", "weight: 51", []string{"promotion.canary.weight", "50"}},
		{"no cookie", "production.yaml", "weight: 20", "weight: 20\n    sticky: a b", []string{"promotion.canary.sticky", "name of a cookie"}},
		{"circle", "staging.yaml", "promotion:", "promotion:\n  from: production\n  canary: {weight: 1, min_samples: 1, limit: 1s, synthetic: 0}", []string{"leads in a circle"}},
		{"scaling by what is not known", "staging.yaml", "metric: concurrency", "metric: luck", []string{"environments/staging.yaml:14", "scaling.metric"}},
		{"scaling beyond a core", "staging.yaml", "metric: concurrency, target: 8", "metric: cpu, target: 101", []string{"environments/staging.yaml:14", "scaling.target"}},
		{"a drill of days", "app.yaml", "recover: 30s", "recover: 48h", []string{"environments/app.yaml:", "drills.recover is 48h0m0s"}},
		{"writes that can't be told apart", "app.yaml", `holds: '"value":${SEQ}}'`, `holds: '"value":'`, []string{"environments/app.yaml:", "drills.write.holds does not tell"}},
		{"writes that are read nowhere", "app.yaml", "read: /api", "read: api", []string{"environments/app.yaml:", "drills.write.read"}},
		{"duplicate key", "staging.yaml", "target: local", "target: local\ntarget: local", []string{"environments/staging.yaml:3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := declared(t)
			f := m["environments/"+tt.file]
			text := string(f.Data)
			if tt.old == "*" {
				text = tt.new
			} else {
				if !strings.Contains(text, tt.old) {
					t.Fatalf("%s no longer holds %q", tt.file, tt.old)
				}
				text = strings.Replace(text, tt.old, tt.new, 1)
			}
			f.Data = []byte(text)
			_, err := Read(m)
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got error %v, want Problems", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
			for _, p := range ps {
				if strings.Contains(p.Error(), "\n") {
					t.Errorf("more than one line: %q", p.Error())
				}
			}
		})
	}
}

func TestWhoWritesASecretDoesNotSeeItRepeated(t *testing.T) {
	m := declared(t)
	f := m["environments/staging.yaml"]
	f.Data = append(f.Data, "secrets: {TOKEN: hunter2}\n"...)
	_, err := Read(m)
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "secrets.TOKEN") {
		t.Errorf("got %v", err)
	}
}

func TestAliasesAndEmptyParts(t *testing.T) {
	m := declared(t)
	f := m["environments/staging.yaml"]
	f.Data = []byte(strings.Replace(string(f.Data), "{min: 2, max: 10}", "{min: &n 3, max: *n}", 1) + "secrets:\ndiffers:\n")
	d, err := Read(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Environment("staging").Instances; got != (Instances{3, 3}) {
		t.Errorf("got %+v", got)
	}
}

func TestTextKeepsItsLook(t *testing.T) {
	for written, want := range map[string]string{
		"debug": "debug", "8080": "8080", "1.5": "1.5", "true": "true", "no": "no", `"0777"`: "0777", "1.2.3": "1.2.3",
		"0777": "", "1_000": "", "1.50": "", "0x10": "", "True": "", // put it into quotes
	} {
		m := declared(t)
		f := m["environments/staging.yaml"]
		f.Data = []byte(strings.Replace(string(f.Data), "LOG_LEVEL: info", "LOG_LEVEL: "+written, 1))
		d, err := Read(m)
		switch {
		case want == "" && (err == nil || !strings.Contains(err.Error(), "put it into quotes")):
			t.Errorf("%s: got error %v", written, err)
		case want != "" && err != nil:
			t.Errorf("%s: %v", written, err)
		case want != "" && d.Environment("staging").Config["LOG_LEVEL"] != want:
			t.Errorf("%s became %s", written, d.Environment("staging").Config["LOG_LEVEL"])
		}
	}
}

func TestUnreadableFile(t *testing.T) {
	m := declared(t)
	m["environments/trust.yaml"] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
	_, err := Read(m)
	var ps Problems
	if !errors.As(err, &ps) || !strings.Contains(err.Error(), "environments/trust.yaml: can't be read") {
		t.Errorf("got %v", err)
	}
}

func TestNothingDeclared(t *testing.T) {
	if _, err := Read(fstest.MapFS{}); !errors.Is(err, ErrNotDeclared) {
		t.Fatalf("got %v, want ErrNotDeclared", err)
	}
}

func TestConfigDigest(t *testing.T) {
	d, err := Read(declared(t))
	if err != nil {
		t.Fatal(err)
	}
	e := *d.Environment("production")
	before := e.ConfigDigest()
	e.Promotion.Soak = 0
	e.Thresholds = map[string]map[string]any{"load": {"p95_seconds": 1}}
	if e.ConfigDigest() != before {
		t.Error("how a release gets in is no part of the configuration")
	}
	e.Config = map[string]string{"LOG_LEVEL": "debug"}
	if e.ConfigDigest() == before {
		t.Error("another value, the same digest")
	}
}

// TestSecretsAreReferences: each kind of source, placed by app.yaml or not, is
// valid, and none changes what is declared beside.
func TestSecretsAreReferences(t *testing.T) {
	m := declared(t)
	const secrets = `secrets:
  KEY: {env: A}
  FILE: {file: /etc/gate/key, every: 10s}
  TOLD: {command: [/usr/bin/pass, show, key], timeout: 5s}
  AWS: {aws: {secret_id: shop/key, region: eu-central-1, key: password}}
config:`
	for _, f := range []string{"environments/staging.yaml", "environments/production.yaml"} {
		m[f].Data = []byte(strings.Replace(string(m[f].Data), "config:", secrets, 1))
	}
	app := m["environments/app.yaml"]
	app.Data = []byte(strings.Replace(string(app.Data), "${RELEASE}", "${secret:KEY} ${secret_file:FILE} ${RELEASE}", 1))
	d, err := Read(m)
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, name := range sortedKeys(d.Environments[0].Secrets) {
		sources = append(sources, d.Environments[0].Secrets[name].Source())
	}
	if strings.Join(sources, " ") != "aws file env command" {
		t.Errorf("%v", sources)
	}
	if text := d.App.Serve.Env["RELEASE_DIGEST"]; len(SecretsIn(text, SecretValue)) != 1 || len(SecretsIn(text, SecretFile)) != 1 {
		t.Errorf("%q", text)
	}
}
