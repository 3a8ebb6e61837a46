package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/policies"
)

// gateBinary is the program under test, built once.
var gateBinary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gate-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		gateBinary = filepath.Join(dir, "gate")
		build := exec.Command("go", "build", "-o", gateBinary, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build gate: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// world is a clone of its own with a state directory of its own, on ports of
// its own. When the test ends nothing of it runs.
type world struct {
	t     *testing.T
	root  string
	clone string
	state string
	env   []string
	ports map[string]int // environment → port
}

// fast are measurements that are short, but real, and thresholds to match.
const fast = `thresholds:
  load: {min_seconds: 3, min_users: 10, min_requests: 20, success: 0.9, p95_seconds: 1, p99_seconds: 2, min_headroom: 0.5}
  update: {min_requests: 100, slack_seconds: 0.5}
` + shortDrills

// shortDrills are thresholds that drills of a second or two can meet on a machine
// that has more to do, and
// quickScaling has instances come and go as fast.
const (
	shortDrills = "  rollback: {min_requests: 50, max_seconds: 120, slack_seconds: 0.5}\n  restart: {min_requests: 20, min_writes: 5}\n  scaling: {min_requests: 50}\n  backup: {slack_seconds: 0.5}\n" +
		"  migration: {min_acknowledged: 20, min_app_acknowledged: 5, max_interval_seconds: 5, max_lock_seconds: 10, max_wait_seconds: 10}\n" +
		"  canary: {block_pairs: 20, block_seconds: 0, error_margin: 0.05, latency_margin: 0.5, latency_slack_seconds: 0.02}\n"
	quickScaling = "scaling: {metric: concurrency, target: 4, up_after: 500ms, down_after: 1s}\n"
)

// newWorld makes a clone of this repository as it stands, uncommitted changes
// included, with declarations made fast.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := emptyWorld(t)
	w.copyRepository()
	w.replace("environments/app.yaml",
		"users: 50", "users: 20", "think: 1s", "think: 100ms", "warmup: 10s", "warmup: 1s",
		"closed: 60s", "closed: 4s", "open: 60s", "open: 3s", "step: 5s", "step: 1s", "knee: 40s", "knee: 4s", "rate: 300", "rate: 100", "lead: 1500ms", "lead: 500ms", "writes: 4s", "writes: 1s",
		"[go, test, ./app/...]", "[go, test, ./app]", "start_timeout: 20s", "start_timeout: 5s", "ramp: 8s", "ramp: 5s")
	w.replace("environments/production.yaml", "soak: 10s", "soak: 2s", "min_samples: 300", "min_samples: 100", "limit: 2m", "limit: 20s")
	w.replace("environments/staging.yaml", "target: 8", "target: 4", "up_after: 1s", "up_after: 500ms", "down_after: 10s", "down_after: 1s")
	for _, e := range []string{"staging", "production"} {
		w.append("environments/"+e+".yaml", fast)
	}
	w.usePorts()
	w.git("init", "-q", "-b", "main")
	w.commit("begin")
	return w
}

// emptyWorld is a world without a clone in it.
func emptyWorld(t *testing.T) *world {
	t.Helper()
	// t.TempDir is closed to other users, and PostgreSQL and the app run as such.
	root, err := os.MkdirTemp("", "gate-world-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, root: root, clone: filepath.Join(root, "clone"), state: filepath.Join(root, "state"), ports: map[string]int{}}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); !strings.HasPrefix(name, "GATE_") && name != "GOVULNDB" && !strings.HasPrefix(name, "GIT_") {
			w.env = append(w.env, kv)
		}
	}
	w.env = append(w.env, "GATE_STATE="+w.state, "GOVULNDB=file://"+vulnerabilities(t, filepath.Join(root, "vulndb")),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.org", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.org")
	if err := os.MkdirAll(w.clone, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	return w
}

