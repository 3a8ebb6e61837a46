package checks

import (
	"os"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/environments"
)

// declared reads the repository's own declarations, changed by replacements
// (file, old text, new text), and returns what the check gets to see of them.
func declared(t *testing.T, environment string, replace ...[3]string) Input {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"app", "staging", "production", "trust"} {
		b, err := os.ReadFile("../environments/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		files["environments/"+name+".yaml"] = string(b)
	}
	for _, r := range replace {
		name := "environments/" + r[0] + ".yaml"
		if !strings.Contains(files[name], r[1]) {
			t.Fatalf("%s does not hold %q", name, r[1])
		}
		files[name] = strings.Replace(files[name], r[1], r[2], 1)
	}
	source := sourceOf(t, files)
	d, err := environments.Read(os.DirFS(source))
	if err != nil {
		t.Fatal(err)
	}
	return Input{Declarations: d, Environment: d.Environment(environment), Source: source, Root: environments.Dir}
}

func TestConfigOfTheRepositoryItselfIsSound(t *testing.T) {
	for _, name := range []string{"staging", "production"} {
		p := completed[ConfigPayload](t, Config(), declared(t, name))
		if len(p.Findings) > 0 || p.Values == 0 || strings.Join(p.Environments, " ") != "staging production" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestConfigRules(t *testing.T) {
	const config = "config:\n  LOG_LEVEL: info\n"
	const serve = "    ENVIRONMENT: ${ENVIRONMENT}\n"
	added := func(line string) [3]string {
		return [3]string{"production", config, config + "  " + line + "\ndiffers: [X]\n"}
	}
	shared := func(line string) [3]string { return [3]string{"app", serve, serve + "    " + line + "\n"} }
	for name, c := range map[string]struct {
		replace []([3]string)
		rule    string
		level   string
		line    string // text of the line that the finding names
		says    string
	}{
		"a difference":                 {[][3]string{{"production", config, "config:\n  LOG_LEVEL: debug\n"}}, "undeclared-difference", "high", "  LOG_LEVEL: debug", "differs from staging"},
		"one more":                     {[][3]string{{"production", config, config + "  MORE: 1\n"}}, "undeclared-difference", "high", "  MORE: 1", "differs from staging"},
		"one less":                     {[][3]string{{"staging", config, config + "  LESS: 1\n"}}, "undeclared-difference", "high", "  LOG_LEVEL: info", "missing in production"},
		"a secret there, not here":     {[][3]string{{"production", config, "secrets:\n  LOG_LEVEL: {env: LEVEL}\n"}}, "undeclared-difference", "high", "  LOG_LEVEL: {env: LEVEL}", "differs from staging"},
		"a secret's name in plain":     {[][3]string{{"production", config, "config:\n  LOG_LEVEL: secret\n"}, {"staging", config, "secrets:\n  LOG_LEVEL: {env: LEVEL}\n"}}, "undeclared-difference", "high", "  LOG_LEVEL: secret", "differs from staging"},
		"an idle declaration":          {[][3]string{{"production", config, config + "differs:\n  - LOG_LEVEL\n"}}, "idle-difference", "medium", "  - LOG_LEVEL", "does not differ"},
		"a declaration of nothing":     {[][3]string{{"production", config, config + "differs: [NONE]\n"}}, "idle-difference", "medium", "differs: [NONE]", "does not differ"},
		"an address":                   {[][3]string{shared("PEER: http://10.1.2.3:80/x")}, "hardcoded-address", "high", "    PEER: http://10.1.2.3:80/x", "10.1.2.3"},
		"an address in JSON":           {[][3]string{shared(`PEER: '{"peers":["10.1.2.3:80"]}'`)}, "hardcoded-address", "high", `    PEER: '{"peers":["10.1.2.3:80"]}'`, "10.1.2.3"},
		"an address beside a port":     {[][3]string{shared("PEER: 10.1.2.3:${PORT}")}, "hardcoded-address", "high", "    PEER: 10.1.2.3:${PORT}", "10.1.2.3"},
		"an address of six":            {[][3]string{shared("PEER: '[2001:db8::1]:80'")}, "hardcoded-address", "high", "    PEER: '[2001:db8::1]:80'", "2001:db8::1"},
		"a host":                       {[][3]string{shared("PEER: https://db.example.com/x")}, "hardcoded-address", "medium", "    PEER: https://db.example.com/x", "db.example.com"},
		"an address in an argument":    {[][3]string{{"app", "args: [serve]", "args: [serve, --peer=10.1.2.3]"}}, "hardcoded-address", "high", "  args: [serve, --peer=10.1.2.3]", "10.1.2.3"},
		"a password in an address":     {[][3]string{added("X: postgres://app:hunter2@127.0.0.1/x")}, "credential", "high", "  X: postgres://app:hunter2@127.0.0.1/x", "password"},
		"a password beside a variable": {[][3]string{shared("PEER: postgres://app:hunter2@127.0.0.1/${ENVIRONMENT}")}, "credential", "high", "    PEER: postgres://app:hunter2@127.0.0.1/${ENVIRONMENT}", "password"},
		"a password in words":          {[][3]string{added("X: host=127.0.0.1 password=hunter2")}, "credential", "high", "  X: host=127.0.0.1 password=hunter2", "password"},
		"a secret by name":             {[][3]string{{"production", config, config + "  API_KEY: hunter2\ndiffers: [API_KEY]\n"}}, "credential", "high", "  API_KEY: hunter2", "named like a secret"},
		"a secret by looks":            {[][3]string{added("X: " + "q8Zr2LmV9xTb4KcW7nYp3HdG")}, "credential", "high", "  X: " + "q8Zr2LmV9xTb4KcW7nYp3HdG", "looks like a secret"},
		"a secret of migrate":          {[][3]string{{"app", "    DATABASE_URL: ${DATABASE_URL}\n  timeout", "    DATABASE_URL: postgres://a:hunter2@127.0.0.1/x\n  timeout"}}, "credential", "high", "    DATABASE_URL: postgres://a:hunter2@127.0.0.1/x", "password"},
		"a secret in an argument":      {[][3]string{{"app", "args: [migrate]", "args: [migrate, --token=hunter2]"}}, "credential", "high", "  args: [migrate, --token=hunter2]", "named like a secret"},
		"a secret in a header":         {[][3]string{{"app", "        Content-Type: application/json\n", "        Content-Type: application/json\n        Authorization: Bearer hunter2\n"}}, "credential", "high", "        Authorization: Bearer hunter2", "named like a secret"},
	} {
		t.Run(name, func(t *testing.T) {
			in := declared(t, "production", c.replace...)
			p := completed[ConfigPayload](t, Config(), in)
			f := found(t, p.Findings, c.rule)
			if len(p.Findings) != 1 || f.Severity != c.level || !strings.Contains(f.Message, c.says) || strings.Contains(f.Message+f.Fix, "hunter2") {
				t.Errorf("%+v", p.Findings)
			}
			b, err := os.ReadFile(in.Source + "/" + f.File)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(b), "\n")
			if f.Line < 1 || f.Line > len(lines) || lines[f.Line-1] != c.line {
				t.Errorf("%s, want the line %q", at(f), c.line)
			}
			in.Source = ""
			if f := found(t, completed[ConfigPayload](t, Config(), in).Findings, c.rule); f.Line != 0 {
				t.Errorf("a line without the source: %+v", f)
			}
		})
	}
}

func TestConfigLeavesHarmlessValuesAlone(t *testing.T) {
	const config = "config:\n  LOG_LEVEL: info\n"
	harmless := `  TOKEN_TTL: 15m
  PASSWORD_MIN_LENGTH: "12"
  PASSWORD_FILE: /run/secrets/password
  REQUIRE_TOKEN: "true"
  ADDRESS: 10.1.2.3
  PEER: https://db.example.com
  IMAGE: registry.example.com/team/service:v1.2.3-very-long-tag
`
	in := declared(t, "production",
		[3]string{"staging", config, config + harmless}, [3]string{"production", config, config + harmless},
		[3]string{"app", "    ENVIRONMENT: ${ENVIRONMENT}\n", "    ENVIRONMENT: ${ENVIRONMENT}\n    SESSION_TOKEN: ${INSTANCE}\n    BIND: 0.0.0.0:${PORT}\n    ALSO: '[::1]:1'\n    SELF: http://localhost:${PORT}/\n    VERSION: 1.2.3\n"})
	if p := completed[ConfigPayload](t, Config(), in); len(p.Findings) > 0 {
		t.Errorf("%+v", p.Findings)
	}
	// A secret may come from somewhere else in each environment.
	in = declared(t, "production",
		[3]string{"staging", config, config + "secrets:\n  KEY: {env: STAGING_KEY}\n"},
		[3]string{"production", config, config + "secrets:\n  KEY: {file: /etc/key}\ndiffers: [KEY]\n"})
	if p := completed[ConfigPayload](t, Config(), in); len(p.Findings) > 0 {
		t.Errorf("%+v", p.Findings)
	}
}

func TestConfigWithoutAnEnvironmentIsUnavailable(t *testing.T) {
	in := declared(t, "production")
	in.Environment = nil
	unavailable(t, Config(), in, "environment")
	in.Environment = &environments.Environment{Name: "other"}
	unavailable(t, Config(), in, "environment")
}
