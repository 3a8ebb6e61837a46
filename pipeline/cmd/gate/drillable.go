package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/smartcloudops/gate/pipeline/target/local"
)

// drillable is what checks may do with, and ask of, an environment: what its
// daemon offers, and what is kept of it elsewhere in the state directory.
type drillable struct {
	*local.Client
	session *session
}

// Writings implements checks.Writings.
func (d drillable) Writings(ctx context.Context, release string, each func(kind, name string, text io.Reader) error) error {
	if err := d.Logs(ctx, each); err != nil {
		return err
	}
	err := d.session.store.Texts(release, func(name string, text io.Reader) error { return each("image", name, text) })
	if err != nil {
		return err
	}
	records, err := d.session.journal.Ledger.Entries(ctx, 0)
	if err != nil {
		return err
	}
	for _, r := range records {
		b, err := json.Marshal(r.Statement)
		if err != nil {
			return fmt.Errorf("statement %s: %w", r.Digest, err)
		}
		if err := each("ledger", r.Digest, bytes.NewReader(b)); err != nil {
			return err
		}
	}
	return nil
}
