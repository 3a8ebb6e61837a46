package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
)

// LogsCmd shows logs.
type LogsCmd struct {
	Environment string `arg:"" help:"The environment."`
	Instance    string `placeholder:"ID" help:"One instance alone, by the id that gate status shows."`
	Daemon      bool   `help:"The daemon's own log."`
	Access      bool   `help:"The load balancer's log, one JSON line a request."`
	Number      int    `short:"n" default:"20" help:"Lines of each log, from its end."`
}

// Run prints the ends of the logs that were asked for.
func (c *LogsCmd) Run(ctx context.Context, g *Globals) error {
	s, err := g.open(ctx, c.Environment)
	if err != nil {
		return err
	}
	defer s.close()
	paths := s.paths(c.Environment)
	var files []string
	switch {
	case c.Daemon:
		files = []string{paths.DaemonLog()}
	case c.Access:
		files = []string{paths.AccessLog()}
	default:
		if files, err = logsOf(paths.Logs(), c.Instance); err != nil {
			return err
		}
	}
	var shown []logEnd
	for _, f := range files {
		if f == paths.AccessLog() && !c.Access {
			continue
		}
		lines, err := tail(f, c.Number)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		shown = append(shown, logEnd{f, lines})
		if g.Output == "json" {
			continue
		}
		fmt.Fprintf(g.Err, "== %s\n", f)
		for _, l := range lines {
			fmt.Fprintln(g.Out, l)
		}
	}
	if len(shown) == 0 {
		if c.Instance != "" {
			return &Exit{promotion.CodeUsage, fmt.Errorf("%s has no log of instance %s: gate status %s shows those that run, %s holds the logs of all", c.Environment, c.Instance, c.Environment, paths.Logs())}
		}
		return &Exit{promotion.CodeUsage, fmt.Errorf("%s has no such log yet in %s: it is made once the environment runs, as by gate run", c.Environment, paths.Logs())}
	}
	if g.Output == "json" {
		return report.JSON(g.Out, shown)
	}
	return nil
}

// logsOf are the logs in the folder, of one instance or (empty) of all.
func logsOf(dir, instance string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	sort.Strings(files)
	return slices.DeleteFunc(files, func(f string) bool { return instance != "" && !strings.HasPrefix(filepath.Base(f), instance+"-") }), err
}

// logEnd is the end of one log.
type logEnd struct {
	File  string   `json:"file"`
	Lines []string `json:"lines"`
}

// tailBytes is how much of a log's end is looked at.
const tailBytes = 1 << 20

func tail(file string, n int) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	lines := []string{}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, tailBytes)
	for sc.Scan() {
		lines = append(lines, sc.Text())
	}
	return lines[max(0, len(lines)-n):], sc.Err()
}
