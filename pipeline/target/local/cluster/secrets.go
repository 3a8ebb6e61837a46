package cluster

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"

	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// secrets is what Dir/passwords.json holds. ID marks the database as this
// folder's; it is no secret, but it shares the passwords' fate.
type secrets struct {
	ID       string `json:"id"`
	Admin    string `json:"admin"`
	Migrator string `json:"migrator"`
	App      string `json:"app"`
}

var hex64 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// String keeps passwords out of whatever prints a value.
func (secrets) String() string   { return "secrets(redacted)" }
func (secrets) GoString() string { return "secrets(redacted)" }

// loadSecrets reads the passwords, or makes them where there are none yet.
// mayCreate is false when a cluster stands there already: new passwords would
// not fit it.
func loadSecrets(path string, mayCreate bool) (secrets, error) {
	var s secrets
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !mayCreate {
			return s, fmt.Errorf("%s is missing, and the cluster beside it cannot be entered without it; restore it from a backup, or move the cluster's folder data away to start empty", path)
		}
		return createSecrets(path)
	}
	if err != nil {
		return s, fmt.Errorf("read passwords: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return s, fmt.Errorf("%s may be read by others (%v); chmod 600 it, and change the passwords if somebody could see them", path, info.Mode())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("read passwords: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil || s.ID == "" || !hex64.MatchString(s.Admin) || !hex64.MatchString(s.Migrator) || !hex64.MatchString(s.App) {
		return secrets{}, fmt.Errorf("%s is damaged; restore it from a backup", path)
	}
	return s, nil
}

func createSecrets(path string) (secrets, error) {
	s := secrets{ID: random(16), Admin: random(32), Migrator: random(32), App: random(32)}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return secrets{}, fmt.Errorf("encode passwords: %w", err)
	}
	if err := durable.Replace(path, append(b, '\n'), 0o600); err != nil {
		return secrets{}, explainSpace(err, "keep passwords", path)
	}
	return s, nil
}

// random returns n bytes in hexadecimal, which needs no escaping in a URL, in
// SQL or in SASLprep. crypto/rand never fails.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// verifier is what PostgreSQL keeps of a password (RFC 5803). It is computed
// here, so that no statement log of any server ever sees the password.
func verifier(password string) (string, error) {
	const rounds = 4096
	salt := make([]byte, 16)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive password verifier: %w", err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}
