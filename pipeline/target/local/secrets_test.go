package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

// keeper is an app with a secret, which it keeps or not, as MODE says.
const keeper = `package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

var baked = %q

func main() {
	mode, key := os.Getenv("MODE"), os.Getenv("API_KEY")
	if strings.Contains(mode, "log") {
		fmt.Println("starting with", key)
	}
	if strings.Contains(mode, "argv") {
		if err := exec.Command("/bin/sh", "-c", "sleep 1000; true", "sh", key).Start(); err != nil {
			panic(err)
		}
	}
	if strings.Contains(mode, "open") {
		if _, err := net.Listen("tcp4", "0.0.0.0:0"); err != nil {
			panic(err)
		}
		if _, err := net.ListenPacket("udp", "[::]:0"); err != nil {
			panic(err)
		}
	}
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		file, _ := os.ReadFile(os.Getenv("FILE"))
		fmt.Fprintf(w, "%%s %%s %%s %%d", key, file, os.Getenv("PLAIN"), len(baked))
	})
	panic(http.ListenAndServe(os.Getenv("LISTEN"), nil))
}
`

// kept is an environment with secrets from a file, a command and a variable.
type kept struct {
	*place
	file, value string
	own         string // file of a secret of the daemon's own
	unset       bool   // the variable
	operations  chan target.Operation
}

func newKept(t *testing.T) *kept {
	p := newPlace(t)
	p.down() // it is opened again with secrets
	k := &kept{place: p, value: rand.Text() + "/+" + rand.Text(), file: filepath.Join(p.opt.Paths.State, "api-key")}
	k.put(k.value)
	k.operations = make(chan target.Operation, 100)
	p.opt.Operations = func(_ context.Context, all []target.Operation, _ int) error {
		for _, op := range all {
			if op.Kind == target.Rotation {
				k.operations <- op
			}
		}
		return nil
	}
	getenv := p.opt.Getenv
	p.opt.Getenv = func(name string) string {
		if name == "KEEPER_PLAIN" && !k.unset {
			return "plain-" + p.opt.Paths.Environment
		}
		return getenv(name)
	}
	p.opt.Declared.Secrets = map[string]environments.Secret{
		"API_KEY": {File: k.file, Every: environments.Duration(time.Second)},
		"TOKEN":   {Command: []string{"/bin/echo", "told-by-a-command"}},
		"PLAIN":   {Env: "KEEPER_PLAIN"},
	}
	k.own = filepath.Join(p.opt.Paths.State, "own-key")
	p.must(os.WriteFile(k.own, []byte(rand.Text()), 0o600))
	p.opt.Declared.Alerts = &environments.Alerts{Local: true, Heartbeat: &environments.Webhook{
		URL: "http://127.0.0.1:1/", Secret: &environments.Secret{File: k.own, Every: environments.Duration(time.Second)},
	}}
	serve := environments.Serve{
		Env:   map[string]string{"LISTEN": "127.0.0.1:${PORT}", "API_KEY": "${secret:API_KEY}", "FILE": "${secret_file:TOKEN}"},
		Ready: "/readyz", StartTimeout: environments.Duration(5 * time.Second), StopTimeout: environments.Duration(5 * time.Second),
	}
	root := filepath.Dir(p.opt.Paths.State)
	for name, baked := range map[string]string{"keeper": "", "baker": k.value} {
		p.releases[name] = buildApp(t, p.opt.Store, filepath.Join(root, name), name, fmt.Sprintf(keeper, baked), serve)
	}
	p.open()
	return k
}

func (k *kept) put(value string) {
	k.t.Helper()
	temp := k.file + ".new"
	if err := os.WriteFile(temp, []byte(value+"\n"), 0o600); err != nil {
		k.t.Fatal(err)
	}
	if err := os.Rename(temp, k.file); err != nil {
		k.t.Fatal(err)
	}
}

// serve has the release serve in a mode.
func (k *kept) serve(token int64, name, mode string) {
	k.t.Helper()
	e := *k.opt.Declared
	e.Config = map[string]string{"MODE": mode}
	rev := k.rev(name)
	rev.Environment = &e
	k.must(k.Complete(k.t.Context(), token, rev))
	k.must(k.Retire(k.t.Context(), token))
}

// searched is a target with a ledger of its own.
type searched struct {
	*Client
	kept   *kept
	ledger string
}

func (s searched) Writings(ctx context.Context, release string, each func(kind, name string, text io.Reader) error) error {
	err := s.Logs(ctx, each)
	if err == nil {
		err = s.kept.opt.Store.Texts(release, func(name string, text io.Reader) error { return each("image", name, text) })
	}
	if err == nil {
		err = each("ledger", "sha256:1", strings.NewReader(s.ledger))
	}
	return err
}

