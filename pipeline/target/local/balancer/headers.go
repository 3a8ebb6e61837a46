package balancer

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/http/httputil"
	"strings"
)

// ArmWatch is the arm that the watch over the environment names: its requests go
// the way of clients' requests, and count nowhere, so that they neither judge a
// canary nor keep an idle service busy.
const ArmWatch = "watch"

// choose says which arm a request goes to, and whether it is a synthetic one, or
// one of the watch. It is not ok when a request with the right key names an arm
// that there is not.
func (b *Balancer) choose(r *http.Request) (kind int, synthetic, watch, ok bool) {
	if keys := r.Header[HeaderSynthetic]; len(keys) == 1 && b.key != nil {
		// Comparing digests hides the length of the key as well.
		sum := sha256.Sum256([]byte(keys[0]))
		synthetic = subtle.ConstantTimeCompare(sum[:], b.key[:]) == 1
	}
	if synthetic {
		switch arm := r.Header[HeaderArm]; {
		case len(arm) == 0:
		case len(arm) == 1 && arm[0] == "stable":
			return stable, true, false, true
		case len(arm) == 1 && arm[0] == "canary":
			return canary, true, false, true
		case len(arm) == 1 && arm[0] == ArmWatch:
			synthetic, watch = false, true
		default:
			return 0, true, false, false
		}
	}
	st := b.current.Load()
	if len(st.arms[canary].backends) > 0 && b.weights.canary(st.weight) {
		return canary, synthetic, watch, true
	}
	return stable, synthetic, watch, true
}

// rewrite makes the request that an instance gets. ReverseProxy has taken off
// hop-by-hop headers before.
func rewrite(p *httputil.ProxyRequest) {
	h := p.Out.Header
	for k := range h {
		if untrusted(k) {
			delete(h, k)
		}
	}
	p.SetXForwarded()
	// Byte for byte what the client sent: instances parse it, the balancer does not.
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	// The Transport takes these for leave to send a request twice. Spelt in lower
	// case it does not see them, and to an instance they are the same.
	if !repeatable(p.Out) {
		for _, k := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			if v, ok := h[k]; ok {
				delete(h, k)
				h[strings.ToLower(k)] = v
			}
		}
	}
}

// untrusted names headers that only the balancer may set: a client could use
// them to pretend to be somebody else or to come from elsewhere.
func untrusted(canonical string) bool {
	return strings.HasPrefix(canonical, "X-Gate-") ||
		strings.HasPrefix(canonical, "X-Forwarded") ||
		canonical == "Forwarded" || canonical == "X-Real-Ip" || canonical == "True-Client-Ip"
}