// end takes everything down and complains of what is left.
func (w *world) end() {
	if w.t.Failed() {
		for _, e := range []string{"staging", "production"} {
			b, _ := os.ReadFile(filepath.Join(w.state, "env", e, "daemon.log"))
			w.t.Logf("end of the log of %s:\n%s", e, b[max(0, len(b)-4000):])
		}
	}
	for e := range w.ports {
		w.gate("down", e)
	}
	deadline := time.Now().Add(15 * time.Second)
	for {
		left := w.processes()
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			for pid, cmd := range left {
				w.t.Errorf("process %d outlives the test: %s", pid, cmd)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	if err := os.RemoveAll(w.root); err != nil {
		w.t.Logf("remove %s: %v", w.root, err)
	}
}

// processes are those that have to do with this world.
func (w *world) processes() map[int]string {
	found := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmd, _ := os.ReadFile(d + "/cmdline")
		env, _ := os.ReadFile(d + "/environ")
		if len(cmd) > 0 && (bytes.Contains(cmd, []byte(w.root)) || bytes.Contains(env, []byte(w.root))) {
			found[pid] = strings.ReplaceAll(string(cmd), "\x00", " ")
		}
	}
	return found
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
	took     time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("exit %d after %s\n-- out\n%s\n-- err\n%s", r.code, r.took.Round(time.Millisecond), r.out, r.err)
}

// gate runs gate in the clone.
func (w *world) gate(args ...string) result { return w.gateIn(w.clone, args...) }

func (w *world) gateIn(dir string, args ...string) result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return w.run(w.command(ctx, dir, args...))
}

// command is gate, to be started by the caller.
func (w *world) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, gateBinary, args...)
	cmd.Dir, cmd.Env = dir, w.env
	return cmd
}

func (w *world) run(cmd *exec.Cmd) result {
	w.t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 5 * time.Second
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("%v: %v", cmd.Args, err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String(), time.Since(began)}
}

// want runs gate and fails unless it ends with the code.
func (w *world) want(code int, args ...string) result {
	w.t.Helper()
	r := w.gate(args...)
	if r.code != code {
		w.t.Fatalf("gate %s: want exit %d\n%s", strings.Join(args, " "), code, r)
	}
	return r
}

// outcome is what gate run says in JSON.
type outcome struct {
	Release    string              `json:"release"`
	Exit       int                 `json:"exit"`
	Summary    string              `json:"summary"`
	Decisions  []policies.Decision `json:"decisions"`
	Promotions []struct {
		Environment, State, Why, Release string
		Synthetic                        bool
	} `json:"promotions"`
	Evidence []struct {
		Reused   bool `json:"reused"`
		Evidence struct {
			Check   string          `json:"check"`
			Status  string          `json:"status"`
			Payload json.RawMessage `json:"payload"`
		} `json:"evidence"`
	} `json:"evidence"`
}

// settle runs the pipeline until the verdict is not that too little is known: a
// machine that was too busy to measure is asked again, and in the end to measure
// anew and pool.
func (w *world) settle(args ...string) result {
	w.t.Helper()
	var r result
	for _, more := range [][]string{nil, nil, {"--fresh"}} {
		r = w.gate(append(append([]string{"run"}, args...), more...)...)
		if r.code != promotion.CodeInconclusive {
			break
		}
		w.t.Logf("inconclusive, and asked again: %.400s", r.out[max(0, strings.LastIndex(r.out, "inconclusive")):])
	}
	return r
}

// runs runs the pipeline and fails unless it ends with the code.
func (w *world) runs(code int, args ...string) outcome {
	w.t.Helper()
	r := w.settle(append([]string{"--output", "json"}, args...)...)
	if r.code != code {
		w.t.Fatalf("gate run %s: want exit %d\n%s", strings.Join(args, " "), code, r)
	}
	var o outcome
	if err := json.Unmarshal([]byte(r.out), &o); err != nil {
		w.t.Fatalf("gate run wrote no JSON: %v\n%s", err, r)
	}
	return o
}

// criterion is the verdict on one criterion in the last decision.
func (o outcome) criterion(id string) policies.Criterion {
	if n := len(o.Decisions); n > 0 {
		for _, c := range o.Decisions[n-1].Criteria {
			if c.ID == id {
				return c
			}
		}
	}
	return policies.Criterion{ID: id, Verdict: "absent"}
}

