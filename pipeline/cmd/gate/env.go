package main

import (
	"context"
	"fmt"
	"os"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/policies"
)

// EnvCmd is about declarations.
type EnvCmd struct {
	Validate EnvValidateCmd `cmd:"" help:"Read the declarations and say what is wrong with them, by file and line."`
}

// EnvValidateCmd validates.
type EnvValidateCmd struct{}

// Run reads the work tree's declarations; it needs no state and changes nothing.
func (EnvValidateCmd) Run(ctx context.Context, g *Globals) error {
	clone, err := release.OpenClone(ctx, g.Dir, g.Environ)
	if err != nil {
		return err
	}
	d, err := environments.Read(os.DirFS(clone.Root))
	if err != nil {
		return err
	}
	p, err := policies.New(ctx, overlay(clone.Root))
	if err != nil {
		return err
	}
	for _, e := range d.Environments {
		if _, err := p.Thresholds(e); err != nil {
			return err
		}
	}
	if g.Output == "json" {
		var all []map[string]string
		for _, e := range d.Environments {
			all = append(all, map[string]string{"environment": e.Name, "config_digest": e.ConfigDigest(), "file": e.File})
		}
		return report.JSON(g.Out, all)
	}
	for _, e := range d.Environments {
		fmt.Fprintf(g.Out, "%-12s %s  %s\n", e.Name, e.ConfigDigest(), e.File)
	}
	return nil
}
