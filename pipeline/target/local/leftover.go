package local

import "os"

// LeftOver says whether an environment without a daemon may have left instances
// or a PostgreSQL running.
func LeftOver(p Paths) bool {
	_, err := os.Stat(p.stateFile())
	return err == nil
}
