package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Payload types of the two kinds of envelope.
const (
	statementPayload = "application/vnd.in-toto+json"
	entryPayload     = "application/vnd.gate.ledger-entry+json"
)

const (
	maxSignatures = 16       // more is nobody's honest envelope
	maxPayload    = 16 << 20 // bytes; bigger things are kept elsewhere and cited by digest
)

// digestOf is how payloads are cited.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// seal signs payload and returns the envelope as it is stored.
func seal(ctx context.Context, s Signer, payloadType string, payload []byte) ([]byte, error) {
	es, err := dsse.NewEnvelopeSigner(s)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	env, err := es.SignPayload(ctx, payloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	b, err := json.Marshal(env)
	if err != nil {
		return nil, fmt.Errorf("encode envelope: %w", err)
	}
	return append(b, '\n'), nil
}

// unseal returns the payload of an envelope and the sorted ids of the keys that
// signed it. One bad signature spoils the envelope, even beside a good one:
// nobody has a reason to store it.
func unseal(ctx context.Context, raw []byte, payloadType string) (payload []byte, signers []string, err error) {
	var env dsse.Envelope
	if err := json.Unmarshal(raw, &env); err != nil {
		return nil, nil, fmt.Errorf("not an envelope: %w", err)
	}
	if env.PayloadType != payloadType {
		return nil, nil, fmt.Errorf("payload type is %.80q, want %q", env.PayloadType, payloadType)
	}
	if n := len(env.Signatures); n == 0 || n > maxSignatures {
		return nil, nil, fmt.Errorf("has %d signatures, want 1 to %d", n, maxSignatures)
	}
	verifiers := make([]dsse.Verifier, 0, len(env.Signatures))
	for _, s := range env.Signatures {
		k, err := ParseKeyID(s.KeyID)
		if err != nil {
			return nil, nil, err
		}
		if slices.Contains(signers, k.ID()) {
			return nil, nil, fmt.Errorf("signed twice by %s", k.ID())
		}
		signers = append(signers, k.ID())
		verifiers = append(verifiers, k)
	}
	ev, err := dsse.NewMultiEnvelopeVerifier(len(verifiers), verifiers...)
	if err != nil {
		return nil, nil, err
	}
	_, payload, err = ev.VerifyAndDecode(ctx, &env)
	if err != nil {
		return nil, nil, fmt.Errorf("%w of %s", errSignature, join(signers))
	}
	slices.Sort(signers)
	return payload, signers, nil
}

var errSignature = errors.New("bad signature")
