package checks

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/environments"
)

func TestNetworkAddress(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000:0050":                         "0.0.0.0:80",
		"00000000000000000000000000000000:01BB": "[::]:443",
		"00000000000000000000000001000000:1538": "[::1]:5432",
		"0000000000000000FFFF00000100007F:1F90": "[::ffff:127.0.0.1]:8080",
		"0000000000000000FFFF00000200A8C0:1F90": "[::ffff:192.168.0.2]:8080",
	} {
		got, err := networkAddress(text)
		if err != nil || got != netip.MustParseAddrPort(want) {
			t.Errorf("%s: %s %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0100007F", "0100007F:", "01007F:1F90", "0100007G:1F90", "0100007F:1FFFF"} {
		if got, err := networkAddress(text); err == nil {
			t.Errorf("%q became %s", text, got)
		}
	}
}

// TestNetworkTable: of TCP what listens, of UDP what has no peer.
func TestNetworkTable(t *testing.T) {
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 00000000:1F90 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0\n"
	for _, c := range []struct {
		name, state string
		listens     bool
	}{{"tcp", "0A", true}, {"tcp", "01", false}, {"tcp6", "06", false}, {"udp", "07", true}, {"udp", "01", false}} {
		into := map[uint64]networkSocket{}
		if err := networkParse(c.name, []byte(strings.Replace(table, "%s", c.state, 1)), into); err != nil || into[77].listens != c.listens {
			t.Errorf("%s %s: %+v %v", c.name, c.state, into, err)
		}
	}
	if err := networkParse("tcp", []byte("heading\nhalf a line\n"), map[uint64]networkSocket{}); err == nil {
		t.Error("a table that can't be read was taken for an empty one")
	}
}

// listed is a target of these processes.
type listed struct {
	all []Process
	err error
}

func (l listed) Processes(context.Context) ([]Process, error) { return l.all, l.err }

func TestNetworkOfThisProcess(t *testing.T) {
	front, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	own := Process{PID: os.Getpid(), Role: "daemon", Name: "daemon"}
	measure := func(listen string, target any) Measurement {
		t.Helper()
		m, err := Network().Measure(t.Context(), Input{Environment: &environments.Environment{Name: "staging", Listen: listen}, Target: target})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := measure(front.Addr().String(), listed{all: []Process{own}})
	if p, ok := m.Payload.(NetworkPayload); !ok || m.Status != Completed || !p.Balancer || p.Exposed != 0 || p.Processes != 1 || p.Instances != 0 {
		t.Errorf("%+v", m)
	}

	// A dual-stack wildcard shows as IPv6's, and is one all the same.
	wide, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer wide.Close()
	if p := measure(front.Addr().String(), listed{all: []Process{own}}).Payload.(NetworkPayload); p.Exposed != 1 || p.Exposures[0].Port != wide.Addr().(*net.TCPAddr).Port {
		t.Errorf("%+v", p)
	}
	for _, declared := range []string{"", "0.0.0.0", "[::]"} {
		p := measure(declared+":"+strconv.Itoa(wide.Addr().(*net.TCPAddr).Port), listed{all: []Process{own}}).Payload.(NetworkPayload)
		if !p.Balancer || p.Exposed != 0 {
			t.Errorf("declared on %q: %+v", declared, p)
		}
	}

	// A holder has the same socket: that is no exposure, and no load balancer.
	own.Role = "holder"
	if m := measure(front.Addr().String(), listed{all: []Process{own}}); m.Status != Invalid || m.Payload.(NetworkPayload).Exposed != 1 {
		t.Errorf("held, and nobody serves: %+v", m)
	}

	// Another's listener on the declared address is not the balancer's.
	own.Role = "instance"
	if m := measure(front.Addr().String(), listed{all: []Process{own}}); m.Status != Invalid {
		t.Errorf("%+v", m)
	}
	for what, target := range map[string]any{
		"a target that knows no processes": nil, "a daemon that is away": listed{err: errors.New("away")},
	} {
		if m := measure(front.Addr().String(), target); m.Status != Unavailable || m.Reason == "" {
			t.Errorf("%s: %+v", what, m)
		}
	}
	if m := measure(front.Addr().String(), listed{}); m.Status != Invalid {
		t.Errorf("no process: %+v", m)
	}
}

// TestNetworkBlind: what may not be looked at is no empty list.
func TestNetworkBlind(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"7/net/tcp", "7/net/udp"} {
		if err := os.MkdirAll(dir+"/7/net", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+f, []byte("heading\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir+"/7/ns", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("net:[1]", dir+"/7/ns/net"); err != nil {
		t.Fatal(err)
	}
	// Not a folder: as unreadable as one of another user's.
	if err := os.WriteFile(dir+"/7/fd", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if seen, err := networkLook(dir, []Process{{PID: 7}}); !errors.Is(err, errNetworkBlind) {
		t.Errorf("%+v %v", seen, err)
	}
}

func TestNetworkPool(t *testing.T) {
	open := NetworkListener{Protocol: "tcp", Address: "0.0.0.0", Port: 1, Role: "instance", Process: "instance 1"}
	bad, good := NetworkPayload{Balancer: true, Looks: 2, Instances: 2, Exposed: 1, Exposures: []NetworkListener{open}}, NetworkPayload{Balancer: true, Looks: 2, Instances: 1}
	encode := func(p NetworkPayload) []byte { b, _ := json.Marshal(p); return b }
	b, err := Network().Pool([][]byte{encode(bad), encode(good), encode(good)})
	if err != nil {
		t.Fatal(err)
	}
	var p NetworkPayload
	if err := json.Unmarshal(b, &p); err != nil || p.Exposed != 1 || len(p.Exposures) != 1 || p.Instances != 1 {
		t.Errorf("%+v %v", p, err)
	}
}
