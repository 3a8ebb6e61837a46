package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/policies"
)

// AuditCmd shows what stands behind a release in an environment.
type AuditCmd struct {
	Release string `arg:"" help:"Digest of the release, or of its commit; eight characters are enough."`
	Env     string `required:"" placeholder:"ENV" help:"The environment that it was ready for."`
	Bundle  string `placeholder:"FILE" help:"Write all of it into this tar archive, to be verified without gate (docs/audit.md)."`
}

// Run ends with 3 where something that is cited is missing.
func (c *AuditCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Env)
	if err != nil {
		return err
	}
	defer s.close()
	v, err := s.journal.View(ctx)
	if err != nil {
		return err
	}
	record := ""
	for _, d := range v.Find(c.Release) {
		if record == "" || v.Served(c.Env, d) {
			record = d
		}
	}
	if record == "" {
		return &Exit{promotion.CodeUsage, fmt.Errorf("no release %q is on record: gate history %s shows some", c.Release, c.Env)}
	}
	a, err := s.journal.Audit(ctx, record, c.Env)
	if err != nil {
		return err
	}
	if len(a.Decisions) == 0 {
		return &Exit{promotion.CodeUsage, fmt.Errorf("nothing was decided about release %.19s for %s: gate decide %s", a.Release, c.Env, c.Env)}
	}
	if c.Bundle != "" {
		if err := s.bundle(ctx, a, c.Bundle); err != nil {
			return err
		}
	}
	if s.Output == "json" {
		err = report.JSON(s.Out, a)
	} else {
		err = writeAudit(s, a, c.Bundle)
	}
	if err == nil && len(a.Missing) > 0 {
		return &Exit{Code: promotion.CodeFail}
	}
	return err
}

func writeAudit(s *session, a *promotion.Audit, bundle string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "release   %s\ncommit    %s\n", a.Release, a.Commit)
	if t := a.Promotion; t != nil {
		fmt.Fprintf(&b, "promotion into %s: %s at %s, asked by %s\n", a.Environment, t.State, t.At.UTC().Format(time.RFC3339), t.By)
	} else {
		fmt.Fprintf(&b, "promotion into %s: none\n", a.Environment)
	}
	for _, d := range a.Decisions {
		fmt.Fprintf(&b, "decision  %s  %s: %s at %s\n", d.Decision.ID, d.Decision.Stage, d.Decision.Verdict, d.Decision.At.Format(time.RFC3339))
	}
	b.WriteString("\n")
	for _, st := range a.Statements {
		fmt.Fprintf(&b, "%6d  %-10s  %.19s  %s, signed by %s\n", st.Seq, st.Role, st.Digest, st.What, strings.Join(st.Signers, ", "))
	}
	for _, m := range a.Missing {
		fmt.Fprintf(&b, "MISSING   %s\n", m)
	}
	if bundle != "" {
		fmt.Fprintf(&b, "\n%s holds all of it; docs/audit.md says how it is verified without gate\n", bundle)
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(s.Out, report.Line(strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

// bundle writes the archive.
func (s *session) bundle(ctx context.Context, a *promotion.Audit, file string) error {
	files := map[string][]byte{}
	for _, st := range a.Statements {
		raw, err := s.ledger.Envelope(ctx, st.Digest)
		if err != nil {
			return err
		}
		files["envelopes/"+strings.TrimPrefix(st.Digest, "sha256:")+".json"] = raw
		for _, id := range st.Signers {
			if err := publicKey(files, id); err != nil {
				return err
			}
		}
	}
	for _, d := range a.Decisions {
		text, err := policies.Canonical(d.Input)
		if err != nil {
			return fmt.Errorf("bundle: input of decision %s: %w", d.Decision.ID, err)
		}
		files["inputs/"+strings.TrimPrefix(d.Decision.InputDigest, "sha256:")+".json"] = text
	}
	entries, err := s.ledger.Entries(ctx, 0)
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, id := range e.EntrySigners {
			if err := publicKey(files, id); err != nil {
				return err
			}
		}
	}
	manifest, sbom, err := s.store.Provenance(a.Release)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	files["release/manifest.json"], files["release/sbom.tar"] = manifest, sbom
	for name, v := range map[string]any{"audit.json": a, "trust.json": s.trust()} {
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		files[name] = append(text, '\n')
	}
	if files["ledger.bundle"], err = s.ledgerBundle(ctx); err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(files[name]), name)
	}
	files["SHA256SUMS"] = sums.Bytes()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Format: tar.FormatPAX}))
		if err == nil {
			_, err = w.Write(files[name])
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		return &Exit{promotion.CodeUsage, fmt.Errorf("--bundle: %w; name a file in a folder that you may write to", err)}
	}
	return nil
}

// publicKey adds the key with the id as PEM: the id is the whole key.
func publicKey(files map[string][]byte, id string) error {
	if _, err := ledger.ParseKeyID(id); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	text := strings.TrimPrefix(id, "ed25519:")
	raw, err := hex.DecodeString(text)
	if err != nil {
		return fmt.Errorf("bundle: key %s: %w", id, err)
	}
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(raw))
	if err != nil {
		return fmt.Errorf("bundle: key %s: %w", id, err)
	}
	files["keys/"+text+".pem"] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return nil
}

// ledgerBundle is the ledger's branch as git bundle writes it.
func (s *session) ledgerBundle(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "gate-audit-")
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "ledger.bundle")
	cmd := exec.CommandContext(ctx, "git", "--git-dir", s.ledger.Repository(), "bundle", "create", "-q", file, "gate/ledger")
	cmd.Env = s.Environ
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("bundle: git bundle: %w: %s", err, report.Line(string(out)))
	}
	return os.ReadFile(file)
}
