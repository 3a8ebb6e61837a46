package checks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// tlsTimeout is the time for one handshake.
const tlsTimeout = 5 * time.Second

// TLS shakes hands with the public address and reports what it is shown: the
// version agreed on, the oldest version accepted (Go speaks nothing older than
// TLS 1.0), whether the chain leads to a trusted root at this time, and apart
// from that whether the certificate is for the name.
//
// A server that doesn't speak TLS is Completed, with the problem told; one that
// can't be reached, or doesn't answer, is Unavailable.
func TLS() Check {
	return Check{
		Name:      "tls",
		Criterion: "tls",
		Version:   1,
		Scope:     OfEnvironment,
		InEnv:     true,
		Title:     "Certificate and TLS version at the public address",
		Parameters: func(in Input) map[string]string {
			if in.Environment == nil {
				return nil
			}
			return map[string]string{
				"listen": in.Environment.Listen,
				"names":  strings.Join(in.Environment.TLS.Names, " "),
				"trust":  in.Environment.TLS.Trust,
			}
		},
		Estimate: func(Input) time.Duration { return time.Second },
		Measure:  tlsMeasure,
		Pool:     tlsPool,
	}
}

func tlsMeasure(ctx context.Context, in Input) (Measurement, error) {
	switch {
	case in.Address == "":
		return Measurement{Status: Unavailable, Reason: "the environment has no address; is it being served?"}, nil
	case in.Name == "":
		return Measurement{Status: Unavailable, Reason: "the environment declares no name to verify its certificate against"}, nil
	}
	p, err := tlsHandshakes(ctx, in)
	if err := ctx.Err(); err != nil {
		return Measurement{}, err
	}
	if err != nil {
		// Nothing was learnt that could speak for or against the certificate.
		return Measurement{Status: Unavailable, Reason: fmt.Sprintf("no handshake with %s: %v", in.Address, err)}, nil
	}
	return Measurement{Status: Completed, Tools: loadTools(), Payload: p}, nil
}

// tlsHandshakes returns an error when the server could not be asked.
func tlsHandshakes(ctx context.Context, in Input) (TLSPayload, error) {
	p := TLSPayload{Address: in.Address, Name: in.Name, PrivateTrust: in.Roots != nil}
	state, err := tlsHandshake(ctx, in, tls.VersionTLS10, tls.VersionTLS13)
	if err != nil {
		if !tlsRefusal(err) {
			return TLSPayload{}, err
		}
		p.Problem = "the server agrees on no version of TLS: " + err.Error()
		return p, nil
	}
	p.Version = tls.VersionName(state.Version)
	oldest := state.Version
	for v := uint16(tls.VersionTLS10); v < state.Version; v++ {
		_, err := tlsHandshake(ctx, in, v, v)
		if err == nil {
			oldest = v
			break
		}
		if !tlsRefusal(err) {
			return TLSPayload{}, fmt.Errorf("asked for %s: %w", tls.VersionName(v), err)
		}
	}
	p.MinVersion = tls.VersionName(oldest)
	tlsVerify(&p, state.PeerCertificates, in, time.Now())
	return p, nil
}

// tlsHandshake connects anew and agrees on a version between low and high.
func tlsHandshake(ctx context.Context, in Input, low, high uint16) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", in.Address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = raw.Close() }()
	config := &tls.Config{
		ServerName: in.Name,
		MinVersion: low,
		MaxVersion: high,
		// The chain and the name are verified by tlsVerify, one apart from the
		// other, and no data is sent over this connection.
		InsecureSkipVerify: true, // #nosec G402
	}
	// What is asked is whether the server would take a version, be it with the
	// weakest cipher.
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		config.CipherSuites = append(config.CipherSuites, suite.ID)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, tlsError{err}
	}
	return conn.ConnectionState(), nil
}

// tlsError is an error of a handshake with a server that was reached.
type tlsError struct{ error }

func (e tlsError) Unwrap() error { return e.error }

// tlsRefusal says that the server was reached and did not want the handshake:
// it said so, hung up, or spoke something else. Silence is no refusal.
func tlsRefusal(err error) bool {
	var handshake tlsError
	if !errors.As(err, &handshake) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return false
	}
	var op *net.OpError
	if !errors.As(err, &op) {
		return true // an alert, or what crypto/tls makes of the server's words
	}
	// An alert received arrives as an OpError too.
	return op.Op == "remote error" || op.Op == "local error" || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// tlsVerify judges the certificates against roots and name at a time.
func tlsVerify(p *TLSPayload, certificates []*x509.Certificate, in Input, at time.Time) {
	if len(certificates) == 0 {
		p.Problem = "the server shows no certificate"
		return
	}
	leaf := certificates[0]
	p.NotAfter = leaf.NotAfter.UTC()
	p.Issuer = leaf.Issuer.String()
	between := x509.NewCertPool()
	for _, c := range certificates[1:] {
		between.AddCert(c)
	}
	var problems []string
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         in.Roots,
		Intermediates: between,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if p.ChainValid = err == nil; err != nil {
		problems = append(problems, err.Error())
	}
	err = leaf.VerifyHostname(in.Name)
	if p.NameValid = err == nil; err != nil {
		problems = append(problems, err.Error())
	}
	p.Problem = strings.Join(problems, "; ")
}

// tlsPool keeps the newest handshake. A certificate is a state and no sample:
// what an older handshake saw of a certificate since renewed says nothing, and
// its worst would stay for good. A handshake also comes out the same however
// often it is repeated, so that repeating it gains nobody anything.
func tlsPool(payloads [][]byte) ([]byte, error) {
	if len(payloads) == 0 {
		return nil, fmt.Errorf("pool tls: %w", errLoadNothing)
	}
	var p TLSPayload
	if err := json.Unmarshal(payloads[len(payloads)-1], &p); err != nil {
		return nil, fmt.Errorf("pool tls: run %d: %w", len(payloads), err)
	}
	return json.Marshal(p)
}
