package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/report"
)

// Variables with the credentials for the registry.
const (
	registryUser     = "GATE_REGISTRY_USER"
	registryPassword = "GATE_REGISTRY_PASSWORD"
)

// PublishCmd pushes a release to a registry.
type PublishCmd struct {
	Commit   string `placeholder:"REV" help:"Publish this commit's release instead of what is checked out."`
	Registry string `placeholder:"HOST/PATH" help:"Repository to push to (default: app.yaml's registry)."`
	Tag      string `placeholder:"TAG" help:"Move this tag to it, for people: gate itself names releases by digest."`
}

// Run builds the release, unless it is there, and pushes it as it is.
func (c *PublishCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	rec, err := s.buildOnly(ctx, c.Commit)
	if err != nil {
		return err
	}
	r := s.registry()
	if c.Registry != "" {
		r.Repository = c.Registry
	}
	if r.Repository == "" {
		return &Exit{promotion.CodeUsage, errors.New("no registry is declared: give --registry, or declare registry in environments/app.yaml")}
	}
	if err := r.Push(ctx, s.store, rec.Release, c.Tag); err != nil {
		return err
	}
	if s.Output == "json" {
		return report.JSON(s.Out, map[string]string{"release": rec.Release, "commit": rec.Commit, "reference": r.Repository + "@" + rec.Release})
	}
	_, err = fmt.Fprintf(s.Out, "%s@%s\n", r.Repository, rec.Release)
	return err
}

// registry is the declared one, with the credentials of the environment.
func (s *session) registry() release.Registry {
	return release.Registry{Repository: s.decl.App.Registry, User: s.Getenv(registryUser), Password: s.Getenv(registryPassword)}
}
