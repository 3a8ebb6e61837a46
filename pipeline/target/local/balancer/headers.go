package balancer

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
)

// ArmWatch is the arm that the watch over the environment names: its requests go
// the way of clients' requests, and count nowhere, so that they neither judge a
// canary nor keep an idle service busy.
const ArmWatch = "watch"

// choice is where a request goes, and how it counts.
type choice struct {
	kind      int    // arm
	synthetic bool   // gate's own, declared
	watch     bool   // counts nowhere
	health    bool   // counts in no arm's figures
	visitor   uint32 // hash of the sticky cookie; 0: it is dealt out by itself
}

// choose is not ok when a request with the right key names an arm that there is
// not.
func (b *Balancer) choose(r *http.Request) (c choice, ok bool) {
	c.synthetic = keyed(r, HeaderSynthetic, b.key)
	if c.synthetic {
		arm := r.Header[HeaderArm]
		if len(arm) == 1 && arm[0] == ArmWatch {
			c.synthetic, c.watch = false, true
		} else if len(arm) > 0 {
			c.kind = slices.Index(armNames[:], arm[0])
			return c, len(arm) == 1 && c.kind >= 0
		}
	}
	st := b.current.Load()
	c.health = !c.synthetic && slices.Contains(st.health, r.URL.Path)
	if c.kind, c.visitor = b.deal(st, r); len(st.arms[c.kind].backends) == 0 {
		c.kind = stable
	}
	return c, true
}

func (b *Balancer) deal(st *state, r *http.Request) (kind int, visitor uint32) {
	if st.weight == 0 {
		return stable, 0
	}
	if st.sticky != "" {
		if cookie, err := r.Cookie(st.sticky); err == nil && cookie.Value != "" {
			return st.seat(cookie.Value)
		}
	}
	return b.weights.deal(st.weight, len(st.arms[baseline].backends) > 0), 0
}

// keyed says whether the request has the key whose digest is given in the header.
func keyed(r *http.Request, header string, digest *[sha256.Size]byte) bool {
	keys := r.Header[header]
	if len(keys) != 1 || digest == nil {
		return false
	}
	// Comparing digests hides the length of the key as well.
	sum := sha256.Sum256([]byte(keys[0]))
	return subtle.ConstantTimeCompare(sum[:], digest[:]) == 1
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
