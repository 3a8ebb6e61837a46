package local

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/user"
	"sort"
	"strconv"
	"syscall"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/supervisor"
)

// specFor says how an instance of the revision with the given id is started.
func (d *Daemon) specFor(revision, id string, port int) (supervisor.Spec, error) {
	rev := d.revision(revision)
	if rev == nil {
		return supervisor.Spec{}, fmt.Errorf("nothing is known of revision %s", revision)
	}
	rt, path, err := d.runtime(*rev)
	if err != nil {
		return supervisor.Spec{}, err
	}
	values := map[string]string{
		"PORT": strconv.Itoa(port), "DATABASE_URL": d.database().AppURL(), "INSTANCE": id,
		"RELEASE": rev.Release, "ENVIRONMENT": d.paths.Environment,
	}
	// Taken first: a value that changes right now has the instance replaced once
	// more, and never left with the one of before.
	had, err := d.fingerprint(context.Background(), rev.Environment)
	if err != nil {
		return supervisor.Spec{}, err
	}
	env, err := d.environ(rev.Environment, rt, rt.Serve.Env, values)
	if err != nil {
		return supervisor.Spec{}, err
	}
	d.delivered(id, had)
	d.mu.Lock()
	d.health[revision] = rt.Serve.Ready
	d.mu.Unlock()
	return supervisor.Spec{
		Path: path, Args: expandAll(rt.Serve.Args, values), Env: env, Dir: "/", Ready: rt.Serve.Ready,
		StartTimeout: rt.Serve.StartTimeout.D(), StopTimeout: rt.Serve.StopTimeout.D(),
		Credential: d.credential,
	}, nil
}

func (d *Daemon) runtime(rev target.Revision) (release.Runtime, string, error) {
	rt, err := d.opt.Store.Runtime(rev.Release)
	if err != nil {
		return rt, "", err
	}
	path, err := d.opt.Store.Binary(context.Background(), rev.Release, d.paths.Releases())
	return rt, path, err
}

// environ is all that a process of the app gets to see: nothing of the
// daemon's own environment but what is declared.
func (d *Daemon) environ(e *environments.Environment, rt release.Runtime, own, values map[string]string) ([]string, error) {
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
	for k, v := range e.Config {
		env[k] = environments.Expand(v, values)
	}
	variables, placeholders, err := d.deliver(context.Background(), e, rt, own)
	if err != nil {
		return nil, err
	}
	maps.Copy(env, variables)
	values = maps.Clone(values)
	maps.Copy(values, placeholders)
	for k, v := range own {
		env[k] = environments.Expand(v, values)
	}
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return out, nil
}

func expandAll(in []string, values map[string]string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = environments.Expand(s, values)
	}
	return out
}

// unprivileged is the user that the app runs as when gate is root: its code is
// not trusted with the machine.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("gate runs as root and needs the user nobody to run the app as: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("user nobody has the odd ids %s and %s", u.Uid, u.Gid)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: false}, nil
}
