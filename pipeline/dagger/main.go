// Build, measure, judge and ship a service that is declared in environments/.
//
// The judge and the meter are this module's own: gate is built from the module,
// never from the clone that it is given. Call the base's module on a change:
// dagger -m ./base call --source=./head run …
package main

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
	"github.com/smartcloudops/gate/pipeline/dagger/plain"
)

// Images that are used where none is given. Change them here alone.
const (
	baseImage     = "golang:1.26.8-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d"
	postgresImage = "postgres:17-bookworm@sha256:051f7b7b3abdd564d5d1bd1e8c4b9c1b6e77087d1dd22020ede611c096a272e0"
)

// Everything that callers see is in this one file: what is generated is in the
// order of positions, and several files are read in any order.

// Environment is one that environments/ declares.
type Environment string

// The environments that a caller may name. Who declares another one adds it here,
// and runs dagger develop.
const (
	// Where a commit goes first.
	Staging Environment = "staging"
	// Where people use it.
	Production Environment = "production"
)

// Gate is the pipeline of one clone.
type Gate struct {
	// +private
	Source *dagger.Directory
	// +private
	Own *dagger.Directory
	// +private
	Environment Environment
	// +private
	Base *dagger.Container
	// +private
	Database *dagger.Container
	// +private
	Vulndb *dagger.Directory
	// +private
	Goproxy string
}

func New(
	// Git clone to work on, with its .git folder. A linked work tree has none: give a clone of it.
	// +defaultPath="/"
	// +ignore=["bin", "**/*.test", "**/*.out", "**/.env"]
	source *dagger.Directory,
	// What gate itself is built from: the repository that this module is in. Leave it alone.
	// +defaultPath="/"
	// +ignore=["*", "!go.mod", "!go.sum", "!checks", "!environments", "!pipeline", "!policies", "!tools", "pipeline/dagger"]
	own *dagger.Directory,
	// Environment to measure in.
	// +default="staging"
	environment Environment,
	// Image to work in: Go, Git, a shell and the user nobody. Pinned by the module if none is given.
	// +optional
	base *dagger.Container,
	// The same as a folder with a root file system, where no image can be pulled.
	// +optional
	rootfs *dagger.Directory,
	// The same as an OCI or Docker archive.
	// +optional
	tarball *dagger.File,
	// Image with PostgreSQL's programs. With a base of your own: that, if none is given.
	// +optional
	database *dagger.Container,
	// Copy of the Go vulnerability database, where the live one can't be reached.
	// +optional
	vulndb *dagger.Directory,
	// Where Go modules come from, as in the variable GOPROXY.
	// +optional
	goproxy string,
) (*Gate, error) {
	m := &Gate{Source: source, Own: own, Environment: environment, Database: database, Vulndb: vulndb, Goproxy: goproxy}
	given := 0
	if base != nil {
		m.Base, given = base, given+1
	}
	if rootfs != nil {
		m.Base, given = fromRootfs(rootfs), given+1
	}
	if tarball != nil {
		m.Base, given = dag.Container().Import(tarball), given+1
	}
	switch {
	case given > 1:
		return nil, errors.New("--base, --rootfs and --tarball are three ways to give one image: give one of them")
	case given == 0:
		m.Base = dag.Container().From(baseImage)
		if database == nil {
			m.Database = dag.Container().From(postgresImage)
		}
	case database == nil:
		m.Database = m.Base
	}
	return m, nil
}

// What one commit becomes: an OCI image of one platform, known by its digest.
type Release struct {
	// Digest of the image's manifest. gate build on any machine makes the same.
	Digest string
	// Commit that it was built of.
	Commit string
	// OCI image layout with this one image.
	Layout *dagger.Directory
	// +private
	Archive *dagger.File
}

// What a check measured, unsigned: somebody who runs no code of the commit has
// to import it (gate evidence import) before it counts.
type Evidence struct {
	// Folder for gate evidence import: claim.json and evidence/, and what people read beside them.
	Directory *dagger.Directory
	// Name of the check.
	Check string
	// What came of the measurement: completed, error, unavailable, invalid or not_applicable.
	Status string
	// Why it is not completed.
	Reason string
	// What the call was given, or had made up, as its nonce.
	Nonce string
	// Exit code of gate: 0 pass, 3 fail, 4 not enough to tell. It is about this evidence alone.
	Exit int
	// The evidence as gate wrote it.
	Json string
}

// What the policies make of a release's evidence.
type Decision struct {
	// Verdict on all of it: pass, warn, fail, inconclusive or error. Only pass and warn promote.
	Verdict string
	// Digest of the release that was judged.
	Release string
	// Environment that it was judged for.
	Environment string
	// Verdicts on each criterion.
	Criteria []Criterion
	// Exit code of gate decide: 0 pass or warn, 3 fail, 4 not enough to tell, 1 error.
	Exit int
	// The decision as gate wrote it.
	Json string
}

