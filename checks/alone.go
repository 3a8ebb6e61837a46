package checks

import (
	"context"
	"errors"
	"os"
	"syscall"
)

// Alone runs a program with nothing of gate's own environment but the path, until
// ctx ends, and ends all that it has started with it. Where gate is root it is
// nobody. A program that has ended by itself, whatever its exit status, is no
// error.
func Alone(ctx context.Context, env []string, command []string) (stdout, stderr []byte, code int, err error) {
	if len(command) == 0 {
		return nil, nil, 0, errors.New("no program is named")
	}
	var user *syscall.Credential
	if os.Geteuid() == 0 {
		user = &syscall.Credential{Uid: programNobody, Gid: programNobody}
	}
	all := append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "LANG=C.UTF-8"}, env...)
	stdout, stderr, code, err = toolsRunAs(ctx, user, "/", all, command[0], command[1:]...)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return stdout, stderr, code, err
}

// LastLine is the last line that a program has printed.
func LastLine(b []byte) string { return toolsLastLine(b) }
