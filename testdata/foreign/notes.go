package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

type note struct {
	ID   int64     `json:"id"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

//go:embed schema.sql
var schema string

func dbUp(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, schema)
	if err != nil {
		return fmt.Errorf("create the table of notes: %w", err)
	}
	return nil
}

func handler(pool *pgxpool.Pool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if _, err := pool.Exec(ctx, `SELECT 1 FROM notes LIMIT 1`); err != nil {
			fail(w, http.StatusServiceUnavailable, "the notes are not there", err)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("POST /notes", func(w http.ResponseWriter, r *http.Request) {
		text, err := parse(http.MaxBytesReader(w, r.Body, 16<<10))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		n := note{Text: text}
		err = pool.QueryRow(r.Context(), `INSERT INTO notes (text) VALUES ($1) RETURNING id, at`, text).Scan(&n.ID, &n.At)
		if err != nil {
			fail(w, http.StatusInternalServerError, "the note was not kept", err)
			return
		}
		reply(w, http.StatusCreated, n)
	})
	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, r *http.Request) {
		// All that begin with a text, or the latest.
		about, limit := r.URL.Query().Get("about"), 20
		if about != "" {
			limit = 1000
		}
		rows, err := pool.Query(r.Context(), `SELECT id, text, at FROM notes WHERE starts_with(text, $1) ORDER BY id DESC LIMIT $2`, about, limit)
		var notes []note
		if err == nil {
			notes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[note])
		}
		if err != nil {
			fail(w, http.StatusInternalServerError, "the notes cannot be read", err)
			return
		}
		reply(w, http.StatusOK, map[string][]note{"notes": notes})
	})
	return mux
}

// parse reads the text of a note from JSON.
func parse(body io.Reader) (string, error) {
	var sent struct {
		Text string `json:"text"`
	}
	if err := json.NewDecoder(body).Decode(&sent); err != nil {
		return "", errors.New(`send {"text":"…"}`)
	}
	text := strings.TrimSpace(sent.Text)
	if text == "" || utf8.RuneCountInString(text) > 1000 || strings.ContainsRune(text, 0) {
		return "", errors.New("a note has 1 to 1000 characters")
	}
	return text, nil
}

// fail tells the client what and the log why.
func fail(w http.ResponseWriter, status int, what string, why error) {
	log.Printf("%s: %v", what, why)
	http.Error(w, what, status)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has left
}
