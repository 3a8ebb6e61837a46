package local

import (
	"context"
	"encoding/json"
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

// settled writes down what the release's migrations have made of the schema.
// Whoever can't must not stop a promotion: the schema is then not compared.
func (d *Daemon) settled(ctx context.Context, release string) {
	digest, err := d.database().Fingerprint(ctx)
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

// schemaStatus compares the schema with what migrations have left; nil: none have
// left anything on record.
func (d *Daemon) schemaStatus(ctx context.Context) *target.Schema {
	var f schemaFile
	b, err := os.ReadFile(d.paths.schema())
	if err != nil || json.Unmarshal(b, &f) != nil {
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
