package row_test

import (
	"os"
	"testing"

	"pstncalls/internal/row"
)

// hashKey is the key of every test that hashes.
const hashKey = "a key for tests only"

// example returns the row of Microsoft's page, with its white space.
func example(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/example.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func privacy(t testing.TB, spec string) *row.Privacy {
	t.Helper()
	p, err := row.ParsePrivacy(spec, []byte(hashKey))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func convert(raw string) row.Row { return row.NewConverter(nil).Convert([]byte(raw)) }
