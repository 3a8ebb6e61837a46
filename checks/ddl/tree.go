package ddl

import (
	"encoding/json"
	"strings"
)

// The parts of PostgreSQL's parse tree that the rules look at.

type rangeVar struct {
	Schema      string `json:"schemaname"`
	Name        string `json:"relname"`
	Persistence string `json:"relpersistence"`
}

func (r rangeVar) String() string {
	if r.Schema == "" || r.Schema == "public" {
		return r.Name
	}
	return r.Schema + "." + r.Name
}

type named struct {
	RangeVar rangeVar
}

type text struct {
	String struct {
		Sval string `json:"sval"`
	}
}

type alterTable struct {
	Relation rangeVar `json:"relation"`
	Objtype  string   `json:"objtype"`
	Cmds     []struct {
		AlterTableCmd alterCmd
	} `json:"cmds"`
}

type alterCmd struct {
	Subtype string `json:"subtype"`
	Name    string `json:"name"`
	Def     struct {
		ColumnDef    *columnDef
		Constraint   *constraint
		PartitionCmd *struct {
			Name       rangeVar `json:"name"`
			Concurrent bool     `json:"concurrent"`
		}
	} `json:"def"`
}

type columnDef struct {
	Name     string `json:"colname"`
	TypeName struct {
		Names []text `json:"names"`
	} `json:"typeName"`
	Constraints []struct {
		Constraint constraint
	} `json:"constraints"`
}

func (c columnDef) typeName() string {
	if n := len(c.TypeName.Names); n > 0 {
		return c.TypeName.Names[n-1].String.Sval
	}
	return ""
}

type constraint struct {
	Type           string          `json:"contype"`
	Name           string          `json:"conname"`
	Index          string          `json:"indexname"`
	Expr           json.RawMessage `json:"raw_expr"`
	SkipValidation bool            `json:"skip_validation"`
}

type createTable struct {
	Relation rangeVar `json:"relation"`
}

type createTableAs struct {
	Into struct {
		Rel rangeVar `json:"rel"`
	} `json:"into"`
}

type createIndex struct {
	Name       string   `json:"idxname"`
	Relation   rangeVar `json:"relation"`
	Concurrent bool     `json:"concurrent"`
}

type drop struct {
	Objects    []json.RawMessage `json:"objects"`
	Type       string            `json:"removeType"`
	Concurrent bool              `json:"concurrent"`
}

// names are what is dropped, with a schema where one is written.
func (d drop) names() []string {
	var out []string
	for _, raw := range d.Objects {
		var o struct {
			List struct {
				Items []text `json:"items"`
			}
		}
		if json.Unmarshal(raw, &o) != nil {
			continue
		}
		var parts []string
		for _, i := range o.List.Items {
			parts = append(parts, i.String.Sval)
		}
		if len(parts) == 2 && parts[0] == "public" {
			parts = parts[1:]
		}
		out = append(out, strings.Join(parts, "."))
	}
	return out
}

type rename struct {
	Type     string    `json:"renameType"`
	Relation *rangeVar `json:"relation"`
	Old      string    `json:"subname"`
	New      string    `json:"newname"`
}

type relations struct {
	Relations []named   `json:"relations"`
	Relation  *rangeVar `json:"relation"`
	Mode      int       `json:"mode"`
}

type vacuum struct {
	Options []defElem `json:"options"`
	Rels    []struct {
		VacuumRelation struct {
			Relation rangeVar `json:"relation"`
		}
	} `json:"rels"`
}

type reindex struct {
	Kind     string    `json:"kind"`
	Relation *rangeVar `json:"relation"`
	Name     string    `json:"name"`
	Params   []defElem `json:"params"`
}

type defElem struct {
	DefElem struct {
		Name string          `json:"defname"`
		Arg  json.RawMessage `json:"arg"`
	}
}

func has(options []defElem, name string) bool {
	for _, o := range options {
		if strings.EqualFold(o.DefElem.Name, name) {
			return true
		}
	}
	return false
}

type refresh struct {
	Relation   rangeVar `json:"relation"`
	Concurrent bool     `json:"concurrent"`
}

type change struct {
	Relation rangeVar        `json:"relation"`
	Where    json.RawMessage `json:"whereClause"`
	Select   json.RawMessage `json:"selectStmt"`
}

type setVariable struct {
	Kind string            `json:"kind"`
	Name string            `json:"name"`
	Args []json.RawMessage `json:"args"`
}

// calls are the functions that an expression calls, however deep.
func calls(raw json.RawMessage) []string {
	var out []string
	var walk func(v any)
	walk = func(v any) {
		switch x := v.(type) {
		case []any:
			for _, e := range x {
				walk(e)
			}
		case map[string]any:
			if f, ok := x["FuncCall"].(map[string]any); ok {
				b, _ := json.Marshal(f["funcname"])
				var names []text
				if json.Unmarshal(b, &names) == nil && len(names) > 0 {
					out = append(out, strings.ToLower(names[len(names)-1].String.Sval))
				}
			}
			for _, e := range x {
				walk(e)
			}
		}
	}
	var v any
	if json.Unmarshal(raw, &v) == nil {
		walk(v)
	}
	return out
}

// notNull is the column of the check "column IS NOT NULL", or "".
func notNull(raw json.RawMessage) string {
	var e struct {
		NullTest struct {
			Arg struct {
				ColumnRef struct {
					Fields []text `json:"fields"`
				}
			} `json:"arg"`
			Type string `json:"nulltesttype"`
		}
	}
	if json.Unmarshal(raw, &e) != nil || e.NullTest.Type != "IS_NOT_NULL" || len(e.NullTest.Arg.ColumnRef.Fields) == 0 {
		return ""
	}
	f := e.NullTest.Arg.ColumnRef.Fields
	return f[len(f)-1].String.Sval
}
