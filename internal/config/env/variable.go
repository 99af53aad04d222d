package env

import (
	"reflect"
	"strings"
)

// Variable is one line of the manual.
type Variable struct {
	Name    string
	Default string // "" for none; the name of another variable where that one's value is the default
	Meaning string
	Secret  bool // also accepted as Name_FILE, the path of a file that holds the value
}

// Variables returns the variables of the struct that config points to, in the order of its fields.
func Variables(config any) []Variable {
	var vs []Variable
	for _, f := range fields(reflect.ValueOf(config)) {
		vs = append(vs, f.Variable)
	}
	return vs
}

// field is a field that a variable fills.
type field struct {
	Variable
	tag   reflect.StructField
	value reflect.Value
}

// fields returns the fields with an env tag below the struct that section points to, in order.
func fields(section reflect.Value) []field {
	var fs []field
	v := section.Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i)
		env, ok := tag.Tag.Lookup("env")
		if !ok {
			fs = append(fs, fields(v.Field(i).Addr())...)
			continue
		}
		name, options, _ := strings.Cut(env, ",")
		_, def, _ := strings.Cut(options, "default=")
		fs = append(fs, field{
			Variable: Variable{
				Name:    name,
				Default: strings.TrimPrefix(def, "$"),
				Meaning: tag.Tag.Get("usage"),
				Secret:  tag.Type == reflect.TypeFor[Secret](),
			},
			tag:   tag,
			value: v.Field(i),
		})
	}
	return fs
}
