package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/policies"
)

// WaiveCmd writes a waiver.
type WaiveCmd struct {
	Criterion string `arg:"" help:"The criterion to waive."`
	Env       string `required:"" placeholder:"ENV" help:"The environment to waive it in."`
	Until     string `required:"" placeholder:"DATE" help:"The day from which it counts again, as 2026-01-31; 30 days from now at most."`
	Reason    string `required:"" help:"Why, in one line, for those who review it."`
}

// Run writes a file, and nothing else: it counts once it is reviewed and merged.
func (c *WaiveCmd) Run(ctx context.Context, g *Globals) error {
	if strings.TrimSpace(c.Reason) == "" {
		return &Exit{promotion.CodeUsage, errors.New("--reason is blank: those who review it read it")}
	}
	s, err := g.open(ctx, c.Env)
	if err != nil {
		return err
	}
	defer s.close()
	known, err := s.criteria()
	if err != nil {
		return err
	}
	if !slices.Contains(known, c.Criterion) {
		return &Exit{promotion.CodeUsage, fmt.Errorf("criterion %q does not exist; there are %s", c.Criterion, strings.Join(known, ", "))}
	}
	author, err := s.author(ctx)
	if err != nil {
		return err
	}
	var until environments.Date
	if err := until.UnmarshalText([]byte(c.Until)); err != nil {
		return &Exit{promotion.CodeUsage, fmt.Errorf("--until %s is no day; write it as 2026-01-31", c.Until)}
	}
	name := c.Criterion + "-" + c.Env
	text, err := yaml.Marshal(environments.Waiver{
		Criterion: c.Criterion, Environment: c.Env, Since: environments.Date(time.Now().UTC()), Until: until, Reason: c.Reason, Author: author,
	})
	if err != nil {
		return fmt.Errorf("waiver: %w", err)
	}
	file := filepath.FromSlash(environments.WaiverDir + "/" + name + ".yaml")
	full := filepath.Join(s.clone.Root, file)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return fmt.Errorf("waiver: %w", err)
	}
	f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &Exit{promotion.CodeUsage, fmt.Errorf("%s is there already: renew it there, or remove it", file)}
	}
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		_, err = environments.Read(os.DirFS(s.clone.Root))
	}
	if err != nil {
		rerr := os.Remove(full)
		_ = os.Remove(filepath.Dir(full)) // if it is empty
		return errors.Join(err, rerr)
	}
	if s.Output == "json" {
		return report.JSON(s.Out, map[string]any{"file": filepath.ToSlash(file)})
	}
	_, err = fmt.Fprintf(s.Out, "%s\ncommit it and have it reviewed: it counts once it is where gate reads its policies\n", file)
	return err
}

// criteria are those that some stage requires, or that have thresholds.
func (s *session) criteria() ([]string, error) {
	all, err := s.judge.Policies.Thresholds(nil)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for id := range all {
		known[id] = true
	}
	for _, ids := range policies.Required {
		for _, id := range ids {
			known[id] = true
		}
	}
	return slices.Sorted(maps.Keys(known)), nil
}

// author is whom Git takes for the author of a commit here.
func (s *session) author(ctx context.Context) (string, error) {
	get := func(key string) string {
		cmd := exec.CommandContext(ctx, "git", "-C", s.clone.Root, "config", "--get", key)
		cmd.Env = s.Environ
		out, err := cmd.Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	name, mail := get("user.name"), get("user.email")
	if name == "" {
		return "", &Exit{promotion.CodeUsage, errors.New("Git does not know who you are: git config user.name NAME, then again")}
	}
	if mail != "" {
		name += " <" + mail + ">"
	}
	return name, nil
}
