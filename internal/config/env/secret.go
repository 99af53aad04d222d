package env

import (
	"fmt"
	"io"
	"log/slog"
)

const hidden = "[secret]"

// Secret is a value that is never printed: every way of formatting one gives [secret]. The zero Secret is one that is not set.
type Secret struct {
	// A pointer, so that even a print by reflection, which calls no methods, shows no more than an address.
	value *string
}

// NewSecret returns a Secret that holds value.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal returns the value, "" where it is not set.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// EnvDecode implements envconfig.Decoder.
func (s *Secret) EnvDecode(value string) error {
	*s = NewSecret(value)
	return nil
}

// Format implements fmt.Formatter: a Stringer alone would not be asked under verbs such as %d.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
