package main

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/target/local/certs"
	"github.com/smartcloudops/gate/policies"
)

// leaky says its secret when it starts, and listens where everybody can reach it.
const leaky = `package main

import (
	"net"
	"os"
)

var everywhere, _ = net.Listen("tcp4", "0.0.0.0:0")

func init() { println("starting with", os.Getenv("API_KEY")) }
`

// TestALeakyReleaseIsNotReady: a service that logs its secret and that listens
// beyond loopback fails for both, and nothing that gate writes holds the secret.
// So does an environment whose certificate is for another name.
func TestALeakyReleaseIsNotReady(t *testing.T) {
	drill(t)
	w := emptyWorld(t)
	w.copyTree("testdata/foreign")
	w.replace("environments/app.yaml", "think: 100ms", "think: 20ms", "closed: 3s", "closed: 4s", "open: 2s", "open: 4s")
	value := rand.Text() + rand.Text()
	file := filepath.Join(w.root, "api-key")
	if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{"staging", "production"} {
		w.append("environments/"+e+".yaml", "secrets:\n  API_KEY: {file: "+file+"}\nthresholds:\n  load: {min_seconds: 3, min_users: 5, min_requests: 100, success: 0.95}\n  update: {min_requests: 100, slack_seconds: 0.5}\n")
	}
	w.write("leaky.go", leaky)
	w.usePorts()
	w.git("init", "-q", "-b", "main")
	w.commit("begin")

	o := w.runs(promotion.CodeFail, "--through", "staging")
	for id, why := range map[string]string{"network": "on tcp 0.0.0.0 port", "secrets": "the value of API_KEY stands here"} {
		if c := o.criterion(id); c.Verdict != policies.Fail || !strings.Contains(c.Why, why) {
			t.Errorf("%s: %+v", id, c)
		}
	}
	for _, m := range o.Evidence {
		if m.Evidence.Check != "secrets" {
			continue
		}
		var p checks.SecretsPayload
		if err := json.Unmarshal(m.Evidence.Payload, &p); err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Findings {
			// The database's log and the daemon's environment hold none of it.
			if !strings.HasPrefix(f.File, "logs logs/") && f.File != "logs daemon.log" {
				t.Errorf("%+v", f)
			}
		}
	}
	if text := w.ledgerText(t); strings.Contains(text, value) {
		t.Error("the ledger holds the secret")
	}

	// The same release under a certificate that is somebody else's.
	certificate := filepath.Join(w.root, "certificate")
	if err := os.Mkdir(certificate, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Ensure(certificate, []string{"other.example"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	pair := filepath.Join(certificate, "server.pem")
	w.replace("environments/staging.yaml", "trust: private", "trust: public\n  cert: "+pair+"\n  key: "+pair)
	w.commit("another certificate")
	w.want(promotion.CodePass, "deploy", "staging")
	r := w.want(promotion.CodeFail, "verify", "staging", "--check", "tls", "--output", "json")
	var verified outcome
	if err := json.Unmarshal([]byte(r.out), &verified); err != nil {
		t.Fatal(err)
	}
	if c := verified.criterion("tls"); c.Verdict != policies.Fail || !strings.Contains(c.Why, "the certificate is not for this name") {
		t.Errorf("tls: %+v", c)
	}
}