// git runs git in the clone.
func (w *world) git(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = w.clone, w.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits everything.
func (w *world) commit(message string) {
	w.t.Helper()
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", message)
}

func (w *world) path(file string) string { return filepath.Join(w.clone, file) }

func (w *world) read(file string) string {
	w.t.Helper()
	b, err := os.ReadFile(w.path(file))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *world) write(file, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(file)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.path(file), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) append(file, text string) { w.t.Helper(); w.write(file, w.read(file)+text) }

// replace replaces pairs of old and new text, each of which must be there.
func (w *world) replace(file string, pairs ...string) {
	w.t.Helper()
	text := w.read(file)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			w.t.Fatalf("%s no longer holds %q", file, pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	w.write(file, text)
}

// session is what a command of gate works with, in this process. The caller
// must close it.
func (w *world) session() *session {
	w.t.Helper()
	g := &Globals{Dir: w.clone, Output: "text", Streams: Streams{Out: io.Discard, Err: io.Discard, Environ: w.env, Getenv: func(name string) string {
		i := slices.IndexFunc(w.env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
		if i < 0 {
			return ""
		}
		return strings.TrimPrefix(w.env[i], name+"=")
	}}}
	s, err := g.open(w.t.Context())
	if err != nil {
		w.t.Fatal(errors.Join(err, errors.New("open the world's ledger")))
	}
	return s
}

// usePorts moves the declared environments to free ports.
func (w *world) usePorts() {
	w.t.Helper()
	for _, e := range []string{"staging", "production"} {
		w.ports[e] = freePort(w.t)
		file := "environments/" + e + ".yaml"
		for line := range strings.Lines(w.read(file)) {
			if strings.HasPrefix(line, "listen:") {
				w.replace(file, line, fmt.Sprintf("listen: 127.0.0.1:%d\n", w.ports[e]))
			}
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// copyRepository copies the files of this repository that git knows, or would.
func (w *world) copyRepository() {
	w.t.Helper()
	top := repository(w.t)
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = top
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("list the files of %s: %v", top, err)
	}
	for _, f := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		w.copyFile(filepath.Join(top, f), f)
	}
}

// copyTree copies a folder of this repository to the top of the clone.
func (w *world) copyTree(dir string) {
	w.t.Helper()
	from := filepath.Join(repository(w.t), dir)
	err := filepath.WalkDir(from, func(file string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, rerr := filepath.Rel(from, file)
			if rerr != nil {
				return rerr
			}
			w.copyFile(file, rel)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) copyFile(from, to string) {
	w.t.Helper()
	fi, err := os.Lstat(from)
	if errors.Is(err, os.ErrNotExist) {
		return // deleted, and not yet committed so
	}
	if err != nil || !fi.Mode().IsRegular() {
		w.t.Fatalf("%s is no plain file: %v", from, err)
	}
	b, err := os.ReadFile(from)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(w.path(to)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.path(to), b, fi.Mode().Perm()); err != nil {
		w.t.Fatal(err)
	}
}

func repository(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Fatalf("these tests clone the repository that they stand in: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// vulnerabilities writes a vulnerability database of today that knows one
// vulnerable function, so that no test depends on what the world knows.
func vulnerabilities(t *testing.T, dir string) string {
	t.Helper()
	now := time.Now().UTC().Format(time.RFC3339)
	for name, text := range map[string]string{
		"index/db.json":      fmt.Sprintf(`{"modified":%q}`, now),
		"index/modules.json": fmt.Sprintf(`[{"path":"golang.org/x/text","vulns":[{"id":"GO-2000-0001","modified":%q}]}]`, now),
		"index/vulns.json":   fmt.Sprintf(`[{"id":"GO-2000-0001","modified":%q}]`, now),
		"ID/GO-2000-0001.json": fmt.Sprintf(`{"schema_version":"1.3.1","id":"GO-2000-0001","modified":%q,"published":%q,
			"summary":"A function that the tests take for vulnerable","details":"It is not.",
			"affected":[{"package":{"name":"golang.org/x/text","ecosystem":"Go"},
			"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
			"ecosystem_specific":{"imports":[{"path":"golang.org/x/text/language","symbols":["ParseAcceptLanguage"]}]}}]}`, now, now),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
