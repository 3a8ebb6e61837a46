package checks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Process is one process of an environment.
type Process struct {
	PID  int
	Role string // daemon, holder, instance, database
	Name string // for people: "instance 3"
}

// ProcessLister says which processes belong to an environment.
type ProcessLister interface {
	// Processes are the daemon, the holder of its socket, the instances, an own
	// PostgreSQL, and whatever they have started.
	Processes(ctx context.Context) ([]Process, error)
}

// NetworkPayload is what the kernel says an environment's processes listen on.
type NetworkPayload struct {
	Declared  string            `json:"declared"`  // host:port of the load balancer, the one that may be reached
	Balancer  bool              `json:"balancer"`  // the daemon was seen to listen there
	Looks     int               `json:"looks"`     // times that the tables were read
	Processes int               `json:"processes"` // whose sockets were looked at
	Instances int               `json:"instances"` // instances that were seen to listen
	Sockets   int               `json:"sockets"`   // sockets of them of any kind
	Listeners []NetworkListener `json:"listeners"`
	Exposed   int               `json:"exposed"` // listeners beyond loopback that nobody declared
	Exposures []NetworkListener `json:"exposures,omitempty"`
}

// NetworkListener is one socket that takes what others send.
type NetworkListener struct {
	Protocol string `json:"protocol"` // tcp, tcp6, udp, udp6
	Address  string `json:"address"`
	Port     int    `json:"port"`
	Role     string `json:"role"`
	Process  string `json:"process"`
}

const (
	networkLooks = 2
	// networkPause parts the looks: an instance that is being replaced while one
	// is taken is there at the other.
	networkPause = 300 * time.Millisecond
)

// errNetworkBlind: something may not be looked at, so that nothing can be said.
var errNetworkBlind = errors.New("can't be looked at")

// Network reads the kernel's tables of sockets, in each network namespace that a
// process of the environment lives in, and says which of those processes listen
// beyond loopback. A UDP socket that is not tied to one peer listens.
func Network() Check {
	return Check{
		Name:      "network",
		Criterion: "network",
		Version:   1,
		Scope:     OfEnvironment,
		InEnv:     true,
		Title:     "What the environment's processes listen on",
		Parameters: func(in Input) map[string]string {
			p := map[string]string{"release": in.Release}
			if in.Environment != nil {
				p["listen"] = in.Environment.Listen
			}
			return p
		},
		Estimate: func(Input) time.Duration { return time.Second },
		Measure:  networkMeasure,
		Pool: func(payloads [][]byte) ([]byte, error) {
			// What was exposed once was exposed: another release or configuration has
			// another key.
			return poolWorst(payloads, func(a, b NetworkPayload) NetworkPayload {
				b.Balancer = a.Balancer && b.Balancer
				b.Looks, b.Processes = min(a.Looks, b.Looks), min(a.Processes, b.Processes)
				b.Instances, b.Sockets = min(a.Instances, b.Instances), min(a.Sockets, b.Sockets)
				b.Exposures = networkUnion(a.Exposures, b.Exposures)
				b.Exposed = len(b.Exposures)
				return b
			})
		},
	}
}

func networkMeasure(ctx context.Context, in Input) (Measurement, error) {
	lister, ok := in.Target.(ProcessLister)
	switch {
	case in.Environment == nil || in.Environment.Listen == "":
		return Measurement{Status: Unavailable, Reason: "the environment declares no address"}, nil
	case !ok:
		return Measurement{Status: Unavailable, Reason: "the target does not say which processes belong to the environment"}, nil
	}
	declared, err := networkDeclared(ctx, in.Environment.Listen)
	if err != nil {
		return Measurement{Status: Unavailable, Reason: fmt.Sprintf("the declared address %s: %v", in.Environment.Listen, err)}, nil
	}
	p := NetworkPayload{Declared: in.Environment.Listen, Listeners: []NetworkListener{}}
	for ; p.Looks < networkLooks; p.Looks++ {
		if p.Looks > 0 {
			select {
			case <-ctx.Done():
				return Measurement{}, ctx.Err()
			case <-time.After(networkPause):
			}
		}
		processes, err := lister.Processes(ctx)
		if err != nil {
			return Measurement{Status: Unavailable, Reason: fmt.Sprintf("processes of %s: %v", in.Environment.Name, err)}, nil
		}
		look, err := networkLook("/proc", processes)
		if errors.Is(err, errNetworkBlind) {
			return Measurement{Status: Unavailable, Reason: err.Error() + "; measure as the user that runs the environment, or as root"}, nil
		} else if err != nil {
			return Measurement{}, err
		}
		networkAdd(&p, look, declared)
	}
	p.Exposed = len(p.Exposures)
	if !p.Balancer {
		return Measurement{Status: Invalid, Reason: fmt.Sprintf("the daemon is not seen to listen on %s, so what is seen can't be all", p.Declared), Payload: p}, nil
	}
	return Measurement{Status: Completed, Tools: loadTools(), Payload: p}, nil
}

// networkAdd adds what one look saw to p: each listener once, of the figures the
// least.
func networkAdd(p *NetworkPayload, look networkSeen, declared []netip.AddrPort) {
	instances := map[string]bool{}
	var seen, exposed []NetworkListener
	balancer := false
	for _, s := range look.listening {
		l := NetworkListener{Protocol: s.protocol, Address: s.local.Addr().String(), Port: int(s.local.Port()), Role: s.process.Role, Process: s.process.Name}
		seen = append(seen, l)
		if l.Role == "instance" {
			instances[l.Process] = true
		}
		// The holder has the daemon's socket for when there is no daemon, and does
		// not prove that there is one.
		own := (l.Role == "daemon" || l.Role == "holder") && !s.datagram && slices.Contains(declared, netip.AddrPortFrom(s.local.Addr().Unmap(), s.local.Port()))
		switch {
		case own:
			balancer = balancer || l.Role == "daemon"
		case !s.local.Addr().Unmap().IsLoopback():
			exposed = append(exposed, l)
		}
	}
	if p.Looks == 0 {
		p.Balancer, p.Processes, p.Sockets, p.Instances = balancer, look.processes, look.sockets, len(instances)
	} else {
		p.Balancer = p.Balancer && balancer
		p.Processes, p.Sockets = min(p.Processes, look.processes), min(p.Sockets, look.sockets)
		p.Instances = min(p.Instances, len(instances))
	}
	p.Listeners, p.Exposures = networkUnion(p.Listeners, seen), networkUnion(p.Exposures, exposed)
}

func networkUnion(a, b []NetworkListener) []NetworkListener {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(a, b NetworkListener) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Process, b.Process), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	return slices.Compact(all)
}

// networkDeclared are the addresses that a listener on listen has in the tables.
func networkDeclared(ctx context.Context, listen string) ([]netip.AddrPort, error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	port := uint16(n)
	if host == "" {
		return []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), port), netip.AddrPortFrom(netip.IPv6Unspecified(), port)}, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, a := range addrs {
		out = append(out, netip.AddrPortFrom(a.Unmap(), port))
		if a.Unmap() == netip.IPv4Unspecified() {
			// The kernel shows the wildcard of both families as IPv6's.
			out = append(out, netip.AddrPortFrom(netip.IPv6Unspecified(), port))
		}
	}
	return out, nil
}
