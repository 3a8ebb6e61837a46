// Command forward lets others into an environment that listens on loopback alone:
// it takes connections to the port on every other address of the container, and
// passes them on as they are.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: forward PORT")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		os.Exit(1)
	}
}

func run(port string) error {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	ended := make(chan error)
	n := 0
	for _, a := range addresses {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.IsLinkLocalUnicast() {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(ip.IP.String(), port))
		if err != nil {
			return err
		}
		n++
		go func() { ended <- accept(l, net.JoinHostPort("127.0.0.1", port)) }()
	}
	if n == 0 {
		return errors.New("this container has no address but loopback")
	}
	return <-ended
}

func accept(l net.Listener, to string) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go pass(c, to)
	}
}

// pass copies both ways until both sides have said that they are done.
func pass(from net.Conn, to string) {
	defer from.Close()
	c, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer c.Close()
	var wg sync.WaitGroup
	copied := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src)
		if half, ok := dst.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}
	wg.Go(func() { copied(c, from) })
	wg.Go(func() { copied(from, c) })
	wg.Wait()
}
