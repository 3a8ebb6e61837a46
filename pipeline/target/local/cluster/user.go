package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// runner is the user that PostgreSQL runs as.
type runner struct {
	name     string
	uid, gid int
	root     bool // gate itself is root, and runner somebody else
}

// pickRunner chooses who runs PostgreSQL. Its programs refuse root, so root
// hands over to the owner of an existing cluster, else to the system user
// postgres, else to nobody.
func pickRunner(data string) (runner, error) {
	var owner *syscall.Stat_t
	if info, err := os.Stat(data); err == nil {
		owner, _ = info.Sys().(*syscall.Stat_t)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return runner{}, fmt.Errorf("look at %s: %w", data, err)
	}
	if euid := os.Geteuid(); euid != 0 {
		r := runner{name: nameOf(euid), uid: euid, gid: os.Getegid()}
		if owner != nil && int(owner.Uid) != euid {
			return r, fmt.Errorf("%s belongs to user %s; run gate as that user or as root", data, nameOf(int(owner.Uid)))
		}
		return r, nil
	}
	if owner != nil {
		if owner.Uid == 0 {
			return runner{}, fmt.Errorf("%s belongs to root, as whom PostgreSQL does not run; chown -R it to the user that ran it", data)
		}
		return runner{name: nameOf(int(owner.Uid)), uid: int(owner.Uid), gid: int(owner.Gid), root: true}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid != 0 {
			return runner{name: name, uid: uid, gid: gid, root: true}, nil
		}
	}
	return runner{}, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody; create a system user postgres, or run gate as another user")
}

func nameOf(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "with uid " + strconv.Itoa(uid)
}

// attr makes a child run as r, in a session of its own: what ends gate's
// terminal, process group or pipes does not end PostgreSQL.
func (r runner) attr() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if r.root {
		a.Credential = &syscall.Credential{Uid: uint32(r.uid), Gid: uint32(r.gid)} // #nosec G115 -- from the system's own tables
	}
	return a
}

// own gives path to r; it does nothing where gate runs as r.
func (r runner) own(path string) error {
	if !r.root {
		return nil
	}
	return os.Lchown(path, r.uid, r.gid)
}

// blocking returns the topmost folder on the way to path, path included, that
// r may not enter by its mode, or "".
func (r runner) blocking(path string) string {
	dir := ""
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && info.IsDir() && !r.mayEnter(info) {
			dir = at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

func (r runner) mayEnter(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case int(st.Uid) == r.uid:
		return mode&0o100 != 0
	case int(st.Gid) == r.gid:
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

// unenterable says which folder keeps r out, and what to do.
func (r runner) unenterable(path, choose string) error {
	at := r.blocking(path)
	if at == "" {
		at = path
	}
	return fmt.Errorf("user %s, who runs PostgreSQL because it refuses root, is kept out of %s: %w; %s that user %s can enter, or chmod o+x that folder", r.name, at, ErrUnenterable, choose, r.name)
}
