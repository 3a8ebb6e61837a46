package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/policies"
)

// identity names this gate and what it judges by: two with the same identity
// decide alike.
func (s *session) identity() (string, error) {
	v, err := version()
	if err != nil {
		return "", err
	}
	return v + "-" + judgement(s.judge.Policies, s.trust(), s.judge.Waivers), nil
}

func judgement(p *policies.Policies, t *environments.Trust, w []*environments.Waiver) string {
	return strings.TrimPrefix(environments.Digest([]any{p.Digest(), t, w}), "sha256:")[:8]
}

// current fails where the clone's policies, waivers or trust are no longer those that
// this daemon has read. A successor that reads them is started: the listener is
// handed over and the instances are adopted.
func (s *session) current(environment string) func(context.Context) error {
	if s.base != nil {
		return nil // of one commit, whatever the clone holds
	}
	began := judgement(s.judge.Policies, s.trust(), s.judge.Waivers)
	return func(ctx context.Context) error {
		d, err := environments.Read(os.DirFS(s.clone.Root))
		if err != nil {
			return fmt.Errorf("nothing goes forward in %s: %w", environment, err)
		}
		p, err := policies.New(ctx, overlay(s.clone.Root))
		if err != nil {
			return fmt.Errorf("nothing goes forward in %s: %w", environment, err)
		}
		if judgement(p, d.Trust, d.Waivers) == began {
			return nil
		}
		s.log.Info("policies or trust have changed: a daemon that reads them takes over", "environment", environment)
		x := &executor{session: s, environment: environment, client: s.client(environment)}
		if err := x.spawn(ctx, true); err != nil {
			return fmt.Errorf("nothing goes forward in %s before a daemon has read the changed policies or trust: %w", environment, err)
		}
		return errors.New("another daemon has taken over")
	}
}
