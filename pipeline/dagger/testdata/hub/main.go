// Command hub serves Git repositories to containers: over HTTPS to who has the
// token, over SSH to who has the key. try.sh compiles it with the repository's
// modules.
//
//	hub IP HTTPS-PORT SSH-PORT FOLDER
//
// FOLDER holds repositories and authorized_keys. authority.pem and known_hosts
// are written there for those who come.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func main() {
	ip, folder := os.Args[1], os.Args[4]
	go func() { log.Fatal(overSSH(net.JoinHostPort(ip, os.Args[3]), folder)) }()
	log.Fatal(overHTTPS(net.JoinHostPort(ip, os.Args[2]), ip, folder))
}

func overHTTPS(address, ip, folder string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "try"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(folder, "authority.pem"), block, 0o644); err != nil {
		return err
	}
	where, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return err
	}
	git := &cgi.Handler{
		Path: filepath.Join(string(bytes.TrimSpace(where)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + folder, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=try",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.receivepack", "GIT_CONFIG_VALUE_0=true",
		},
	}
	server := &http.Server{
		Addr:      address,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "x-access-token" || password != os.Getenv("TRY_TOKEN") {
				w.Header().Set("WWW-Authenticate", `Basic realm="try"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			git.ServeHTTP(w, r)
		}),
	}
	return server.ListenAndServeTLS("", "")
}

func overSSH(address, folder string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	host, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return err
	}
	line := knownhosts.Line([]string{address}, host.PublicKey()) + "\n"
	if err := os.WriteFile(filepath.Join(folder, "known_hosts"), []byte(line), 0o644); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(folder, "authorized_keys"))
	if err != nil {
		return err
	}
	may, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), may.Marshal()) {
			return nil, errors.New("another key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			conn, channels, requests, err := ssh.NewServerConn(c, config)
			if err != nil {
				log.Print(err)
				return
			}
			defer conn.Close()
			go ssh.DiscardRequests(requests)
			for offered := range channels {
				go session(offered, folder)
			}
		}()
	}
}

// session runs the one command that a client of Git asks for.
func session(offered ssh.NewChannel, folder string) {
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	for r := range requests {
		var asked struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &asked) != nil {
			_ = r.Reply(r.Type == "env", nil)
			continue
		}
		_ = r.Reply(true, nil)
		verb, what, _ := strings.Cut(asked.Command, " ")
		var status struct{ Code uint32 }
		if verb != "git-upload-pack" && verb != "git-receive-pack" {
			fmt.Fprintln(channel.Stderr(), "only Git is served here")
			status.Code = 1
		} else {
			cmd := exec.Command("git", strings.TrimPrefix(verb, "git-"), filepath.Join(folder, path.Clean("/"+strings.Trim(what, "'"))))
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			in, err := cmd.StdinPipe() // Wait must not wait for a client that says nothing more
			if err == nil {
				err = cmd.Start()
			}
			if err == nil {
				go func() { _, _ = io.Copy(in, channel); in.Close() }()
				err = cmd.Wait()
			}
			if err != nil {
				log.Print(asked.Command, ": ", err)
				status.Code = 1
			}
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
		return
	}
}
