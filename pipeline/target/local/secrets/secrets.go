// Package secrets reads secrets from where a declaration says they are. A value
// prints as nothing, whatever prints it: only Reveal gives it away.
package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// Source is where one secret comes from. Its errors never hold the value.
type Source interface {
	// Read reads it anew.
	Read(ctx context.Context) (Value, error)
}

// Value is a secret's value.
type Value struct {
	text    string
	changed time.Time
}

// NewValue is text, which was last changed then; zero: not known.
func NewValue(text string, changed time.Time) (Value, error) {
	switch {
	case text == "":
		return Value{}, errors.New("it is empty")
	case strings.ContainsRune(text, 0):
		return Value{}, errors.New("it holds a zero byte, which no environment variable can")
	case len(text) > most:
		return Value{}, fmt.Errorf("it is longer than %d bytes", most)
	}
	return Value{text, changed}, nil
}

// most is the longest value, in bytes.
const most = 64 << 10

const hidden = "(secret)"

// Reveal is the value itself.
func (v Value) Reveal() string { return v.text }

// Changed is when it was last changed; zero: the source doesn't know.
func (v Value) Changed() time.Time { return v.changed }

func (Value) String() string               { return hidden }
func (Value) GoString() string             { return hidden }
func (Value) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Env reads a variable of the daemon's own environment.
type Env struct {
	Name   string
	Getenv func(string) string
}

// Read implements Source.
func (e Env) Read(context.Context) (Value, error) {
	text := e.Getenv(e.Name)
	if text == "" {
		return Value{}, fmt.Errorf("the environment variable %s is not set; set it where the daemon is started", e.Name)
	}
	return NewValue(text, time.Time{})
}

// File reads a file that nobody else can read. A line end behind the value is no
// part of it.
type File struct{ Path string }

// Read implements Source.
func (f File) Read(context.Context) (Value, error) {
	// Without waiting: what is named may be a pipe.
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Value{}, fmt.Errorf("%w; put the secret there with mode 0600", err)
	}
	defer file.Close()
	// Asked of the file that is open: another can't take its place in between.
	info, err := file.Stat()
	if err != nil {
		return Value{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return Value{}, fmt.Errorf("%s is no plain file", f.Path)
	case info.Mode().Perm()&0o077 != 0:
		return Value{}, fmt.Errorf("%s may be read by others (mode %04o); chmod 600 it, and change the secret if somebody could see it", f.Path, info.Mode().Perm())
	case !ok || int(st.Uid) != os.Geteuid() && st.Uid != 0:
		return Value{}, fmt.Errorf("%s belongs to user %d, who can change it; chown it to the daemon's user, %d", f.Path, st.Uid, os.Geteuid())
	}
	b, err := io.ReadAll(io.LimitReader(file, most+2))
	if err != nil {
		return Value{}, err
	}
	return NewValue(withoutEnd(b), info.ModTime())
}

// Command reads what a program prints. Nothing of what it prints gets into an
// error, since it may be the secret.
type Command struct {
	Argv    []string
	Environ []string
}

// Read implements Source.
func (c Command) Read(ctx context.Context) (Value, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...) // #nosec G204 -- the declaration names it
	var out bytes.Buffer
	cmd.Stdout = &limited{w: &out, left: most + 2}
	cmd.Env, cmd.Dir = c.Environ, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return Value{}, fmt.Errorf("%s did not end in time", c.Argv[0])
	case err != nil:
		return Value{}, fmt.Errorf("%s: %w; run it by hand as the daemon's user to see why", c.Argv[0], err)
	}
	return NewValue(withoutEnd(out.Bytes()), time.Time{})
}

type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, errors.New("it prints too much")
	}
	return l.w.Write(b)
}

func withoutEnd(b []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
}

// Makers make sources; AWS is nil where there is none.
type Makers struct {
	Getenv func(string) string
	AWS    func(environments.AWSSecret) Source
}

// For is the source of a declared secret.
func (m Makers) For(s environments.Secret) (Source, error) {
	switch {
	case s.Env != "":
		return Env{s.Env, m.Getenv}, nil
	case s.File != "":
		return File{s.File}, nil
	case len(s.Command) > 0:
		return Command{s.Command, []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + m.Getenv("HOME"), "LANG=C.UTF-8"}}, nil
	case s.AWS != nil && m.AWS != nil:
		return m.AWS(*s.AWS), nil
	}
	return nil, errors.New("this program can't read such a source")
}
