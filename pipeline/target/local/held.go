package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target/local/secrets"
	"github.com/smartcloudops/gate/pipeline/target/local/supervisor"
)

// heldSecrets reads the declared secrets anew, and adds the passwords of the
// database. They leave the daemon by its own socket alone, so that whoever
// searches for them can.
func (d *Daemon) heldSecrets(ctx context.Context) (checks.HeldSecrets, error) {
	s := d.snapshot()
	if s.Stable.Revision == nil {
		return checks.HeldSecrets{}, errors.New("nothing serves yet that could hold any")
	}
	e := s.Stable.Revision.Environment
	rt, _, err := d.runtime(*s.Stable.Revision)
	if err != nil {
		return checks.HeldSecrets{}, err
	}
	out := checks.HeldSecrets{States: []checks.SecretState{}, Marks: []string{supervisor.TokenName}}
	resolve := func(name string, ref environments.Secret) (secrets.Value, bool) {
		state := checks.SecretState{Name: name, Source: ref.Source(), Resolved: true}
		v, err := d.vault.Read(ctx, name, ref)
		if err != nil {
			state.Resolved, state.Problem = false, err.Error()
			// What it was until now may still stand somewhere.
			v, err = d.vault.Value(ctx, name, ref)
		}
		if at := v.Changed(); err == nil && !at.IsZero() {
			age := max(0, d.opt.Now().Sub(at).Seconds())
			state.AgeSeconds = &age
		}
		out.States = append(out.States, state)
		return v, err == nil
	}
	own := unplaced(e, rt)
	for _, name := range slices.Sorted(maps.Keys(e.Secrets)) {
		ref := e.Secrets[name]
		v, ok := resolve(name, ref)
		if !ok {
			continue
		}
		known := checks.KnownSecret{Name: name, Value: v.Reveal(), Instances: holding(rt.Serve.Env, "${"+environments.SecretValue+name+"}")}
		if slices.Contains(own, name) {
			known.Instances = append(known.Instances, name)
		}
		if ref.Env != "" {
			known.Daemon = []string{ref.Env}
		}
		out.Known = append(out.Known, known)
	}
	database := append(holding(rt.Serve.Env, "${DATABASE_URL}"), holding(e.Config, "${DATABASE_URL}")...)
	for name, password := range d.database().Passwords() {
		known := checks.KnownSecret{Name: name, Value: password}
		switch {
		case password == "":
			continue
		case name == "database app":
			known.Instances = database
		case name == "database given" && e.Database.URLEnv != "":
			known.Daemon = []string{e.Database.URLEnv}
		}
		out.Known = append(out.Known, known)
	}
	declared := ownDeclared(e)
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		if v, ok := resolve(name, declared[name]); ok {
			known := checks.KnownSecret{Name: name, Value: v.Reveal()}
			if ref := declared[name]; ref.Env != "" {
				known.Daemon = []string{ref.Env}
			}
			out.Known = append(out.Known, known)
		}
	}
	out.Known = append(out.Known, d.ownVariables(e)...)
	slices.SortFunc(out.Known, func(a, b checks.KnownSecret) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// ownVariables are the daemon's own secrets, for backups and alerts, that only
// its environment holds. What is not set is named where it is used.
func (d *Daemon) ownVariables(e *environments.Environment) []checks.KnownSecret {
	var out []checks.KnownSecret
	variable := func(what, name string) {
		if v := d.opt.Getenv(name); name != "" && v != "" {
			out = append(out, checks.KnownSecret{Name: what, Value: v, Daemon: []string{name}})
		}
	}
	if s3 := e.Backup.S3; s3 != nil {
		variable("key of the object store", s3.SecretKeyEnv)
		variable("seal of backups", s3.SealEnv)
	}
	for what, hook := range hooks(e) {
		variable("address of the "+what, hook.URLEnv)
	}
	return out
}

// ownDeclared are the declared secrets that the daemon itself needs, to tell of
// alerts.
func ownDeclared(e *environments.Environment) map[string]environments.Secret {
	all := map[string]environments.Secret{}
	if a := e.Alerts; a != nil && a.SMTP != nil && a.SMTP.Password != nil {
		all["password of the mail server"] = *a.SMTP.Password
	}
	for what, hook := range hooks(e) {
		if hook.Secret != nil {
			all["secret of the "+what] = *hook.Secret
		}
	}
	return all
}

func hooks(e *environments.Environment) map[string]*environments.Webhook {
	if e.Alerts == nil {
		return nil
	}
	all := map[string]*environments.Webhook{"webhook": e.Alerts.Webhook, "incident": e.Alerts.Incident, "heartbeat": e.Alerts.Heartbeat}
	maps.DeleteFunc(all, func(_ string, h *environments.Webhook) bool { return h == nil })
	return all
}

// holding are the variables whose declaration holds the placeholder.
func holding(env map[string]string, placeholder string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		if strings.Contains(env[k], placeholder) {
			out = append(out, k)
		}
	}
	return out
}

// Secrets implements checks.SecretHolder.
func (c *Client) Secrets(ctx context.Context) (checks.HeldSecrets, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var held checks.HeldSecrets
	err := c.call(ctx, http.MethodGet, pathSecrets, nil, &held)
	return held, err
}

// Logs hands over every log of the environment, as checks.Writings does:
// instances', the load balancer's, the database's and the daemon's.
func (c *Client) Logs(_ context.Context, each func(kind, name string, text io.Reader) error) error {
	files := []string{c.paths.DaemonLog()}
	for _, dir := range []string{c.paths.Logs(), c.paths.dir("postgres")} {
		err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case entry.IsDir() && file == c.paths.dir("postgres", "data"):
				return filepath.SkipDir
			case entry.Type().IsRegular() && strings.Contains(entry.Name(), "log"):
				files = append(files, file)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("logs: %w", err)
		}
	}
	for _, file := range files {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // rotated meanwhile, or the daemon writes elsewhere
		} else if err != nil {
			return fmt.Errorf("logs: %w", err)
		}
		rel, err := filepath.Rel(c.paths.dir(), file)
		if err == nil {
			kind := "logs"
			if strings.HasPrefix(file, c.paths.AccessLog()) {
				kind = "requests"
			}
			err = each(kind, filepath.ToSlash(rel), f)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