// Verdict on one criterion.
type Criterion struct {
	// Name of the criterion.
	Name string
	// pass, warn, fail, inconclusive or error.
	Verdict string
	// What was measured.
	Got string
	// What was wanted.
	Want string
	// Why the verdict is what it is.
	Why string
	// What to do next.
	Next string
}

// Build the release of a commit.
//
// No cache is mounted that another call can write to: modules are a layer made of go.mod and go.sum, and Go compiles anew.
//
// Returns the release: its digest, commit, OCI layout, container and binary.
func (m *Gate) Build(
	ctx context.Context,
	// Commit to build (default: what is checked out, with what is not committed).
	// +optional
	commit string,
) (*Release, error) {
	return m.build(ctx, commit)
}

// Run the commit's own tests, as app.yaml declares them.
//
// Returns evidence: how many passed, failed and were skipped.
//
// +check
// +cache="never"
func (m *Gate) Test(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "tests", nonce, commit, base, nil)
}

// Scan for unsafe code and known vulnerabilities.
//
// gosec and govulncheck, on the packages that are shipped.
//
// Returns evidence: counts by severity, findings with file and line, and the date of the database.
//
// +check
// +cache="never"
func (m *Gate) Scan(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "scan", nonce, commit, base, nil, gosec, govulncheck)
}

// Look for secrets in the files of the commit (gitleaks).
//
// Returns evidence: how many files were read and where secrets are, never the secrets.
//
// +cache="never"
func (m *Gate) Leaks(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "leaks", nonce, commit, base, nil, gitleaks)
}

// Check the environment's configuration.
//
// It must be valid, without addresses and secrets in plain text, and differ from the others only where that is declared.
//
// Returns evidence.
//
// +cache="never"
func (m *Gate) Config(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "config", nonce, commit, base, nil)
}

