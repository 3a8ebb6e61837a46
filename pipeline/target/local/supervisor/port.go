package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// reservation keeps a loopback port from everybody else between its choice and
// the moment when the instance listens on it. It is a bound socket that does not
// listen: with SO_REUSEADDR on both sides, which nearly every server sets, an
// instance may bind and listen beside it, while the kernel no longer hands the
// port to anyone who asks for a free one or connects out.
type reservation struct{ fd, port int }

func reservePort() (*reservation, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("choose a port: %w", err)
	}
	r := &reservation{fd: fd}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		r.release()
		return nil, fmt.Errorf("choose a port: %w", err)
	}
	r.port = name.(*unix.SockaddrInet4).Port
	return r, nil
}

func (r *reservation) release() {
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
}

// choosePort reserves a port that no live instance has: one that has not yet
// bound its own would otherwise meet the same number.
func (s *Supervisor) choosePort() (*reservation, error) {
	var passed []*reservation
	defer func() {
		for _, r := range passed {
			r.release()
		}
	}()
	for range 100 {
		r, err := reservePort()
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		taken := slices.ContainsFunc(s.list(func(in *instance) bool { return in.rec.PID != 0 }),
			func(v Instance) bool { return v.Address == address(r.port) })
		s.mu.Unlock()
		if !taken {
			return r, nil
		}
		passed = append(passed, r)
	}
	return nil, errors.New("choose a port: the kernel offers only ports of live instances; see net.ipv4.ip_local_port_range")
}

// portTaken says whether a process that ended complained that its address was in
// use, in the words of the C library and of Node.
func portTaken(tail []string) bool {
	return slices.ContainsFunc(tail, func(line string) bool {
		line = strings.ToLower(line)
		return strings.Contains(line, "address already in use") || strings.Contains(line, "address in use") ||
			strings.Contains(line, "eaddrinuse")
	})
}
