package runner

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// takeFile reads a file that a step may have written, and empties it.
func takeFile(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = os.Truncate(file, 0)
	}
	return b, err
}

// readPairs reads NAME=value, and NAME<<END with the value's lines up to END.
func readPairs(file string, into map[string]string) error {
	b, err := takeFile(file)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSuffix(lines[i], "\r")
		if line == "" {
			continue
		}
		eq, here := strings.Index(line, "="), strings.Index(line, "<<")
		if here >= 0 && (eq < 0 || here < eq) {
			name, end := line[:here], line[here+2:]
			var value []string
			for i++; i < len(lines) && lines[i] != end; i++ {
				value = append(value, lines[i])
			}
			if i == len(lines) || end == "" || name == "" {
				return fmt.Errorf("%s has no end", line)
			}
			into[name] = strings.Join(value, "\n")
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			return fmt.Errorf("%.40q is no NAME=value", line)
		}
		into[name] = value
	}
	return nil
}

// environ is the environment of a step's process. Nothing of the test's own is
// in it.
func (m *machine) environ(env map[string]string) []string {
	all := copied(m.base)
	all["PATH"] = strings.Join(append(append([]string{}, m.path...), m.shim, os.Getenv("PATH")), string(os.PathListSeparator))
	if m.o.Machine != nil {
		for _, kv := range m.o.Machine(m.files.dir) {
			name, value, _ := strings.Cut(kv, "=")
			all[name] = value
		}
	}
	for name, value := range env {
		all[name] = value
	}
	var out []string
	for _, name := range sorted(all) {
		out = append(out, name+"="+all[name])
	}
	return out
}

// readFiles takes over what the step wrote into GitHub's files.
func (m *machine) readFiles(outputs map[string]string) error {
	env := map[string]string{}
	for file, into := range map[string]map[string]string{m.files.env: env, m.files.output: outputs} {
		if err := readPairs(file, into); err != nil {
			return err
		}
	}
	for name, value := range env {
		if name == "NODE_OPTIONS" || strings.HasPrefix(name, "GITHUB_") || strings.HasPrefix(name, "RUNNER_") {
			return fmt.Errorf("GITHUB_ENV may not set %s", name)
		}
		m.env[name] = value
	}
	m.scope.contexts["env"] = texts(m.env)
	b, err := takeFile(m.files.path)
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			m.path = append([]string{line}, m.path...)
		}
	}
	return err
}

func (m *machine) readSummary() (string, error) {
	b, err := os.ReadFile(m.files.summary)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if name := m.masks.found(string(b)); name != "" {
		m.t.Errorf("%s, job %s: its summary holds the secret %s", m.run.File, m.job.ID, name)
	}
	return string(b), err
}
