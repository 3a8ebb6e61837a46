package checks

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// networkSocket is one line of a table.
type networkSocket struct {
	protocol string
	datagram bool
	local    netip.AddrPort
	listens  bool
	inode    uint64
}

// networkSeen is what one look at the tables saw.
type networkSeen struct {
	processes, sockets int
	listening          []networkHeld
}

// networkHeld is a socket in the hands of a process.
type networkHeld struct {
	networkSocket
	process Process
}

// States of include/net/tcp_states.h. A UDP socket without a peer is closed.
const (
	networkListen = 0x0A
	networkClosed = 0x07
)

// networkLook reads the tables under proc and finds the processes' sockets in
// them. A process that has ended meanwhile is passed over; what is there and may
// not be read is errNetworkBlind.
func networkLook(proc string, processes []Process) (networkSeen, error) {
	tables := map[string]map[uint64]networkSocket{} // network namespace → inode → socket
	var seen networkSeen
	for _, p := range processes {
		dir := filepath.Join(proc, strconv.Itoa(p.PID))
		var table map[uint64]networkSocket
		var inodes map[uint64]bool
		err := LookAt(dir, func() (err error) {
			space, err := os.Readlink(filepath.Join(dir, "ns", "net"))
			if err != nil {
				return fmt.Errorf("network namespace of %s (process %d) %w: %w", p.Name, p.PID, errNetworkBlind, err)
			}
			if tables[space] == nil {
				if tables[space], err = networkTables(filepath.Join(dir, "net")); err != nil {
					return fmt.Errorf("sockets of %s (process %d) %w: %w", p.Name, p.PID, errNetworkBlind, err)
				}
			}
			table = tables[space]
			if inodes, err = networkInodes(filepath.Join(dir, "fd")); err != nil {
				return fmt.Errorf("open files of %s (process %d) %w: %w", p.Name, p.PID, errNetworkBlind, err)
			}
			return nil
		})
		if networkGone(err) {
			continue
		} else if err != nil {
			return seen, err
		}
		seen.processes++
		for inode := range inodes {
			s, ok := table[inode]
			if !ok {
				continue // of another family, or opened since
			}
			seen.sockets++
			if s.listens {
				seen.listening = append(seen.listening, networkHeld{s, p})
			}
		}
	}
	return seen, nil
}

func networkGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// networkInodes are the sockets among a process's open files.
func networkInodes(dir string) (map[uint64]bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := map[uint64]bool{}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if networkGone(err) {
			continue // closed meanwhile
		} else if err != nil {
			return nil, err
		}
		text, ok := strings.CutPrefix(to, "socket:[")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("odd name %q of a socket", to)
		}
		out[n] = true
	}
	return out, nil
}

// networkTables reads all tables of one network namespace. Without IPv6 there
// are none of it; those of IPv4 are always there.
func networkTables(dir string) (map[uint64]networkSocket, error) {
	all := map[uint64]networkSocket{}
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6", "udplite", "udplite6"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) && name != "tcp" && name != "udp" {
			continue
		} else if err != nil {
			return nil, err
		}
		if err := networkParse(name, b, all); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
	}
	return all, nil
}

func networkParse(name string, table []byte, into map[uint64]networkSocket) error {
	lines := bufio.NewScanner(bytes.NewReader(table))
	for n := 0; lines.Scan(); n++ {
		f := strings.Fields(lines.Text())
		if n == 0 || len(f) == 0 {
			continue // heading
		}
		if len(f) < 10 {
			return fmt.Errorf("line %d has %d fields", n+1, len(f))
		}
		local, err := networkAddress(f[1])
		if err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
		state, err := strconv.ParseUint(f[3], 16, 8)
		if err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
		s := networkSocket{protocol: name, datagram: strings.HasPrefix(name, "udp"), local: local, inode: inode}
		s.listens = s.datagram && state == networkClosed || !s.datagram && state == networkListen
		if inode != 0 {
			into[inode] = s
		}
	}
	return lines.Err()
}

// networkAddress reads "0100007F:1F90": 32-bit words as the machine keeps them.
func networkAddress(text string) (netip.AddrPort, error) {
	host, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	if !ok || err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(n)), nil
}
