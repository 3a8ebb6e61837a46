package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// schemaFile is what the newest migrations have left behind.
type schemaFile struct {
	Release string    `json:"release"`
	Digest  string    `json:"digest"`
	At      time.Time `json:"at"`
}

// schemaSeen is how the schema was when it was last looked at.
type schemaSeen struct {
	sync.Mutex
	at  time.Time
	now string
	err error
}

func (p Paths) schema() string { return p.dir("schema.json") }

// fingerprintTries is how often the schema is looked at behind migrations before
// that is given up.
const fingerprintTries = 4

// settled writes down what the release's migrations have made of the schema.
// Whoever can't must not stop a promotion: what is there then is not known.
func (d *Daemon) settled(ctx context.Context, release string) {
	digest, err := tried(ctx, d.database().Fingerprint)
	if err == nil {
		var b []byte
		if b, err = json.Marshal(schemaFile{release, digest, d.opt.Now().UTC()}); err == nil {
			err = durable.Replace(d.paths.schema(), b, 0o600)
		}
	}
	d.schema.Lock()
	d.schema.at = time.Time{}
	d.schema.Unlock()
	if err != nil {
		_ = os.Remove(d.paths.schema())
		d.opt.Log.Warn("what the migrations have made of the schema was not written down", "release", release, "error", err)
	}
}

// tried is what look finds, asked again after a failure.
func tried(ctx context.Context, look func(context.Context) (string, error)) (found string, err error) {
	for n := range fingerprintTries {
		if found, err = look(ctx); err == nil || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(n) * 200 * time.Millisecond):
		}
	}
	return found, err
}

// left reads what the newest migrations have left; nil: they have left nothing on
// record.
func (p Paths) left() (*schemaFile, error) {
	b, err := os.ReadFile(p.schema())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	f := new(schemaFile)
	if err == nil {
		err = json.Unmarshal(b, f)
	}
	if err == nil && f.Digest == "" {
		err = errors.New("it holds no digest")
	}
	if err != nil {
		return nil, fmt.Errorf("what the migrations have left, in %s: %w", p.schema(), err)
	}
	return f, nil
}

// schemaStatus compares the schema with what migrations have left; nil: none have
// left anything on record.
func (d *Daemon) schemaStatus(ctx context.Context) *target.Schema {
	f, err := d.paths.left()
	if err != nil {
		return &target.Schema{Problem: err.Error()}
	}
	if f == nil {
		return nil
	}
	out := &target.Schema{Release: f.Release, Left: f.Digest, At: f.At}
	d.schema.Lock()
	defer d.schema.Unlock()
	if time.Since(d.schema.at) >= sizeFor {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		d.schema.now, d.schema.err = d.database().Fingerprint(ctx)
		d.schema.at = time.Now()
	}
	if out.Now = d.schema.now; d.schema.err != nil {
		out.Now, out.Problem = "", d.schema.err.Error()
	}
	return out
}
