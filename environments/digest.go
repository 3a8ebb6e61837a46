package environments

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// ConfigDigest identifies what the environment's instances and address are
// made of: everything declared but how a release gets in and how it is judged.
func (e *Environment) ConfigDigest() string {
	c := *e
	c.Promotion, c.Thresholds, c.Differs = Promotion{}, nil, nil
	return Digest(&c)
}

// Digest is "sha256:…" of v's JSON. encoding/json sorts the keys of maps and
// keeps the order of fields, so that equal declarations have equal digests.
// It panics on what JSON cannot hold, which no declaration contains.
func Digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("environments: digest of %T: %v", v, err))
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Expand replaces ${NAME} by values[NAME]. Validation has refused names that
// nothing fills.
func Expand(s string, values map[string]string) string {
	return variableRE.ReplaceAllStringFunc(s, func(m string) string {
		if v, ok := values[m[2:len(m)-1]]; ok {
			return v
		}
		return m
	})
}
