package env

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type sample struct {
	Word    string `env:"SAMPLE_WORD, default=w" usage:"a word"`
	Section struct {
		Words []string      `env:"SAMPLE_WORDS, default=$SAMPLE_WORD" usage:"words"`
		Wait  time.Duration `env:"SAMPLE_WAIT, default=5m" usage:"a duration"`
		Key   Secret        `env:"SAMPLE_KEY" usage:"a secret"`
		URL   *url.URL      `env:"SAMPLE_URL, noinit" usage:"a URL"`
	}
}

func decode(environ ...string) (*sample, error) {
	r, s := New(environ, new(sample)), new(sample)
	r.Decode(s)
	r.CheckSpelling()
	return s, r.Err()
}

func TestVariables(t *testing.T) {
	want := []Variable{
		{Name: "SAMPLE_WORD", Default: "w", Meaning: "a word"},
		{Name: "SAMPLE_WORDS", Default: "SAMPLE_WORD", Meaning: "words"},
		{Name: "SAMPLE_WAIT", Default: "5m", Meaning: "a duration"},
		{Name: "SAMPLE_KEY", Meaning: "a secret", Secret: true},
		{Name: "SAMPLE_URL", Meaning: "a URL"},
	}
	if d := cmp.Diff(want, Variables(new(sample))); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestDecode(t *testing.T) {
	s, err := decode("SAMPLE_WORD=x", "SAMPLE_WORD=second", "SAMPLE_WAIT=")
	if err != nil {
		t.Fatal(err)
	}
	if s.Word != "x" || s.Section.Wait != 5*time.Minute || s.Section.URL != nil || s.Section.Key.Reveal() != "" {
		t.Errorf("got %+v", s)
	}
	if d := cmp.Diff([]string{"x"}, s.Section.Words); d != "" {
		t.Errorf("a default that is another variable's value: -want +got\n%s", d)
	}
	_, err = decode("SAMPLE_WAIT=x\ny", "SAMPLE_URL=%", "SAMPLE_KEYS=x")
	want := `SAMPLE_KEYS: is no variable of this program; did you mean SAMPLE_KEY?
SAMPLE_URL: not a URL; want one such as https://host:port
SAMPLE_WAIT: "x\ny" is not understood; want a duration such as 5m`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for text, want := range map[string]string{
		"a": "a", "a\n": "a", "a\r\n": "a", "a\n\n": "a\n", " a ": " a ", "a\nb\n": "a\nb", "\xff\x00": "\xff\x00",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := decode("SAMPLE_KEY=", "SAMPLE_KEY_FILE="+path)
		if err != nil || s.Section.Key.Reveal() != want {
			t.Errorf("file %q: %q, %v, want %q", text, s.Section.Key.Reveal(), err, want)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const value = "hunter2"
	s := NewSecret(value)
	type exported struct{ S Secret }
	type unexported struct {
		s Secret
		p *Secret
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("m", "s", s, "in", exported{s}, "hidden", unexported{s, &s})
	}
	printed := []string{log.String(), s.String(), s.GoString(), slog.AnyValue(s).Resolve().String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%t", "%c", "%p", "%!"} {
		for _, v := range []any{s, &s, exported{s}, []Secret{s}, map[string]Secret{"s": s}, unexported{s, &s}} {
			printed = append(printed, fmt.Sprintf(verb, v))
		}
	}
	text, err := json.Marshal(exported{s})
	if err != nil || string(text) != `{"S":"[secret]"}` {
		t.Errorf("JSON %s, %v", text, err)
	}
	for _, p := range append(printed, string(text)) {
		if strings.Contains(p, value) || strings.Contains(p, fmt.Sprintf("%x", value)) {
			t.Errorf("printed %s", p)
		}
	}
	if k := slog.AnyValue(s).Resolve().Kind(); k != slog.KindString {
		t.Errorf("logged as a %s", k)
	}
	if got := fmt.Sprintf("%v %d", s, s); got != "[secret] [secret]" {
		t.Errorf("got %s", got)
	}
	if s.Reveal() != value || (Secret{}).Reveal() != "" {
		t.Errorf("revealed %q and %q", s.Reveal(), Secret{}.Reveal())
	}
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abcd", "badc", 2},
		{"abc", "ab", 1}, {"abc", "xabcx", 2}, {"abcdef", "xbcdxx", 3}, {"abc", "cab", 2}, {"ca", "abc", 3},
		{"a", strings.Repeat("a", 1000), 3},
	} {
		for _, got := range []int{edits(c.a, c.b), edits(c.b, c.a)} {
			if got != c.want {
				t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
			}
		}
	}
}
