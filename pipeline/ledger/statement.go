package ledger

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// statementType marks an in-toto statement.
const statementType = "https://in-toto.io/Statement/v1"

// GenesisType is the predicate type of the statement that entry 0 cites.
const GenesisType = "https://gate.smartcloudops.dev/genesis/v1"

// Genesis is the predicate of the first statement of a ledger.
type Genesis struct {
	Ledger  string    `json:"ledger"` // random, 32 hexadecimal digits
	App     string    `json:"app"`
	Created time.Time `json:"created"`
}

// Statement is what is recorded: an in-toto Statement v1 without its constant
// type. At least one subject with a digest is required, and a predicate that
// is a JSON object.
type Statement struct {
	Type      string          // predicate type, a URI
	Subject   []Subject       // what it is about
	Predicate json.RawMessage // what it says
}

// Subject is an in-toto resource descriptor.
type Subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"` // algorithm → hexadecimal digits
}

// Digested is the subject name with the given "sha256:…" digest.
func Digested(name, digest string) Subject {
	return Subject{Name: name, Digest: map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}}
}

// Named is a subject that has no bytes of its own, such as an environment: its
// digest is that of its name.
func Named(name string) Subject { return Digested(name, digestOf([]byte(name))) }

// Entry gives a statement its place in the ledger. Who signed the statement is
// part of it, so that nobody can later sign the same statement in another's
// place.
type Entry struct {
	Ledger    string    `json:"ledger"`
	Seq       int64     `json:"seq"`
	Prev      string    `json:"prev"`      // digest of the previous entry's payload; empty for entry 0
	Statement string    `json:"statement"` // digest of the statement's payload
	Signers   []string  `json:"signers"`   // ids of the keys that signed the statement, sorted
	At        time.Time `json:"at"`
	// Was is where the statement stood first, when it had to be recorded again
	// because others were first at the remote; 0: it stands where it was put.
	Was int64 `json:"was,omitempty"`
}

// First is the sequence number that the statement was first given. It never
// changes, and on the machine that recorded it no later statement has a lower
// one: where others were first, entries move up, never down.
func (e Entry) First() int64 {
	if e.Was != 0 {
		return e.Was
	}
	return e.Seq
}

// Record is an entry with the statement that it cites, both with verified
// signatures. What the signers may do is another question: see Ledger.Trusted.
type Record struct {
	Entry        Entry
	Statement    Statement
	Digest       string   // of the statement's payload: what other records cite
	EntryDigest  string   // of the entry's payload: what the next entry's Prev names
	Signers      []string // who signed the statement, sorted
	EntrySigners []string // who put it into the ledger, sorted
}

// wireStatement is a statement as it is signed. Field order is part of the
// digest: do not reorder.
type wireStatement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

func (s Statement) validate() error {
	if s.Type == "" || strings.ContainsAny(s.Type, "\n\r") {
		return errors.New("statement has no usable predicate type")
	}
	if len(s.Subject) == 0 {
		return fmt.Errorf("statement %s has no subject", s.Type)
	}
	for _, sub := range s.Subject {
		if len(sub.Digest) == 0 {
			return fmt.Errorf("statement %s: subject %q has no digest", s.Type, sub.Name)
		}
		for alg, d := range sub.Digest {
			if b, err := hex.DecodeString(d); err != nil || len(b) == 0 || alg == "" || alg == "sha256" && len(b) != 32 {
				return fmt.Errorf("statement %s: subject %q has a digest that is none: %s %.80q", s.Type, sub.Name, alg, d)
			}
		}
	}
	if p := bytes.TrimSpace(s.Predicate); len(p) == 0 || p[0] != '{' || !json.Valid(p) {
		return fmt.Errorf("statement %s: its predicate is not a JSON object", s.Type)
	}
	return nil
}

func (s Statement) encode() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	b, err := encodeJSON(wireStatement{statementType, s.Subject, s.Type, s.Predicate})
	if err != nil {
		return nil, fmt.Errorf("encode statement %s: %w", s.Type, err)
	}
	if len(b) > maxPayload {
		return nil, fmt.Errorf("statement %s has %d bytes, more than %d: keep the payload elsewhere and cite its digest", s.Type, len(b), maxPayload)
	}
	return b, nil
}

func decodeStatement(payload []byte) (Statement, error) {
	var w wireStatement
	if err := json.Unmarshal(payload, &w); err != nil {
		return Statement{}, fmt.Errorf("statement is not JSON: %w", err)
	}
	if w.Type != statementType {
		return Statement{}, fmt.Errorf("statement is of type %.80q, want %q", w.Type, statementType)
	}
	s := Statement{Type: w.PredicateType, Subject: w.Subject, Predicate: w.Predicate}
	return s, s.validate()
}

func decodeEntry(payload []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(payload, &e); err != nil {
		return e, fmt.Errorf("entry is not JSON: %w", err)
	}
	return e, nil
}

// encodeJSON is json.Marshal without its escapes for HTML, which would change
// the bytes of a predicate that others signed.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func join(ids []string) string { return strings.Join(ids, ", ") }
