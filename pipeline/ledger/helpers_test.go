package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// TestMain lets a test run this binary as another writer.
func TestMain(m *testing.M) {
	if role := os.Getenv("LEDGER_TEST_ROLE"); role != "" {
		if err := helper(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helper appends LEDGER_TEST_COUNT statements, or requests, and says each one
// that is durable on its standard output.
func helper(role string) error {
	ctx, dir := context.Background(), os.Getenv("LEDGER_TEST_DIR")
	var trust *environments.Trust
	if text := os.Getenv("LEDGER_TEST_TRUST"); text != "" {
		if err := json.Unmarshal([]byte(text), &trust); err != nil {
			return err
		}
	}
	if role == "sync" {
		return syncing(ctx, dir, trust)
	}
	key, _, err := LoadOrCreateKey(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	l, err := Open(ctx, Options{Dir: dir, App: "shop", Signer: key, Now: time.Now})
	if err != nil {
		return err
	}
	defer l.Close()
	count, err := strconv.Atoi(os.Getenv("LEDGER_TEST_COUNT"))
	if err != nil {
		return err
	}
	for i := range count {
		name := fmt.Sprintf("%s-%d-%d", os.Getenv("LEDGER_TEST_NAME"), os.Getpid(), i)
		switch role {
		case "open":
		case "append":
			_, err = l.Append(ctx, statement(name))
		case "request":
			name, err = l.Request(ctx, "staging", Request{Release: digestOf([]byte(name)), By: name})
		default:
			err = fmt.Errorf("no role %s", role)
		}
		if err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}

func helperCommand(t testing.TB, role, dir, name string, count int) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), "LEDGER_TEST_ROLE="+role, "LEDGER_TEST_DIR="+dir, "LEDGER_TEST_NAME="+name, "LEDGER_TEST_COUNT="+strconv.Itoa(count))
	return cmd
}

func statement(name string) Statement {
	p, _ := json.Marshal(map[string]any{"check": name, "payload": strings.Repeat("x<&>", 50)})
	return Statement{Type: "https://gate.smartcloudops.dev/evidence/v1", Subject: []Subject{Named(name)}, Predicate: p}
}

func testKey(t testing.TB, dir string) *Key {
	t.Helper()
	k, _, err := LoadOrCreateKey(filepath.Join(dir, "key"))
	must(t, err)
	return k
}

// open opens the ledger in dir with the key that lies there.
func openIn(t testing.TB, dir string, change ...func(*Options)) *Ledger {
	t.Helper()
	l, err := tryOpen(t, dir, change...)
	must(t, err)
	return l
}

func tryOpen(t testing.TB, dir string, change ...func(*Options)) (*Ledger, error) {
	t.Helper()
	opt := Options{Dir: dir, App: "shop", Signer: testKey(t, dir), Now: time.Now}
	for _, c := range change {
		c(&opt)
	}
	l, err := Open(t.Context(), opt)
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, err
}

func trusting(tr environments.Trust) func(*Options) {
	return func(o *Options) { o.Trust = &tr }
}

// state is a fresh state directory. t.TempDir itself is open to others.
func state(t testing.TB) string { return filepath.Join(t.TempDir(), "state") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// git runs a git of a person, not of the ledger.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func appendN(t testing.TB, l *Ledger, n int) []Entry {
	t.Helper()
	var out []Entry
	for i := range n {
		e, err := l.Append(t.Context(), statement(fmt.Sprintf("check-%d", i)))
		must(t, err)
		out = append(out, e)
	}
	return out
}

func verified(t testing.TB, l *Ledger) Report {
	t.Helper()
	r, err := l.Verify(t.Context())
	if err != nil {
		t.Fatalf("verify: %v\n%+v", err, r.Problems)
	}
	return r
}
