package checks

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

const secretsTestValue = `s3cr3t/+"&<` + "of ours"

func secretsTestSearch() *secretsSearch {
	return newSecretsSearch(HeldSecrets{
		Known: []KnownSecret{{Name: "API_KEY", Value: secretsTestValue, Instances: []string{"API_KEY"}, Daemon: []string{"SOURCE"}}},
		Marks: []string{"MARK"},
	})
}

// TestSecretsForms: the value is found in each form, wherever the text is cut.
func TestSecretsForms(t *testing.T) {
	quoted, err := json.Marshal("a " + secretsTestValue)
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{
		"plain": secretsTestValue, "JSON": string(quoted), "query": url.QueryEscape(secretsTestValue), "path": url.PathEscape(secretsTestValue),
		"address": (&url.URL{Scheme: "postgres", User: url.UserPassword("u", secretsTestValue), Host: "h"}).String(),
		"hex":     hex.EncodeToString([]byte(secretsTestValue)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secretsTestValue))),
	}
	for before := range 4 {
		text := strings.Repeat("x", before) + secretsTestValue + strings.Repeat("y", before)
		forms[fmt.Sprint("base64 ", before)] = base64.StdEncoding.EncodeToString([]byte(text))
		forms[fmt.Sprint("base64url ", before)] = base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	for name, form := range forms {
		for _, at := range []int{0, 100, secretsChunk - 10, secretsChunk + secretsOverlap - 5} {
			s := secretsTestSearch()
			text := strings.Repeat("line\n", at/5) + strings.Repeat("-", at%5) + form + "\nmore\n"
			if err := s.text(t.Context(), "logs", "a.log", strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			all := slices.DeleteFunc(s.sorted(), func(f Finding) bool { return f.Rule != "known-value" })
			if len(all) == 0 || all[0].Rule != "known-value" || !strings.Contains(all[0].Message, "API_KEY") || all[0].Line != at/5+1 {
				t.Errorf("%s at %d: %+v", name, at, all)
			}
			if c := s.counts["logs"]; c.Items != 1 || c.Bytes != int64(len(text)) {
				t.Errorf("%+v", c)
			}
			if b, _ := json.Marshal(all); strings.Contains(string(b), "s3cr3t") {
				t.Error("a finding holds the secret")
			}
		}
	}
}

// Shapes of secrets, put together here so that nothing finds them in this file.
var secretsTestShapes = map[string]string{
	"aws-access-key":   leaksProbe,
	"github-token":     "gh" + "p_" + strings.Repeat("a1B2", 9),
	"slack-token":      "xo" + "xb-123456789012-" + strings.Repeat("aB3", 8),
	"stripe-key":       "sk_" + "live_" + strings.Repeat("a1B2", 6),
	"google-key":       "AI" + "za" + strings.Repeat("a1B2x", 7),
	"private-key":      "-----BEGIN EC PRIVATE" + " KEY-----\n" + strings.Repeat("a1B2", 16) + "\n",
	"jwt":              "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + strings.Repeat("a1B2", 10),
	"address-password": "postgres://app:" + "hunter2hunter2" + "@db.example.org/shop",
	"assigned-secret":  `"db_pass` + `word": "` + "q7Lw9ZrT2mXv8KpB" + `"`,
}

func TestSecretsShapes(t *testing.T) {
	for rule, text := range secretsTestShapes {
		got := secretsShapes([]byte("before "+text+" after"), true)
		if len(got) == 0 || got[0].name != rule {
			t.Errorf("%s: found %v", rule, got)
		}
	}
	for _, r := range secretsRules {
		if secretsTestShapes[r.name] == "" {
			t.Errorf("nothing shows that rule %s finds anything", r.name)
		}
	}
	for _, text := range []string{
		"", "no secret here", "password=${DB_PASSWORD}", "password: xxxxxxxxxxxxxxxx", "token=correcthorsebatterystaple",
		`"key":"sha256:` + strings.Repeat("0a", 32) + `"`, `"token":12345678901234`, "postgres://app@db.example.org/shop", "postgres://app:***@db.example.org/shop",
		"https://example.org:8443/a@b", `"secrets":{"API_KEY":{"env":"STAGING_API_KEY_2"}}`, "-----BEGIN PRIVATE" + " KEY-----",
		"secret_id: shop/staging/api-key-1",
	} {
		if got := secretsShapes([]byte(text), true); len(got) > 0 {
			t.Errorf("%q was taken for %s", text, got[0].what)
		}
	}
}

// TestSecretsEnvironment: a value may stand where it was declared to, and
// nowhere else.
func TestSecretsEnvironment(t *testing.T) {
	in := func(role string, entries ...string) []Finding {
		s := secretsTestSearch()
		s.environment(Process{Role: role, Name: role}, []byte(strings.Join(entries, "\x00")+"\x00"))
		return s.sorted()
	}
	token := secretsTestShapes["assigned-secret"]
	for _, c := range []struct {
		role, entry string
		found       int
	}{
		{"instance", "API_KEY=" + secretsTestValue, 0},
		{"instance", "OTHER=" + secretsTestValue, 1},
		{"instance", "SOURCE=" + secretsTestValue, 1},
		{"daemon", "SOURCE=" + secretsTestValue, 0},
		{"daemon", "API_KEY=" + secretsTestValue, 1},
		{"database", "API_KEY=" + secretsTestValue, 1},
		{"instance", "MARK=" + token, 0},
		{"instance", "OTHER=" + token, 1},
		{"daemon", "OTHER=" + token, 0}, // the operator's own
	} {
		if got := in(c.role, "PATH=/bin", c.entry); len(got) != c.found {
			t.Errorf("%s %.9s…: %+v", c.role, c.entry, got)
		}
	}
}

// holding is a target whose writings are texts by kind.
type holding struct {
	listed
	held  HeldSecrets
	err   error
	texts map[string]io.Reader
}

func (h holding) Secrets(context.Context) (HeldSecrets, error) { return h.held, h.err }

func (h holding) Writings(_ context.Context, _ string, each func(kind, name string, text io.Reader) error) error {
	for kind, text := range h.texts {
		if err := each(kind, "x", text); err != nil {
			return err
		}
	}
	return nil
}

func TestSecretsMeasure(t *testing.T) {
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "a.txt"), []byte("nothing\n"+secretsTestValue), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := func() holding {
		return holding{
			listed: listed{all: []Process{{PID: os.Getpid(), Role: "daemon", Name: "daemon"}}},
			held:   HeldSecrets{Known: []KnownSecret{{Name: "API_KEY", Value: secretsTestValue}, {Name: "PIN", Value: "1234"}}},
			texts:  map[string]io.Reader{"image": strings.NewReader("layer"), "logs": strings.NewReader("a line\n"), "ledger": strings.NewReader("{}")},
		}
	}
	m, err := Secrets().Measure(t.Context(), Input{Source: source, Target: fresh()})
	p, ok := m.Payload.(SecretsPayload)
	if err != nil || !ok || m.Status != Completed || p.Known != 2 || p.Found != 2 || len(p.Places) != len(secretsKinds) {
		t.Fatalf("%+v %v", m, err)
	}
	if f := p.Findings[0]; f.File != "a.txt" || f.Line != 2 || f.Rule != "known-value" {
		t.Errorf("%+v", f)
	}
	if f := p.Findings[1]; f.Rule != "short-value" || !strings.Contains(f.Message, "PIN") {
		t.Errorf("%+v", f)
	}
	for what, change := range map[string]func(*holding, *Input){
		"no source":               func(_ *holding, in *Input) { in.Source = "" },
		"a daemon that is away":   func(h *holding, _ *Input) { h.err = errors.New("away") },
		"processes that are away": func(h *holding, _ *Input) { h.listed.err = errors.New("away") },
		"a log that breaks off":   func(h *holding, _ *Input) { h.texts["logs"] = iotest.ErrReader(errors.New("disk")) },
	} {
		h, in := fresh(), Input{Source: source}
		change(&h, &in)
		in.Target = h
		if m, err := Secrets().Measure(t.Context(), in); err != nil || m.Status != Unavailable || m.Reason == "" {
			t.Errorf("%s: %+v %v", what, m, err)
		}
	}
	if m, err := Secrets().Measure(t.Context(), Input{Source: source}); err != nil || m.Status != Unavailable {
		t.Errorf("no target: %+v %v", m, err)
	}
}

// TestSecretsInRequests: strangers can write what they like into a log of
// requests. It is searched for the values alone.
func TestSecretsInRequests(t *testing.T) {
	s := secretsTestSearch()
	for _, text := range secretsTestShapes {
		if err := s.text(t.Context(), "requests", "access.log", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if all := s.sorted(); len(all) > 0 {
		t.Errorf("%+v", all)
	}
	if err := s.text(t.Context(), "requests", "access.log", strings.NewReader("GET /?key="+url.QueryEscape(secretsTestValue))); err != nil {
		t.Fatal(err)
	}
	if all := s.sorted(); len(all) != 1 || all[0].Rule != "known-value" || s.counts["logs"].Items != len(secretsTestShapes)+1 {
		t.Errorf("%+v %+v", all, s.counts)
	}
}

func TestSecretsPoolKeepsTheNewest(t *testing.T) {
	b, err := Secrets().Pool([][]byte{[]byte(`{"found":1}`), []byte(`{"found":0,"known":3}`)})
	var p SecretsPayload
	if err != nil || json.Unmarshal(b, &p) != nil || p.Found != 0 || p.Known != 3 {
		t.Errorf("%s %v", b, err)
	}
}
