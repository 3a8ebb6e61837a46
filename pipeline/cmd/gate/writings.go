package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// Writings implements checks.Writings.
func (d *drilled) Writings(ctx context.Context, release string, each func(kind, name string, text io.Reader) error) error {
	if err := d.Logs(ctx, each); err != nil {
		return err
	}
	err := d.executor.session.store.Texts(release, func(name string, text io.Reader) error { return each("image", name, text) })
	if err != nil {
		return err
	}
	records, err := d.executor.session.journal.Ledger.Entries(ctx, 0)
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
