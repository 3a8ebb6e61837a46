package checks

// All are the checks that there are, in the order in which people read them.
func All() []Check {
	return []Check{Tests(), Scan(), Leaks(), Config(), Load(), Update(), TLS()}
}

// ByName finds a check.
func ByName(name string) (Check, bool) {
	for _, c := range All() {
		if c.Name == name {
			return c, true
		}
	}
	return Check{}, false
}
