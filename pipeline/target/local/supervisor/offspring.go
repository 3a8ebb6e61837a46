package supervisor

import (
	"os"
	"strconv"
	"strings"
)

// Offspring are all processes that the instances of the state file are, or have
// started, by their numbers: also those that have left their parent. Processes
// whose environment may not be read are not among them.
func Offspring(stateFile string) ([]int, error) {
	mark, err := tokenMark(stateFile)
	if err != nil {
		return nil, err
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && strings.HasPrefix(readToken(pid), mark) {
			out = append(out, pid)
		}
	}
	return out, nil
}
