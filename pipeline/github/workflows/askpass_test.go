package workflows

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGitGetsTheTokenForItsServerAlone runs the step that every job has which
// reaches the ledger, and lets git ask.
func TestGitGetsTheTokenForItsServerAlone(t *testing.T) {
	var script string
	for _, j := range parse(t, render(t, kinds()["own"])[Dir+"/"+Promote]).Jobs {
		for _, s := range j.Steps {
			if strings.HasPrefix(s.Name, "Let gate reach") {
				script = s.Run
			}
		}
	}
	if script == "" {
		t.Fatal("no step gives git the token")
	}
	var asked []string
	serve := func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		asked = append(asked, user+" "+password)
		w.WriteHeader(http.StatusForbidden)
	}
	server, other := httptest.NewServer(http.HandlerFunc(serve)), httptest.NewServer(http.HandlerFunc(serve))
	defer server.Close()
	defer other.Close()

	const token = `ghs_a"b$c\d`
	dir := filepath.Join(t.TempDir(), "a runner's folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	environment := filepath.Join(dir, "environment")
	cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script)
	cmd.Env = append(os.Environ(), "RUNNER_TEMP="+dir, "GITHUB_ENV="+environment, "GITHUB_SERVER_URL="+server.URL, "GITHUB_TOKEN="+token)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	line, err := os.ReadFile(environment)
	if err != nil {
		t.Fatal(err)
	}
	name, askpass, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
	if name != "GIT_ASKPASS" {
		t.Fatalf("it sets %q", line)
	}
	for file, want := range map[string]os.FileMode{askpass: 0o700, filepath.Join(dir, "token"): 0o600} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	for _, url := range []string{server.URL, other.URL} {
		git := exec.Command("git", "ls-remote", url+"/o/r")
		git.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=" + askpass, "LC_ALL=C"}
		if out, err := git.CombinedOutput(); err == nil {
			t.Errorf("git got something from %s: %s", url, out)
		}
	}
	if len(asked) != 1 || asked[0] != "x-access-token "+token {
		t.Errorf("git showed %q", asked)
	}
	for _, question := range []string{"Password for 'https://x-access-token@github.com.evil.example': ", "Username for '" + server.URL + ".evil': ", ""} {
		if out, err := exec.Command(askpass, question).Output(); err == nil || len(out) > 0 {
			t.Errorf("%q is answered with %q", question, out)
		}
	}
}