// Put the declared load on the commit in an environment.
//
// The environment and its PostgreSQL are gone when the call ends. It takes some minutes. What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: rates in requests a second, latencies in seconds with bounds, errors.
//
// +cache="never"
func (m *Gate) LoadTest(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "load", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Replace every instance under load, and count what clients notice.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: requests sent and failed, connections cut, time in seconds.
//
// +cache="never"
func (m *Gate) Update(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "update", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Shake hands with the environment as a strict client does.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: versions, names, chain, and how many days the certificate is good for.
//
// +cache="never"
func (m *Gate) Tls(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "tls", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Read the runbooks.
//
// Every alert must have one with an owner, a severity, steps and a review date that is not past.
//
// Returns evidence: which there are, and which are missing.
//
// +cache="never"
func (m *Gate) Runbooks(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "runbooks", nonce, commit, base, nil)
}

// Give the traffic to the previous release and back, under load.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: requests sent and failed, seconds each way.
//
// +cache="never"
func (m *Gate) RollbackDrill(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "rollback", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Kill an instance, the daemon and the database under load.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: seconds until each was back, what was lost, and writes stored twice.
//
// +cache="never"
func (m *Gate) RestartDrill(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "restart", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Drive the number of instances up and down.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: instances before, at the peak and after, seconds, requests failed.
//
// +cache="never"
func (m *Gate) ScalingDrill(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "scaling", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Try the migrations on a copy of the database, and crash writers on it.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: findings, locks and their seconds, writes lost, and how far a rollback is possible.
//
// +cache="never"
func (m *Gate) MigrateRehearsal(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "migration", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Restore a backup on the side, compare it row by row, and serve from it.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: tables and rows compared, RPO and RTO in seconds, and every fault.
//
// +cache="never"
func (m *Gate) RestoreDrill(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "backup", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Make a fault, and wait until somebody has heard of it.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: seconds until the receipt and until the recovery was told, by route.
//
// +cache="never"
func (m *Gate) AlertDrill(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "alerting", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Look at what the environment listens on.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: every listener, and which of them can be reached from outside.
//
// +cache="never"
func (m *Gate) Network(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "network", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Look for the environment's secrets in plain text.
//
// What admits the commit to the environment is measured first, unless its evidence is given.
//
// Returns evidence: how much was looked at, and where a secret stands by its name, never the secret.
//
// +cache="never"
func (m *Gate) Secrets(
	ctx context.Context,
	// Evidence of tests, scan, leaks, config and runbooks, with the same nonce (default: measured first).
	// +optional
	with []*dagger.Directory,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*Evidence, error) {
	return m.one(ctx, "secrets", nonce, commit, base, with, gosec, govulncheck, gitleaks)
}

// Measure all of the environment's checks.
//
// Those of the code side by side; those of the running service one after the other, each in an environment of its own.
//
// Returns one folder of evidence, as gate evidence import takes it; an error names what is missing.
//
// +cache="never"
func (m *Gate) Verify(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*dagger.Directory, error) {
	c, err := plain.NewCall(nonce, commit, base)
	if err != nil {
		return nil, err
	}
	all, err := m.all(ctx, c)
	if err != nil {
		return nil, err
	}
	return merge(ctx, all)
}

// Decide on evidence, by the policies.
//
// It is imported into a ledger that is gone when the call ends: the commit is built again, none of its code runs, and whatever is not of this commit, this nonce and this time is refused.
//
// Returns the decision: the verdict in all, and on each criterion.
//
// +cache="never"
func (m *Gate) Decide(
	ctx context.Context,
	// Folder of evidence, as verify and run return it.
	evidence *dagger.Directory,
	// What the call that measured was given as its nonce.
	nonce string,
	// When that call began, as in 2026-01-02T03:04:05Z: nothing older is taken.
	since string,
	// When it ended (default: now).
	// +optional
	until string,
	// Commit that was to be measured.
	// +default="HEAD"
	commit string,
) (*Decision, error) {
	return m.decide(ctx, claimed{evidence, nonce, since, until, commit})
}

// Render evidence, and the decision on it, for people and for other tools.
//
// The evidence is imported as decide does it.
//
// Returns a folder: report.html, report.md, report.sarif, junit.xml, report.json.
//
// +cache="never"
func (m *Gate) Report(
	// Folder of evidence, as verify and run return it.
	evidence *dagger.Directory,
	// What the call that measured was given as its nonce.
	nonce string,
	// When that call began, as in 2026-01-02T03:04:05Z: nothing older is taken.
	since string,
	// When it ended (default: now).
	// +optional
	until string,
	// Commit that was to be measured.
	// +default="HEAD"
	commit string,
) *dagger.Directory {
	return m.report(claimed{evidence, nonce, since, until, commit})
}

// Take a commit through build, checks, environment and decision.
//
// It is what gate run does where there is no container engine.
//
// Returns one folder, whatever the verdict: claim.json and evidence/ for gate evidence import, decision.json, result.json, the reports, log, and exit with gate's exit code (0 pass, 3 fail, 4 not enough to tell). A step that is to fail with the verdict reads that file.
//
// +cache="never"
func (m *Gate) Run(
	ctx context.Context,
	// Commit to measure (default: what is checked out, with what is not committed).
	// +optional
	commit string,
	// Commit that the change is to go into: its policies and thresholds judge.
	// +optional
	base string,
	// What the evidence repeats; 8 characters or more that no other call has (default: at random).
	// +optional
	nonce string,
) (*dagger.Directory, error) {
	c, err := plain.NewCall(nonce, commit, base)
	if err != nil {
		return nil, err
	}
	return m.run(ctx, c)
}

// Lint the code with golangci-lint, as pinned by the module.
//
// Returns what it says; findings are an error.
//
// +check
func (m *Gate) Lint(ctx context.Context) (string, error) {
	return m.lint(ctx)
}

// Test the policies.
//
// Those of the module by their own tests, those that the clone lays over them by compiling them.
//
// Returns what was tested; a failure is an error.
//
// +check
func (m *Gate) Policies(ctx context.Context) (string, error) {
	return m.policies(ctx)
}

// Run an empty PostgreSQL, which is gone when the call ends.
//
// Port 5432, user postgres.
//
// Returns the service.
//
// +cache="never"
func (m *Gate) Postgres(
	// Password of the user postgres.
	password *dagger.Secret,
) *dagger.Service {
	return m.server(password, rand.Text())
}

// Serve the commit in the environment, until the call ends.
//
// dagger call staging up --ports 18443:8443. It has a PostgreSQL of its own. What admits the commit to the environment is measured first.
//
// Returns the service, on the port that the environment declares. It has a certificate of its own authority.
//
// +cache="never"
func (m *Gate) Staging(
	ctx context.Context,
	// Commit to serve.
	// +default="HEAD"
	commit string,
) (*dagger.Service, error) {
	return m.staging(ctx, commit)
}

// Push a release to a registry as it is.
//
// It has the digest there that build names.
//
// Returns its reference, HOST/PATH@sha256:….
//
// +cache="never"
func (m *Gate) Publish(
	ctx context.Context,
	// Repository to push to: HOST/PATH.
	registry string,
	// User at the registry.
	// +optional
	username string,
	// Password or token of the user.
	// +optional
	password *dagger.Secret,
	// Tag to move to it, for people: gate itself names releases by digest.
	// +optional
	tag string,
	// Commit to publish (default: what is checked out).
	// +optional
	commit string,
	// Registry on your own machine, such as tcp://localhost:5000. It is reached as registry.localhost.
	// +optional
	local *dagger.Service,
) (string, error) {
	return m.publish(ctx, shelf{registry, username, tag, password, local}, commit)
}

// Ask for a release in an environment on another machine, and follow it.
//
// The request goes to the ledger's remote, which environments/trust.yaml declares; the environment's own daemon judges it and carries it out. Only ever with a clone of the protected branch: it says where the token goes and whose keys count.
//
// Returns how the promotion ended, or that the request waits; a refusal, a rollback and no end in time are errors.
//
// +cache="never"
func (m *Gate) Promote(
	ctx context.Context,
	// Digest of the release, or its commit; eight characters are enough.
	release string,
	// Why, for the history.
	reason string,
	// Private key (PEM) that trust.yaml lists: it signs the request.
	key *dagger.Secret,
	// Token that reads and writes the ledger's repository over HTTPS.
	// +optional
	token *dagger.Secret,
	// The one server that is told the token.
	// +default="https://github.com"
	server string,
	// Agent with the key for the ledger's repository over SSH.
	// +optional
	ssh *dagger.Socket,
	// Host keys to expect, in the form of ~/.ssh/known_hosts.
	// +optional
	knownHosts *dagger.File,
	// Authorities to trust (PEM) beside the image's, where the server has a private one.
	// +optional
	authority *dagger.File,
	// How long to follow, such as 30m; 0s does not wait.
	// +default="30m"
	timeout string,
) (string, error) {
	on, err := m.remote(access{key, token, server, ssh, knownHosts, authority})
	if err != nil {
		return "", err
	}
	return ask(ctx, on, []string{"gate", "promote", "--to", string(m.Environment), "--reason", reason, "--remote", "--timeout", timeout, "--", release})
}

// Go back in an environment on another machine, and follow it.
//
// It needs no decision. Only ever with a clone of the protected branch: it says where the token goes and whose keys count.
//
// Returns how it ended, or that the request waits; no end in time is an error.
//
// +cache="never"
func (m *Gate) Rollback(
	ctx context.Context,
	// Why, for the history.
	reason string,
	// Private key (PEM) that trust.yaml lists: it signs the request.
	key *dagger.Secret,
	// Digest of the release to go back to, or its commit (default: the one before).
	// +optional
	to string,
	// Token that reads and writes the ledger's repository over HTTPS.
	// +optional
	token *dagger.Secret,
	// The one server that is told the token.
	// +default="https://github.com"
	server string,
	// Agent with the key for the ledger's repository over SSH.
	// +optional
	ssh *dagger.Socket,
	// Host keys to expect, in the form of ~/.ssh/known_hosts.
	// +optional
	knownHosts *dagger.File,
	// Authorities to trust (PEM) beside the image's, where the server has a private one.
	// +optional
	authority *dagger.File,
	// How long to follow, such as 30m; 0s does not wait.
	// +default="30m"
	timeout string,
) (string, error) {
	on, err := m.remote(access{key, token, server, ssh, knownHosts, authority})
	if err != nil {
		return "", err
	}
	args := []string{"gate", "rollback", "--reason", reason, "--remote", "--timeout", timeout}
	if to != "" {
		args = append(args, "--to", to)
	}
	return ask(ctx, on, append(args, "--", string(m.Environment)))
}

// Show how environments on other machines are.
//
// The ledger's remote knows what is desired of each; with --admin, the environment's own daemon says what runs, too.
//
// Returns JSON: for each environment what is desired, the last promotion and a hold; with --admin, of this one also what serves, and its instances.
//
// +cache="never"
func (m *Gate) Status(
	ctx context.Context,
	// Admin socket of the environment's daemon on this machine. Who has it can stop the environment.
	// +optional
	admin *dagger.Socket,
	// Token that reads the ledger's repository over HTTPS.
	// +optional
	token *dagger.Secret,
	// The one server that is told the token.
	// +default="https://github.com"
	server string,
	// Agent with the key for the ledger's repository over SSH.
	// +optional
	ssh *dagger.Socket,
	// Host keys to expect, in the form of ~/.ssh/known_hosts.
	// +optional
	knownHosts *dagger.File,
	// Authorities to trust (PEM) beside the image's, where the server has a private one.
	// +optional
	authority *dagger.File,
) (string, error) {
	on, err := m.remote(access{nil, token, server, ssh, knownHosts, authority})
	if err != nil {
		return "", err
	}
	if admin != nil {
		return m.serving(ctx, on, admin)
	}
	return on.WithExec([]string{"gate", "status", "--remote", "--output", "json"}).Stdout(ctx)
}

// Build gate itself, from this module's own source.
//
// What is judged has no say in what judges it.
//
// Returns the program, for Linux.
func (m *Gate) Gate() *dagger.File {
	return m.program()
}