func (k *kept) input(name, ledger string) checks.Input {
	source := k.t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "README.md"), []byte("nothing to see\n"), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return checks.Input{
		Environment: k.opt.Declared, Release: k.releases[name], Source: source,
		Target: searched{NewClient(k.opt.Paths), k, ledger},
	}
}

func (k *kept) network() checks.NetworkPayload {
	k.t.Helper()
	m, err := checks.Network().Measure(k.t.Context(), k.input("keeper", "{}"))
	if err != nil || m.Status != checks.Completed {
		k.t.Fatalf("%+v %v", m, err)
	}
	return m.Payload.(checks.NetworkPayload)
}

func (k *kept) search(name, ledger string) checks.SecretsPayload {
	k.t.Helper()
	m, err := checks.Secrets().Measure(k.t.Context(), k.input(name, ledger))
	if err != nil || m.Status != checks.Completed {
		k.t.Fatalf("%+v %v", m, err)
	}
	b, err := json.Marshal(m)
	if err != nil {
		k.t.Fatal(err)
	}
	if bytes.Contains(b, []byte(k.value)) {
		k.t.Fatal("the measurement holds the secret")
	}
	return m.Payload.(checks.SecretsPayload)
}

// found are the findings as "rule place".
func found(p checks.SecretsPayload) []string {
	out := []string{}
	for _, f := range p.Findings {
		place := f.File
		if i := strings.IndexAny(place, "0123456789"); i > 0 {
			place = place[:i]
		}
		if s := f.Rule + " " + strings.TrimSpace(place); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// holds waits until every instance answers with the secret's value.
func (k *kept) holds(value string) {
	k.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		good := 0
		for range 6 {
			if body := k.get(); strings.HasPrefix(body, value+" told-by-a-command plain-staging ") {
				good++
			}
		}
		if good == 6 {
			return
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("not every instance has the new value: %q %+v", k.get()[:4], k.now())
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestSecretsAndNetwork: what is declared is delivered, follows its source
// without a lost request, and what gets out is found; so is a listener.
func TestSecretsAndNetwork(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: a real app and a real PostgreSQL. Without it nothing here shows that secrets are delivered, rotated and found")
	}
	k := newKept(t)
	k.serve(1, "keeper", "")
	k.holds(k.value)

	n := k.network()
	if !n.Balancer || n.Exposed != 0 || n.Instances != 2 || n.Looks != 2 || !slices.ContainsFunc(n.Listeners, func(l checks.NetworkListener) bool { return l.Role == "database" }) {
		t.Errorf("%+v", n)
	}
	clean := k.search("keeper", "{}")
	if clean.Found != 0 || clean.Unresolved != 0 || clean.Known != 7 || len(clean.Secrets) != 4 || clean.Secrets[0].AgeSeconds == nil {
		t.Errorf("%+v", clean)
	}
	for _, place := range clean.Places {
		if place.Items == 0 || place.Bytes == 0 {
			t.Errorf("nothing looked at: %+v", place)
		}
	}

	before, release := k.pids("stable"), k.now().Stable
	quiet := k.keepAsking()
	k.value = rand.Text() + rand.Text()
	k.put(k.value)
	k.holds(k.value)
	if failed := quiet(); failed != "" {
		t.Errorf("while the secret was rotated: %s", failed)
	}
	k.settled()
	k.told("API_KEY", "2 instances were replaced one by one")
	if after := k.pids("stable"); slices.Equal(before, after) || k.now().Stable != release || k.now().Restarts != 0 {
		t.Errorf("%v became %v: %+v", before, after, k.now())
	}

	k.leave()
	k.value = rand.Text() + rand.Text()
	k.put(k.value)
	k.open()
	k.holds(k.value) // what changed while no daemon looked, too
	k.settled()
	k.told("secrets", "2 instances were replaced one by one")

	pids := k.pids("stable")
	k.must(os.WriteFile(k.own, []byte(rand.Text()), 0o600))
	k.until("another key for alerts is noted", func() bool {
		k.did.mu.Lock()
		defer k.did.mu.Unlock()
		return slices.ContainsFunc(k.did.waiting, func(op target.Operation) bool { return op.What == "secret of the heartbeat" })
	})
	if after := k.pids("stable"); !slices.Equal(pids, after) {
		t.Errorf("instances were replaced for a secret that they don't have: %v became %v", pids, after)
	}

	k.must(os.Chmod(k.file, 0o644))
	k.must(os.Chmod(k.own, 0o644))
	k.unset = true
	p := k.search("keeper", "{}")
	if p.Unresolved != 3 || !strings.Contains(p.Secrets[3].Problem, "0644") || !strings.Contains(p.Secrets[0].Problem, "0644") || !strings.Contains(p.Secrets[1].Problem, "KEEPER_PLAIN is not set") {
		t.Errorf("%+v", p.Secrets)
	}
	if s := k.get(); !strings.HasPrefix(s, k.value) {
		t.Error("a source that is away must not take the value away")
	}
	k.must(os.Chmod(k.file, 0o600))
	k.must(os.Chmod(k.own, 0o600))
	k.unset = false

	k.nowhere()
	k.serve(2, "keeper", "open")
	n = k.network()
	open := map[string]bool{}
	for _, l := range n.Exposures {
		open[l.Protocol+" "+l.Address] = true
		if l.Role != "instance" {
			t.Errorf("%+v", l)
		}
	}
	if n.Exposed != 4 || !open["tcp 0.0.0.0"] || !open["udp6 ::"] {
		t.Errorf("%+v", n.Exposures)
	}

	for token, c := range []struct {
		release, mode, ledger string
		want                  []string
	}{
		{"keeper", "", "{}", nil},
		{"keeper", "", `{"note":"` + base64.StdEncoding.EncodeToString([]byte("the key: "+k.value)) + `"}`, []string{"known-value ledger sha"}},
		{"keeper", "", `{"note":"` + "gh" + "p_" + strings.Repeat("a1B2", 9) + `"}`, []string{"github-token ledger sha"}},
		{"keeper", "argv", "{}", []string{"known-value arguments of instance"}},
		{"keeper", "log", "{}", []string{"known-value logs logs/"}},
	} {
		k.serve(int64(token+3), c.release, c.mode)
		if got := found(k.search(c.release, c.ledger)); !slices.Equal(got, append([]string{}, c.want...)) {
			t.Errorf("%s %q: %v, want %v", c.release, c.mode, got, c.want)
		}
	}
}

// TestSecretInAnImage: a value that was compiled in is found in its layer.
func TestSecretInAnImage(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: a real app and a real PostgreSQL. Without it nothing here shows that a secret in an image is found")
	}
	k := newKept(t)
	k.serve(1, "baker", "")
	if got := found(k.search("baker", "{}")); !slices.Equal(got, []string{"known-value image hello"}) && !slices.Equal(got, []string{"known-value image app/hello"}) {
		t.Errorf("%v", got)
	}
}

// nowhere fails where a file of the state directory holds the secret, but for
// its own and what the app was given.
func (k *kept) nowhere() {
	k.t.Helper()
	err := filepath.WalkDir(k.opt.Paths.State, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || file == k.file || strings.Contains(file, "/postgres/") {
			return nil
		}
		b, err := os.ReadFile(file)
		if err == nil && bytes.Contains(b, []byte(k.value)) {
			k.t.Errorf("%s holds the secret", file)
		}
		return nil
	})
	k.must(err)
}

// told waits until the rotation was made part of the record.
func (k *kept) told(what, why string) {
	k.t.Helper()
	select {
	case op := <-k.operations:
		if op.Kind != target.Rotation || op.What != what || !strings.Contains(op.Why, why) || op.At.IsZero() {
			k.t.Errorf("%+v", op)
		}
	case <-time.After(20 * time.Second):
		k.t.Fatalf("the rotation of %s is not on record", what)
	}
}

// settled waits until nothing is being replaced.
func (k *kept) settled() {
	k.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for len(k.pids("stable")) != 2 || len(k.now().Instances) != 2 {
		if time.Now().After(deadline) {
			k.t.Fatalf("%+v", k.now())
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (k *kept) client() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: k.roots, ServerName: "localhost"}}}
}

// get asks once, on a connection of its own.
func (k *kept) get() string {
	k.t.Helper()
	c := k.client()
	defer c.CloseIdleConnections()
	res, err := c.Get("https://" + k.opt.Declared.Listen + "/")
	if err != nil {
		k.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(b)
}

// keepAsking asks on kept connections until it is told to end, and says what
// failed.
func (k *kept) keepAsking() (end func() string) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan string, 1)
	go func() {
		c, failed, n := k.client(), "", 0
		defer c.CloseIdleConnections()
		for ; ctx.Err() == nil; n++ {
			res, err := c.Get("https://" + k.opt.Declared.Listen + "/")
			if err != nil {
				failed = err.Error()
				continue
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusOK {
				failed = res.Status
			}
		}
		if n == 0 {
			failed = "nothing was asked"
		}
		done <- failed
	}()
	return func() string {
		cancel()
		return <-done
	}
}
