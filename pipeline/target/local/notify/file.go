package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// File appends messages to a file on this machine, one JSON line each: for who
// declares that nobody else is to be told.
type File struct {
	Name string
	// Mail is asked for a mail server that listens now as well; nil: none does.
	Mail func(m Message) Sender
}

// maxFile bounds the file: a bigger one is moved aside, once.
const maxFile = 8 << 20

// Send implements Sender. Where a mail server listens, it must have taken the
// message too.
func (f File) Send(ctx context.Context, m Message) (string, error) {
	said := "written to " + f.Name
	if f.Mail != nil {
		if s := f.Mail(m); s != nil {
			by, err := s.Send(ctx, m)
			if err != nil {
				return "", err
			}
			said = by
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("alert %s: %w", m.Alert, err)
	}
	if fi, err := os.Stat(f.Name); err == nil && fi.Size() > maxFile {
		_ = os.Rename(f.Name, f.Name+".1")
	}
	out, err := os.OpenFile(f.Name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("file of alerts: %w", err)
	}
	_, err = out.Write(append(b, '\n'))
	if err := errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("file of alerts: %w", err)
	}
	return said, nil
}
