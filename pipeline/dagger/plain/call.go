// Package plain is what of the module needs no engine, so that it can be tested
// without one.
package plain

import (
	"crypto/rand"
	"fmt"
)

// OutDir is the folder in a container that gate writes its evidence to.
const OutDir = "/work/out"

// minNonce is the least length that gate takes, in characters.
const minNonce = 8

// Call is what one call of the pipeline is about.
type Call struct {
	Nonce  string
	Commit string // empty: what is checked out, with what is not committed
	Base   string // empty: the commit is judged by itself
}

// NewCall fills in a nonce of its own where none was given.
func NewCall(nonce, commit, base string) (Call, error) {
	if nonce == "" {
		nonce = rand.Text()
	}
	if len(nonce) < minNonce {
		return Call{}, fmt.Errorf("the nonce has %d characters: give %d or more that no other call has", len(nonce), minNonce)
	}
	return Call{nonce, commit, base}, nil
}

// Flags are those of every gate command that measures apart.
func (c Call) Flags() []string {
	args := []string{"--apart", "--nonce", c.Nonce, "--evidence", OutDir}
	if c.Commit != "" {
		args = append(args, "--commit", c.Commit)
	}
	if c.Base != "" {
		args = append(args, "--base", c.Base)
	}
	return args
}
