package tiwtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The simulated actions.
const (
	ActionCreate   = "CreateSnapshotTask"
	ActionDescribe = "DescribeSnapshotTask"
	apiVersion     = "2019-09-19"
)

type kind int

const (
	text kind = iota
	number
	object
)

// field is a documented field of a request.
type field struct {
	name     string
	kind     kind
	required bool
	min, max uint64   // number: range
	enum     []string // text: permitted values; empty: any
	prefixes []string // text: permitted prefixes, unless the text is empty
	fields   []field  // object
}

// schemas are the request bodies of version 2019-09-19 as Tencent documents
// them. The range of RoomId is documented for the action StartOnlineRecord only.
var schemas = map[string][]field{
	ActionCreate: {
		{name: "SdkAppId", kind: number, required: true, min: 1, max: math.MaxUint64},
		{name: "RoomId", kind: number, required: true, min: 1, max: math.MaxUint32},
		{name: "Whiteboard", kind: object, required: true, fields: []field{
			{name: "Width", kind: number, max: 2560},
			{name: "Height", kind: number, max: 2560},
			{name: "InitParams", kind: text},
		}},
		{name: "CallbackURL", kind: text, prefixes: []string{"http://", "https://"}},
		{name: "COS", kind: object, fields: []field{
			{name: "Uin", kind: number, required: true, min: 1, max: math.MaxUint64},
			{name: "Region", kind: text, required: true},
			{name: "Bucket", kind: text, required: true},
			{name: "TargetDir", kind: text},
			{name: "Domain", kind: text},
		}},
		{name: "SnapshotMode", kind: text, enum: []string{"AllMarks", "LatestMarksOnly"}},
	},
	ActionDescribe: {
		{name: "TaskID", kind: text, required: true},
		{name: "SdkAppId", kind: number, required: true, min: 1, max: math.MaxUint64},
	},
}

// document is a decoded JSON object; numbers are json.Number.
type document map[string]any

// decode decodes the body of a request. An empty body is an empty object.
func decode(body []byte) (document, *apiError) {
	if len(body) == 0 {
		return document{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc document
	if err := d.Decode(&doc); err != nil || doc == nil {
		return nil, errorf("InvalidParameter", "The request body is not a JSON object.")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errorf("InvalidParameter", "The request body continues after its JSON object.")
	}
	return doc, nil
}

// check validates a request body. Its error codes are an assumption, because
// Tencent does not document them: MissingParameter for a missing or null field,
// UnknownParameter for an undocumented field, InvalidParameter for a wrong type,
// range or value.
func check(doc document, fields []field, path string) *apiError {
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		if !slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			return errorf("UnknownParameter", "The parameter `%.80s` is not recognized.", path+name)
		}
	}
	for _, f := range fields {
		if err := f.check(doc[f.name], path+f.name); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) check(value any, path string) *apiError {
	if value == nil {
		if f.required {
			return errorf("MissingParameter", "The request is missing the required parameter `%s`.", path)
		}
		return nil
	}
	switch f.kind {
	case number:
		n, ok := value.(json.Number)
		if !ok {
			return errorf("InvalidParameter", "The parameter `%s` is not an unsigned integer.", path)
		}
		u, err := strconv.ParseUint(n.String(), 10, 64)
		if err != nil {
			return errorf("InvalidParameter", "The parameter `%s` is not an unsigned integer.", path)
		}
		if u < f.min || u > f.max {
			return errorf("InvalidParameter", "The parameter `%s` is not in [%d, %d].", path, f.min, f.max)
		}
	case text:
		s, ok := value.(string)
		if !ok {
			return errorf("InvalidParameter", "The parameter `%s` is not a string.", path)
		}
		if f.required && s == "" {
			return errorf("InvalidParameter", "The parameter `%s` is empty.", path)
		}
		if len(f.enum) > 0 && !slices.Contains(f.enum, s) {
			return errorf("InvalidParameter", "The parameter `%s` is not one of %s.", path, strings.Join(f.enum, ", "))
		}
		if s != "" && len(f.prefixes) > 0 &&
			!slices.ContainsFunc(f.prefixes, func(p string) bool { return strings.HasPrefix(s, p) }) {
			return errorf("InvalidParameter", "The parameter `%s` does not begin with %s.",
				path, strings.Join(f.prefixes, " or "))
		}
	case object:
		inner, ok := value.(map[string]any)
		if !ok {
			return errorf("InvalidParameter", "The parameter `%s` is not an object.", path)
		}
		return check(inner, f.fields, path+".")
	}
	return nil
}

// uint, text and object return the zero value for a field that is missing or has
// another type.
func (d document) uint(name string) uint64 {
	n, _ := d[name].(json.Number)
	u, _ := strconv.ParseUint(n.String(), 10, 64)
	return u
}

func (d document) text(name string) string {
	s, _ := d[name].(string)
	return s
}

func (d document) object(name string) document {
	o, _ := d[name].(map[string]any)
	return o
}
