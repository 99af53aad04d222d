package env

import (
	"context"
	"log/slog"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"
)

// wanter is a type that decodes itself and says, for a mistake, what it can decode.
type wanter interface {
	Want() string
}

// Decode fills the struct that section points to, one field at a time: envconfig stops at the first mistake.
func (r *Reading) Decode(section any) {
	fs := fields(reflect.ValueOf(section))
	for _, f := range fs {
		if f.Secret {
			r.readSecretFile(f.Name)
		}
	}
	for _, f := range fs {
		single := reflect.New(reflect.StructOf([]reflect.StructField{f.tag}))
		err := envconfig.ProcessWith(context.Background(), &envconfig.Config{
			Target:   single.Interface(),
			Lookuper: envconfig.MapLookuper(r.values),
		})
		if err != nil || r.octal(f) {
			// envconfig's error is not used: it may quote the value.
			wrong, right := r.undecodable(f)
			r.Add(f.Name, wrong, right)
			continue
		}
		f.value.Set(single.Elem().Field(0))
	}
}

// octal reports whether the field is a number that is not plainly decimal: envconfig would read 045 as 37.
func (r *Reading) octal(f field) bool {
	value, set := r.values[f.Name]
	if !set || f.tag.Type != reflect.TypeFor[int]() {
		return false
	}
	n, err := strconv.Atoi(value)
	return err != nil || strconv.Itoa(n) != value
}

// undecodable says what is wrong with the value of a field that envconfig could not decode, and what would be right.
func (r *Reading) undecodable(f field) (wrong, right string) {
	wrong = r.Show(r.values[f.Name]) + " is not understood"
	if t, ok := f.value.Interface().(wanter); ok {
		return wrong, "want " + t.Want()
	}
	switch f.tag.Type {
	case reflect.TypeFor[*url.URL]():
		return "not a URL", "want one such as https://host:port" // may hold a password
	case reflect.TypeFor[time.Duration]():
		return wrong, "want a duration such as " + f.Default
	case reflect.TypeFor[slog.Level]():
		return wrong, "want debug, info, warn or error"
	case reflect.TypeFor[bool]():
		return wrong, "want true or false"
	}
	return wrong, "want a whole number such as " + f.Default
}

// readSecretFile makes the contents of the file that NAME_FILE names the value of NAME, where NAME_FILE is set.
func (r *Reading) readSecretFile(name string) {
	file := name + "_FILE"
	path, ok := r.values[file]
	if !ok {
		return
	}
	if _, both := r.values[name]; both {
		r.Add(file, name+" is set too", "set one of them")
		return
	}
	// A path is never shown: it may be the secret itself, put into the wrong variable.
	text, err := ReadFile(path)
	if err != nil {
		r.Add(file, err.Error(), "want the path of a file that holds the value of "+name)
		return
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if secret == "" {
		r.Add(file, "the file is empty", "want the path of a file that holds the value of "+name)
		return
	}
	r.values[name] = secret
	r.secrets = append(r.secrets, secret)
}
