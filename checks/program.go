package checks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// For are gate's own checks, and behind them those that the app declares. One
// of these that has the name of another is an error.
func For(app *environments.App) ([]Check, error) {
	all := All()
	for _, p := range app.Checks {
		if slices.ContainsFunc(all, func(c Check) bool { return c.Name == p.Name }) {
			return nil, fmt.Errorf("%s/app.yaml: checks: %q is a check of gate's own: give it another name", environments.Dir, p.Name)
		}
		all = append(all, Program(p))
	}
	return all, nil
}

// ProgramPayload holds what the program printed in each run: pooling keeps all
// of them, so that the policy has to be content with every one.
type ProgramPayload struct {
	Runs []json.RawMessage `json:"runs"`
}

// programMax bounds what a program may print, in bytes.
const programMax = 1 << 20

// Program is a check that runs a program of the repository. It gets where it
// runs in GATE_RELEASE, GATE_ENVIRONMENT and, in an environment, GATE_ADDRESS and
// GATE_NAME, prints one JSON object, and ends with 0. Where gate is root the
// program is nobody.
func Program(p environments.Program) Check {
	return Check{
		Name: p.Name, Criterion: p.Criterion, Version: 1, Scope: OfRelease, InEnv: p.InEnvironment, Outside: true,
		Title: "what " + strings.Join(p.Command, " ") + " measures",
		// A program may read any file of the commit, also one that app.yaml calls docs.
		Parameters: func(in Input) map[string]string {
			return map[string]string{"program": environments.Digest(p), "tree": in.TreeDigest}
		},
		Estimate: func(Input) time.Duration { return min(p.Timeout.D(), 30*time.Second) },
		Measure:  func(ctx context.Context, in Input) (Measurement, error) { return programMeasure(ctx, p, in) },
		Pool:     programPool,
	}
}

func programMeasure(ctx context.Context, p environments.Program, in Input) (Measurement, error) {
	if in.Source == "" {
		return Measurement{Status: Unavailable, Reason: "the source of the commit is not at hand"}, nil
	}
	program, err := testsProgram(in.Source, p.Command)
	if err != nil {
		return Measurement{Status: Unavailable, Reason: fmt.Sprintf("program %q can't be run: %v", p.Command[0], errors.Unwrap(err))}, nil
	}
	user, err := programUser(in.Source)
	if err != nil {
		return Measurement{}, err
	}
	environment := ""
	if in.Environment != nil {
		environment = in.Environment.Name
	}
	env := append(toolsEnviron(os.Environ()), "CI=true", "HOME="+in.Source, "GATE_RELEASE="+in.Release, "GATE_ENVIRONMENT="+environment)
	if p.InEnvironment {
		env = append(env, "GATE_ADDRESS="+in.Address, "GATE_NAME="+in.Name)
	}
	limited, cancel := context.WithTimeout(ctx, p.Timeout.D())
	defer cancel()
	in.Note(strings.Join(p.Command, " "))
	stdout, stderr, code, err := toolsRunAs(limited, user, in.Source, env, program, p.Command[1:]...)
	switch {
	case ctx.Err() != nil:
		return Measurement{}, ctx.Err()
	case limited.Err() != nil:
		return Measurement{}, fmt.Errorf("%s was stopped after %s: raise timeout in app.yaml, or mend what hangs", p.Command[0], p.Timeout)
	case err != nil:
		return Measurement{}, fmt.Errorf("run %s: %w", strings.Join(p.Command, " "), err)
	case code != 0:
		return Measurement{}, fmt.Errorf("%s ended with exit status %d: %s", p.Command[0], code, toolsLastLine(stderr))
	}
	payload, err := programObject(stdout)
	if err != nil {
		return Measurement{}, fmt.Errorf("%s printed %w", p.Command[0], err)
	}
	return Measurement{Status: Completed, Payload: ProgramPayload{Runs: []json.RawMessage{payload}}}, nil
}

// programNobody is who has no rights.
const programNobody = 65534

// programUser is nobody, to whom the folder is given, where gate is root.
func programUser(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	const nobody = programNobody
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
	if err == nil {
		// It has to get there, and can see no more than names that it knows.
		err = os.Chmod(filepath.Dir(dir), 0o711) // #nosec G302 -- a folder that must be passed through
	}
	if err != nil {
		return nil, fmt.Errorf("give the export to nobody: %w", err)
	}
	return &syscall.Credential{Uid: nobody, Gid: nobody}, nil
}

// programObject is text as one JSON object of finite numbers.
func programObject(text []byte) (json.RawMessage, error) {
	if len(text) > programMax {
		return nil, fmt.Errorf("%d bytes, more than %d", len(text), programMax)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return nil, fmt.Errorf("no JSON object: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	if len(object) == 0 {
		return nil, errors.New("an empty object, or null: nothing was measured")
	}
	if err := programFinite(object); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, fmt.Errorf("no JSON object: %w", err)
	}
	return out.Bytes(), nil
}

func programFinite(v any) error {
	switch x := v.(type) {
	case json.Number:
		if _, err := strconv.ParseFloat(x.String(), 64); err != nil {
			return fmt.Errorf("the number %.40s, which is out of range", x)
		}
	case []any:
		for _, e := range x {
			if err := programFinite(e); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, e := range x {
			if err := programFinite(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// programPool keeps every run.
func programPool(payloads [][]byte) ([]byte, error) {
	return poolWorst(payloads, func(a, b ProgramPayload) ProgramPayload {
		return ProgramPayload{Runs: slices.Concat(a.Runs, b.Runs)}
	})
}
