package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/environments"
)

// TestAContractSettlesTheSchema: what it has taken away is no drift.
func TestAContractSettlesTheSchema(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	dir := filepath.Join(filepath.Dir(p.opt.Paths.State), "contracts")
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"go.mod": "module example.org/hello\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, "src", file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.releases["one"] = makeRelease(t, p.opt.Store, dir, &environments.App{
		Name: "hello", Serve: environments.Serve{Ready: "/readyz"},
		Migrate: &environments.Migrate{Args: []string{"migrate"}, Timeout: environments.Duration(10 * time.Second), Contract: &environments.Contract{Name: "drop-old", Args: []string{"contract"}}},
	})
	ctx, rev := t.Context(), p.rev("one")
	if s := p.now().Schema; s != nil {
		t.Fatalf("before any migration: %+v", s)
	}
	p.must(p.Migrate(ctx, 1, rev))
	before := p.now().Schema
	if before == nil || before.Problem != "" || before.Now != before.Left || before.Release != rev.Release {
		t.Fatalf("after the migration: %+v", before)
	}
	owner, err := pgx.Connect(ctx, p.database().MigratorURL())
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close(ctx)
	if _, err := owner.Exec(ctx, "CREATE TABLE orders (id int)"); err != nil {
		t.Fatal(err)
	}
	p.must(p.Contract(ctx, 1, rev))
	if s := p.now().Schema; s == nil || s.Problem != "" || s.Now != s.Left || s.Left == before.Left {
		t.Errorf("after the contract: %+v, before %+v", s, before)
	}
	if err := os.WriteFile(p.opt.Paths.schema(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := p.now().Schema; s == nil || !strings.Contains(s.Problem, "schema.json") {
		t.Errorf("what can't be read is %+v", s)
	}
}

func TestTheFingerprintIsTriedAgain(t *testing.T) {
	n := 0
	got, err := tried(t.Context(), func(context.Context) (string, error) {
		if n++; n < 3 {
			return "", errors.New("boom")
		}
		return "md5:1", nil
	})
	if got != "md5:1" || err != nil || n != 3 {
		t.Errorf("%q, %v after %d", got, err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n = 0
	if _, err := tried(ctx, func(context.Context) (string, error) { n++; return "", ctx.Err() }); err == nil || n != 1 {
		t.Errorf("%v after %d", err, n)
	}
}

func TestWhatMigrationsHaveLeft(t *testing.T) {
	p := Paths{State: t.TempDir(), Environment: "staging"}
	if err := os.MkdirAll(filepath.Dir(p.schema()), 0o755); err != nil {
		t.Fatal(err)
	}
	if f, err := p.left(); f != nil || err != nil {
		t.Errorf("nothing: %+v, %v", f, err)
	}
	for text, sound := range map[string]bool{`{"release":"r","digest":"md5:1"}`: true, `{`: false, ``: false, `{}`: false} {
		if err := os.WriteFile(p.schema(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := p.left(); (err == nil) != sound || sound && f.Digest != "md5:1" {
			t.Errorf("%q: %+v, %v", text, f, err)
		}
	}
}
