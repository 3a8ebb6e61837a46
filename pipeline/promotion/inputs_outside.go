package promotion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
)

// answered is what Prometheus says to an instant query.
type answered struct {
	Status   string   `json:"status"`
	Error    string   `json:"error"`
	Warnings []string `json:"warnings"`
	Data     struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
}

// queried is what Prometheus answers. Anything but one finite number is no data.
func queried(ctx context.Context, q environments.Prometheus, values map[string]string, now time.Time) Input {
	name := kindPrometheus + "." + q.Name
	v, err := query(ctx, q.URL, environments.Expand(q.Query, values), now)
	switch {
	case ctx.Err() != nil:
		return unknown(name, kindPrometheus, "it was not answered in time")
	case err != nil:
		return unknown(name, kindPrometheus, fmt.Sprintf("%.300s", oneLine(err)))
	}
	return number(name, kindPrometheus, v)
}

func query(ctx context.Context, server, text string, now time.Time) (float64, error) {
	form := url.Values{"query": {text}, "time": {now.UTC().Format(time.RFC3339Nano)}}
	at, err := url.JoinPath(server, "api", "v1", "query")
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	c := http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		// It was declared who is asked.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var a answered
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&a); err != nil {
		return 0, fmt.Errorf("answered %d, and nothing that can be read", res.StatusCode)
	}
	switch {
	case res.StatusCode != http.StatusOK || a.Status != "success":
		return 0, fmt.Errorf("answered %d: %s", res.StatusCode, a.Error)
	case len(a.Warnings) > 0:
		return 0, fmt.Errorf("the answer may not be whole: %s", a.Warnings[0])
	}
	var sample [2]any // time, number as text
	switch a.Data.Type {
	case "scalar":
		err = json.Unmarshal(a.Data.Result, &sample)
	case "vector":
		var series []struct {
			Value [2]any `json:"value"`
		}
		if err = json.Unmarshal(a.Data.Result, &series); err == nil && len(series) != 1 {
			return 0, fmt.Errorf("the answer has %d series, not one", len(series))
		} else if err == nil {
			sample = series[0].Value
		}
	default:
		return 0, fmt.Errorf("the answer is a %q, not a number", a.Data.Type)
	}
	number, ok := sample[1].(string)
	if err != nil || !ok {
		return 0, errors.New("the answer holds no number")
	}
	return strconv.ParseFloat(number, 64)
}

// printed says whether what a program prints is measured, and not how it ends.
func printed(m environments.Measuring) bool { return m.Max != nil || m.Min != nil }

// ran is what a program measures: the number of {"value": …} in the last line that
// it prints, or where that has no bounds its exit status.
func ran(ctx context.Context, m environments.Measuring, values map[string]string) Input {
	name := kindCommand + "." + m.Name
	none := func(format string, args ...any) Input {
		return unknown(name, kindCommand, fmt.Sprintf(format, args...))
	}
	env := []string{"GATE_RELEASE=" + values["RELEASE"], "GATE_STABLE=" + values["STABLE"], "GATE_ENVIRONMENT=" + values["ENVIRONMENT"]}
	stdout, stderr, code, err := checks.Alone(ctx, env, m.Run)
	switch {
	case ctx.Err() != nil:
		return none("%s did not end in time", m.Run[0])
	case err != nil:
		return none("%s can't be run: %s", m.Run[0], oneLine(err))
	case code < 0:
		return none("%s was killed", m.Run[0])
	case !printed(m):
		return number(name, kindCommand, float64(code))
	case code != 0:
		return none("%s ended with exit status %d: %s", m.Run[0], code, checks.LastLine(stderr))
	}
	var out struct {
		Value *float64 `json:"value"`
	}
	if err := json.Unmarshal([]byte(checks.LastLine(stdout)), &out); err != nil || out.Value == nil {
		return none("the last line that %s prints is not {\"value\": NUMBER}", m.Run[0])
	}
	return number(name, kindCommand, *out.Value)
}
