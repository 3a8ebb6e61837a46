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
