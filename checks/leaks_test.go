package checks

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// planted are an access key and its secret, put together only now, so that the
// repository itself holds none.
func planted() (id, secret, text string) {
	id = "AKIA" + strings.ToUpper("q7vrzq5tjn2xmwlp")
	secret = "wJbl" + "rXUtnFEMI/K7MDENG" + "/bPxRfiCYz8KqLm3No9"
	return id, secret, "aws_access_key_id = \"" + id + "\"\naws_secret_access_key = \"" + secret + "\"\n"
}

func pem() string {
	line := strings.Repeat("MIIEpAIBAAKCAQEA7zq3vJ9x", 3)
	return "-----BEGIN RSA " + "PRIVATE KEY-----\n" + line + "\n" + line + "\n-----END RSA " + "PRIVATE KEY-----\n"
}

func TestLeaksFindsPlantedSecrets(t *testing.T) {
	needsTools(t)
	id, secret, text := planted()
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	w, err := z.Create("inner/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	source := sourceOf(t, map[string]string{
		"docs/notes.md":          "\n\n" + text,
		"key":                    "first\n" + pem(),
		"packed.zip":             packed.String(),
		"odd!name.txt":           text,
		"probe.txt":              text,
		"clean.go":               "package clean\n",
		"empty":                  "",
		"gitleaks.toml/in.txt":   text,
		"sub/.gitleaks.toml":     text,
		"allowed.go":             strings.ReplaceAll(text, "\n", " // gitleaks:allow\n"),
		"node_modules/a/real.js": "// left out by gitleaks' own rules\n",
		".gitleaks.toml":         "[allowlist]\npaths = ['''.*''']\n",
		".gitleaksignore": "docs/notes.md:aws-access-token:3\ncommit/docs/notes.md:aws-access-token:3\n" +
			"allowed.go:aws-access-token:1\ncommit/allowed.go:aws-access-token:1\n",
	})
	m, err := Leaks().Measure(t.Context(), sourceInput(t, source))
	if err != nil || m.Status != Completed {
		t.Fatalf("%+v, %v", m, err)
	}
	p := m.Payload.(LeaksPayload)
	got := map[string]bool{}
	for _, f := range p.Findings {
		got[at(f)+" "+f.Rule] = true
		if f.Severity != "high" || f.Fix == "" || f.Message == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, want := range []string{
		"docs/notes.md:3 aws-access-token", "docs/notes.md:4 generic-api-key", "key:2 private-key", "packed.zip:0 aws-access-token",
		"odd!name.txt:1 aws-access-token", "probe.txt:1 aws-access-token", "gitleaks.toml/in.txt:1 aws-access-token",
		"sub/.gitleaks.toml:1 aws-access-token", "allowed.go:1 aws-access-token",
	} {
		if !got[want] {
			t.Errorf("not found: %s among %v", want, got)
		}
	}
	if p.Secrets != len(p.Findings) || p.Files != 13 {
		t.Errorf("%d secrets in %d files, with %d findings", p.Secrets, p.Files, len(p.Findings))
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{id, secret, secret[:12], "MIIEpAIB", leaksProbe} {
		if bytes.Contains(b, []byte(value)) {
			t.Errorf("the measurement holds the secret: %s", b)
		}
	}
}

func TestLeaksOfACleanCommit(t *testing.T) {
	needsTools(t)
	source := sourceOf(t, map[string]string{"a.go": "package a\n", "docs/b.md": "# b\n"})
	if err := os.Symlink("a.go", filepath.Join(source, "link")); err != nil {
		t.Fatal(err)
	}
	p := completed[LeaksPayload](t, Leaks(), sourceInput(t, source))
	if p.Files != 2 || p.Secrets != 0 || len(p.Findings) != 0 {
		t.Errorf("%+v", p)
	}
}

// A folder whose path gitleaks passes over must not make everything clean.
func TestLeaksDoesNotDependOnWhereTheCommitIs(t *testing.T) {
	needsTools(t)
	_, _, text := planted()
	source := sourceOf(t, map[string]string{"node_modules/export/a.txt": text})
	p := completed[LeaksPayload](t, Leaks(), sourceInput(t, filepath.Join(source, "node_modules", "export")))
	if p.Secrets == 0 || p.Files != 1 {
		t.Errorf("%+v", p)
	}
}

// A search that finds nothing at all, not even what was planted, is no pass.
func TestLeaksProvesThatItsMeterWorks(t *testing.T) {
	in := sourceInput(t, sourceOf(t, map[string]string{"a.txt": "a\n"}))
	fake := func(script string) {
		in.Tools = sourceOf(t, map[string]string{"gitleaks@" + toolsGitleaks.version + "/gitleaks": "#!/bin/sh\n" + script + "\n"})
	}
	fake(`echo '[]' > ../report.json`)
	if m, err := Leaks().Measure(t.Context(), in); err != nil || m.Status != Invalid || m.Payload != nil {
		t.Errorf("nothing found: %+v, %v", m, err)
	}
	for name, script := range map[string]string{
		"no report":    "exit 0",
		"broken":       "echo '[' > ../report.json",
		"exit code":    "echo '[]' > ../report.json; exit 1",
		"another file": `echo '[{"File":"probe.txt"},{"File":"commit/b.txt"}]' > ../report.json`,
	} {
		fake(script)
		if m, err := Leaks().Measure(t.Context(), in); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestLeaksWithoutWhatItNeedsIsUnavailable(t *testing.T) {
	unavailable(t, Leaks(), sourceInput(t, ""), "source")
	in := sourceInput(t, t.TempDir())
	in.Tools = ""
	unavailable(t, Leaks(), in, "folder")
}
