// Command notes keeps short notes in PostgreSQL. It shares nothing with the
// service of this repository and is here to show that the pipeline ships any
// service that has a health path and PostgreSQL.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "notes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string) error {
	if len(args) != 1 || args[0] != "run" && args[0] != "db-up" {
		return errors.New("say run or db-up")
	}
	dsn := getenv("PG_DSN")
	if dsn == "" {
		return errors.New("set PG_DSN to the URL of the database")
	}
	pool, err := pgxpool.New(context.WithoutCancel(ctx), dsn)
	if err != nil {
		return errors.New("PG_DSN is not the URL of a PostgreSQL database")
	}
	defer pool.Close()
	if args[0] == "db-up" {
		return dbUp(ctx, pool)
	}
	port := getenv("HTTP_PORT")
	if port == "" {
		return errors.New("set HTTP_PORT to the port to listen on")
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return fmt.Errorf("cannot listen on HTTP_PORT: %w", err)
	}
	return serve(ctx, ln, handler(pool))
}

// serve answers until ctx ends and then finishes what is in flight.
func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 8*time.Second)
	defer cancel()
	err := srv.Shutdown(limit)
	<-ended
	return err
}
