package supervisor

import (
	"os"
	"strconv"
	"strings"

	"github.com/smartcloudops/gate/checks"
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
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		var token string
		// Who may not look finds none.
		_ = checks.LookAt("/proc/"+name, func() (err error) {
			token, err = lookToken(pid)
			return err
		})
		if strings.HasPrefix(token, mark) {
			out = append(out, pid)
		}
	}
	return out, nil
}
