package github

import (
	"errors"
	"fmt"
	"os"
)

// maxSummary is what GitHub takes of one step's summary.
const maxSummary = 1 << 20

// JobSummary appends Markdown to the file that GITHUB_STEP_SUMMARY names. What is
// beyond GitHub's limit is left out, and the summary says so; else GitHub would
// show none of it.
func JobSummary(path, markdown string) error {
	if path == "" {
		return errors.New("write the job's summary: GITHUB_STEP_SUMMARY is not set: this is no step of a workflow")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write the job's summary: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("write the job's summary: %w", err), f.Close())
	}
	const note = "\n\nThis is not all: the rest is in the report.\n"
	text := markup(markdown) + "\n"
	if room := maxSummary - int(info.Size()); len(text) > room {
		if room <= len(note)+64 {
			return f.Close()
		}
		text = cutMarkdown(text, room-len(note)) + note
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the job's summary: %w", err)
	}
	return nil
}
