package local

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// placements are the secrets that a process's variables refer to.
type placements struct{ values, files []string }

func placed(env map[string]string) placements {
	var p placements
	for _, text := range env {
		p.values = append(p.values, environments.SecretsIn(text, environments.SecretValue)...)
		p.files = append(p.files, environments.SecretsIn(text, environments.SecretFile)...)
	}
	return p
}

// unplaced are the environment's secrets that app.yaml refers to nowhere: they
// are handed over under their own names.
func unplaced(e *environments.Environment, rt release.Runtime) []string {
	all := placed(rt.Serve.Env)
	known := append(all.values, all.files...)
	if rt.Migrate != nil {
		more := placed(rt.Migrate.Env)
		known = append(append(known, more.values...), more.files...)
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(e.Secrets)), func(name string) bool { return slices.Contains(known, name) })
}

// deliver resolves what a process gets: variables of its own, and what stands
// for the placeholders in env.
func (d *Daemon) deliver(ctx context.Context, e *environments.Environment, rt release.Runtime, env map[string]string) (variables, placeholders map[string]string, err error) {
	variables, placeholders = map[string]string{}, map[string]string{}
	for _, name := range unplaced(e, rt) {
		v, err := d.vault.Value(ctx, name, e.Secrets[name])
		if err != nil {
			return nil, nil, err
		}
		variables[name] = v.Reveal()
	}
	p := placed(env)
	for _, name := range append(slices.Clone(p.values), p.files...) {
		ref, ok := e.Secrets[name]
		if !ok {
			return nil, nil, fmt.Errorf("secret %s is referred to, and not declared in %s", name, e.File)
		}
		v, err := d.vault.Value(ctx, name, ref)
		if err != nil {
			return nil, nil, err
		}
		placeholders[environments.SecretValue+name] = v.Reveal()
	}
	for _, name := range p.files {
		var file string
		err := d.opt.Reserve.Do(func() (err error) {
			file, err = d.secretFile(name, placeholders[environments.SecretValue+name])
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		placeholders[environments.SecretFile+name] = file
	}
	return variables, placeholders, nil
}

// secretFile writes a file that the app's user alone can read.
func (d *Daemon) secretFile(name, value string) (string, error) {
	dir := d.paths.dir("secrets")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", fmt.Errorf("folder for secrets: %w", err)
	}
	file := filepath.Join(dir, name)
	temp, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return "", fmt.Errorf("file of secret %s: %w", name, err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.WriteString(value)
	if err == nil && d.credential != nil {
		err = temp.Chown(int(d.credential.Uid), int(d.credential.Gid))
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		return "", fmt.Errorf("file of secret %s: %w", name, err)
	}
	return file, nil
}

// fingerprint tells whether instances have the present values. It says nothing
// of them to whoever lacks the key beside it.
func (d *Daemon) fingerprint(ctx context.Context, e *environments.Environment) (string, error) {
	if len(e.Secrets) == 0 {
		return "", nil
	}
	h := hmac.New(sha256.New, d.secretKey)
	for _, name := range slices.Sorted(maps.Keys(e.Secrets)) {
		v, err := d.vault.Value(ctx, name, e.Secrets[name])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d %s %d %s", len(name), name, len(v.Reveal()), v.Reveal())
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readSecretKey reads the key of fingerprints, or makes it.
func readSecretKey(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(rand.Text() + rand.Text())
		return b, durable.Replace(file, b, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("key of fingerprints: %w", err)
	}
	return b, nil
}

// delivered remembers with which values an instance is started. That it can't be
// written down, as on a full disk, keeps no instance from coming back.
func (d *Daemon) delivered(id, fingerprint string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.st.Secrets[id] == fingerprint {
		return
	}
	next := map[string]string{id: fingerprint}
	for _, in := range d.livingLocked() {
		if f, ok := d.st.Secrets[in]; ok && in != id {
			next[in] = f
		}
	}
	d.st.Secrets = next
	if err := d.save(); err != nil {
		d.opt.Log.Warn("with which secrets an instance was started is not recorded", "instance", id, "error", err)
	}
}

// livingLocked are the instances that the state knows. The caller holds d.mu.
func (d *Daemon) livingLocked() []string {
	return slices.Concat(d.st.instances(), slices.Collect(maps.Keys(d.ready)), slices.Collect(maps.Keys(d.leaving)))
}

// stale are the stable instances that have other values than the present ones.
// Of those that an older gate has started nothing is known: they are left alone.
func (d *Daemon) stale(ctx context.Context) ([]string, error) {
	s := d.snapshot()
	if s.Stable.Revision == nil {
		return nil, nil
	}
	now, err := d.fingerprint(ctx, s.Stable.Revision.Environment)
	if err != nil || now == "" {
		return nil, err
	}
	var out []string
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range s.Stable.Instances {
		if had, known := d.st.Secrets[id]; known && had != now {
			out = append(out, id)
		}
	}
	return out, nil
}

const (
	rotationTick = time.Second
	// rotationAgain is how long a failed replacement is not tried again, unless
	// the values have changed once more.
	rotationAgain = 5 * time.Minute
)

// rotate follows the sources of the secrets: where a value has changed, the
// instances are replaced one by one, and nothing else.
func (d *Daemon) rotate(ctx context.Context) error {
	tick := time.NewTicker(rotationTick)
	defer tick.Stop()
	var failed string
	var since time.Time
	said := ""
	var changed []string // and not all instances have them
	for {
		all := false
		select {
		case <-ctx.Done():
			return nil
		case <-d.reread:
			all = true
		case <-tick.C:
		}
		problem := d.refresh(ctx, all)
		changed = append(changed, d.vault.Changed()...)
		ids, err := d.stale(ctx)
		if err == nil && len(ids) > 0 {
			now := environments.Digest(ids)
			if s := d.snapshot(); s.Stable.Revision != nil {
				now, _ = d.fingerprint(ctx, s.Stable.Revision.Environment)
			}
			if now != failed || d.opt.Now().Sub(since) > rotationAgain {
				var n int
				if n, err = d.replaceStale(ctx, ids); err != nil && ctx.Err() == nil {
					failed, since = now, d.opt.Now()
				}
				if err == nil && n > 0 {
					d.rotated(changed, fmt.Sprintf("other values: %d instances were replaced one by one", n))
					changed = nil
				}
			} else {
				err = fmt.Errorf("instances %s still have the secrets of before: see the daemon's log", strings.Join(ids, ", "))
			}
		}
		if err == nil && len(ids) == 0 && len(changed) > 0 {
			d.rotated(changed, "other values, which are in use")
			changed = nil
		}
		if err != nil && ctx.Err() == nil {
			problem = cmp.Or(problem, err.Error())
		}
		if problem != said && problem != "" {
			d.opt.Log.Error("secrets", "error", problem)
		}
		said = problem
		d.trouble("secrets", problem)
	}
}

// rotated notes which secrets have changed; none: that was while no daemon
// looked, and which is not known.
func (d *Daemon) rotated(names []string, why string) {
	slices.Sort(names)
	what := "secrets"
	if len(names) > 0 {
		what = strings.Join(slices.Compact(names), ", ")
	}
	d.did.add(target.Operation{Kind: target.Rotation, What: what, Why: "the source gives " + why})
}

// refresh reads what is due, and says what can't be read.
func (d *Daemon) refresh(ctx context.Context, all bool) string {
	errs := d.vault.Refresh(ctx, d.declaredSecrets(), all)
	if len(errs) == 0 || ctx.Err() != nil {
		return ""
	}
	return errs[0].Error() + "; the value before goes on"
}

// declaredSecrets are those of the environment in force, the daemon's own among
// them.
func (d *Daemon) declaredSecrets() map[string]environments.Secret {
	s := d.snapshot()
	e := s.Environment
	if s.Stable.Revision != nil {
		e = s.Stable.Revision.Environment
	}
	all := ownDeclared(e)
	maps.Copy(all, e.Secrets)
	return all
}

// errBusy: a promotion is under way, which starts instances with the present
// values anyway.
var errBusy = errors.New("a promotion is under way")

func (d *Daemon) replaceStale(ctx context.Context, ids []string) (int, error) {
	if s := d.snapshot(); s.Stable.Revision == nil || s.Canary.Revision != nil || s.Warm.Revision != nil {
		return 0, nil
	}
	d.opt.Log.Info("secrets have changed: instances are replaced one by one", "instances", len(ids))
	n, err := d.Replace(ctx, "")
	if errors.Is(err, errBusy) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("instances could not be given the changed secrets (%d of %d were): %w", n, len(ids), err)
	}
	d.opt.Log.Info("instances have the changed secrets", "instances", n)
	return n, nil
}

// Reread has the secrets read anew at once.
func (d *Daemon) Reread() {
	select {
	case d.reread <- struct{}{}:
	default:
	}
}
