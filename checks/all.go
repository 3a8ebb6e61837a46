package checks

// All are the checks that there are, in the order in which people read them.
func All() []Check {
	return []Check{Tests(), Scan(), Leaks(), Config(), Load(), Update(), Rollback(), Restart(), Scale(), Migration(), Backup(), TLS(), Network(), Secrets()}
}
