package runner

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Values of expressions are nil, bool, float64, string and object.
type object map[string]any

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// property finds a name as GitHub does, without regard to case.
func (o object) property(name string) (any, bool) {
	if v, ok := o[name]; ok {
		return v, true
	}
	for k, v := range o {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

// texts makes an object of strings.
func texts(m map[string]string) object {
	o := object{}
	for k, v := range m {
		o[k] = v
	}
	return o
}

func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0 && !math.IsNaN(v)
	case string:
		return v != ""
	}
	return true
}

// text is what a value becomes in a string.
func text(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case bool:
		return strconv.FormatBool(v), nil
	case string:
		return v, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatFloat(v, 'f', -1, 64), nil
		}
		return strconv.FormatFloat(v, 'G', 15, 64), nil
	}
	return "", fmt.Errorf("%T stands where a text is wanted", v)
}

// number is what a value becomes where two of different types are compared.
func number(v any) float64 {
	switch v := v.(type) {
	case nil:
		return 0
	case bool:
		if v {
			return 1
		}
		return 0
	case float64:
		return v
	case string:
		if s := strings.TrimSpace(v); s != "" {
			if f, err := strconv.ParseFloat(s, 64); err == nil {
				return f
			}
			return math.NaN()
		}
		return 0
	}
	return math.NaN()
}

// equal is GitHub's loose equality; strings are compared without regard to case.
func equal(a, b any) (bool, error) {
	for _, v := range []any{a, b} {
		if _, ok := v.(object); ok {
			return false, fmt.Errorf("an object is compared")
		}
	}
	x, xs := a.(string)
	y, ys := b.(string)
	if xs && ys {
		return strings.EqualFold(x, y), nil
	}
	return number(a) == number(b), nil
}
