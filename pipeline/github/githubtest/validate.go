package githubtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

func (s *Server) route(r route) *routers.Route {
	item := s.doc.Paths.Value(r.path)
	return &routers.Route{Spec: s.doc, Path: r.path, PathItem: item, Method: r.method, Operation: item.GetOperation(r.method)}
}

// checkRequest holds the request against the description.
func (s *Server) checkRequest(req *http.Request, r route, path map[string]string, body []byte) error {
	rt := s.route(r)
	known := []string{}
	for _, p := range slices.Concat(rt.Operation.Parameters, rt.PathItem.Parameters) {
		if p.Value != nil && p.Value.In == "query" {
			known = append(known, p.Value.Name)
		}
	}
	for name := range req.URL.Query() {
		if !slices.Contains(known, name) {
			return fmt.Errorf("query parameter %s is not described", name)
		}
	}
	one := req.Clone(context.Background())
	if q := one.URL.Query(); strings.HasPrefix(q.Get("created"), ">=") {
		// The description knows a time only; its prose allows search syntax.
		q.Set("created", strings.TrimPrefix(q.Get("created"), ">="))
		one.URL.RawQuery = q.Encode()
	}
	one.Body = io.NopCloser(bytes.NewReader(body))
	one.ContentLength = int64(len(body))
	if rt.Operation.RequestBody == nil && len(body) > 0 {
		return errors.New("a body is not described")
	}
	if len(body) > 0 && !strings.HasPrefix(req.Header.Get("Content-Type"), "application/json") {
		return errors.New("the body is not said to be JSON")
	}
	if v := req.Header.Get("X-GitHub-Api-Version"); v != "2022-11-28" {
		return fmt.Errorf("API version %q", v)
	}
	if req.Header.Get("User-Agent") == "" {
		return errors.New("no User-Agent")
	}
	return brief(openapi3filter.ValidateRequest(context.Background(), s.input(one, rt, path)))
}

func (s *Server) input(req *http.Request, rt *routers.Route, path map[string]string) *openapi3filter.RequestValidationInput {
	return &openapi3filter.RequestValidationInput{
		Request: req, PathParams: path, QueryParams: req.URL.Query(), Route: rt,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true},
	}
}

// checkAnswer completes the answer with what GitHub always gives, and holds it
// against the description. A refusal that is not described needs a message only.
func (s *Server) checkAnswer(req *http.Request, r route, a answer) (answer, error) {
	rt := s.route(r)
	described := rt.Operation.Responses.Status(a.status)
	if described == nil {
		if m, ok := a.body.(map[string]any); a.status >= 400 && ok && m["message"] != "" {
			return a, nil
		}
		return a, fmt.Errorf("status %d is not described", a.status)
	}
	content := described.Value.Content.Get("application/json")
	if content == nil || content.Schema == nil {
		if a.body != nil && a.status < 400 {
			return a, fmt.Errorf("status %d has no body", a.status)
		}
		return a, nil
	}
	if a.status < 400 {
		a.body = s.fill(content.Schema.Value, plain(a.body), 0)
	}
	b, err := json.Marshal(a.body)
	if err != nil {
		return a, err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	for k, v := range a.header {
		header[k] = v
	}
	one := req.Clone(context.Background())
	return a, brief(openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: s.input(one, rt, nil), Status: a.status, Header: header, Body: io.NopCloser(bytes.NewReader(b)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}))
}

func brief(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%.600s", err.Error())
}

// plain is v as JSON has it.
func plain(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var out any
	if json.Unmarshal(b, &out) != nil {
		return v
	}
	return out
}

// fill adds to v what the schema requires and v has not, with values that mean
// nothing. What a handler cares about, it says itself.
func (s *Server) fill(schema *openapi3.Schema, v any, depth int) any {
	if schema == nil || depth > 12 {
		return v
	}
	for _, one := range schema.AllOf {
		v = s.fill(one.Value, v, depth+1)
	}
	for _, any := range []openapi3.SchemaRefs{schema.OneOf, schema.AnyOf} {
		for i, one := range any {
			filled := s.fill(one.Value, copied(v), depth+1)
			if one.Value.VisitJSON(filled) == nil || i == len(any)-1 {
				v = filled
				break
			}
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range schema.Required {
			if _, ok := v[name]; !ok && schema.Properties[name] != nil {
				v[name] = s.sample(schema.Properties[name].Value, depth+1)
			}
		}
		for name, p := range schema.Properties {
			if one, ok := v[name]; ok && one != nil {
				v[name] = s.fill(p.Value, one, depth+1)
			}
		}
	case []any:
		if schema.Items != nil {
			for i := range v {
				v[i] = s.fill(schema.Items.Value, v[i], depth+1)
			}
		}
	}
	return v
}

func copied(v any) any {
	if m, ok := v.(map[string]any); ok {
		out := map[string]any{}
		for k, one := range m {
			out[k] = copied(one)
		}
		return out
	}
	return v
}

// sample is some value of the schema.
func (s *Server) sample(schema *openapi3.Schema, depth int) any {
	switch {
	case schema == nil || schema.Nullable || depth > 12:
		return nil
	case len(schema.Enum) > 0:
		return schema.Enum[0]
	case len(schema.OneOf) > 0:
		return s.sample(schema.OneOf[0].Value, depth+1)
	case len(schema.AnyOf) > 0:
		return s.sample(schema.AnyOf[0].Value, depth+1)
	case schema.Type == nil && len(schema.AllOf) == 0 && len(schema.Properties) == 0:
		return nil
	case schema.Type.Is("string"):
		switch schema.Format {
		case "date-time":
			return s.Clock.Now().Format(time.RFC3339)
		case "uri", "url":
			return "https://api.github.com/x"
		case "email":
			return "nobody@example.com"
		}
		if example, ok := schema.Example.(string); ok {
			return example
		}
		return "x"
	case schema.Type.Is("integer"), schema.Type.Is("number"):
		if schema.Min != nil {
			return max(*schema.Min, 0)
		}
		return 0
	case schema.Type.Is("boolean"):
		return false
	case schema.Type.Is("array"):
		return []any{}
	}
	return s.fill(schema, map[string]any{}, depth)
}
