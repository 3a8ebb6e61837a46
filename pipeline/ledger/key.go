package ledger

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// keyPrefix starts every key id. What follows is the whole public key, so that
// a signature can be verified offline; trust.yaml says what it is worth.
const keyPrefix = "ed25519:"

// Signer signs statements and entries. Its KeyID must be "ed25519:" and the 64
// lower-case hexadecimal digits of the public key.
type Signer = dsse.Signer

// Key is an ed25519 key pair, or the public half of one.
type Key struct {
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

var _ dsse.SignerVerifier = (*Key)(nil)

// LoadOrCreateKey reads the private key in the file path (PEM, PKCS #8), or
// makes one, mode 0600, and its folder, mode 0700. It refuses a file that
// others may read or write and a folder that they may list or write. When two
// processes create the same key, both get the one that was first.
func LoadOrCreateKey(path string) (k *Key, created bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, false, storageError("create the folder of the key", err)
	}
	if err := privateFolder(filepath.Dir(path)); err != nil {
		return nil, false, err
	}
	k, err = loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, false, err
	}
	if err := writeNewKey(path); errors.Is(err, fs.ErrExist) {
		k, err = loadKey(path)
		return k, false, err
	} else if err != nil {
		return nil, false, storageError("create the key "+path, err)
	}
	k, err = loadKey(path)
	return k, err == nil, err
}

func privateFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return storageError("look at the folder of the key", err)
	}
	if p := info.Mode().Perm(); p&0o066 != 0 {
		return fmt.Errorf("folder %s has mode %04o, so others could list or replace the key in it: chmod 700 %s", dir, p, dir)
	}
	return nil
}

func loadKey(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, storageError("open the key", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, storageError("look at the key", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key %s is no regular file: move it away, and a new key is made", path)
	}
	if p := info.Mode().Perm(); p&0o077 != 0 {
		return nil, fmt.Errorf("key %s has mode %04o, so others could use it: chmod 600 %s, and if it was ever readable by others make a new one", path, p, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, storageError("read the key", err)
	}
	return ParseKey(b, path)
}

// ParseKey reads a private key (PEM, PKCS #8); path says where it came from.
func ParseKey(b []byte, path string) (*Key, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("key %s holds no PEM private key: restore it, or move it away and a new one is made", path)
	}
	// The parser's own error is left out: it may quote what it could not parse.
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key %s is damaged: restore it, or move it away and a new one is made", path)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key %s is a %T, want an ed25519 key: move it away, and a new one is made", path, parsed)
	}
	return &Key{public: private.Public().(ed25519.PublicKey), private: private}, nil
}

func writeNewKey(path string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = pem.Encode(tmp, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	// A link, other than a rename, fails when somebody else's key is there first.
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// ParseKeyID returns the public key that a key id holds.
func ParseKeyID(id string) (*Key, error) {
	digits, ok := strings.CutPrefix(id, keyPrefix)
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != ed25519.PublicKeySize || digits != strings.ToLower(digits) {
		return nil, fmt.Errorf("key id %.80q is not %q and 64 lower-case hexadecimal digits", id, keyPrefix)
	}
	return &Key{public: b}, nil
}

// ID is "ed25519:" and the 64 hexadecimal digits of the public key.
func (k *Key) ID() string { return keyPrefix + hex.EncodeToString(k.public) }

// KeyID is ID, as dsse wants it. It never fails.
func (k *Key) KeyID() (string, error) { return k.ID(), nil }

// Public is the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign signs data. It fails for a key that is only the public half.
func (k *Key) Sign(_ context.Context, data []byte) ([]byte, error) {
	if k.private == nil {
		return nil, fmt.Errorf("key %s: its private half is not here", k.ID())
	}
	return ed25519.Sign(k.private, data), nil
}

// Verify says whether sig is the key's signature of data.
func (k *Key) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(k.public, data, sig) {
		return fmt.Errorf("signature is not by %s", k.ID())
	}
	return nil
}
