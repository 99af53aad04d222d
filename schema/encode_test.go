package schema_test

import (
	"bytes"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"

	"pstncalls/schema"
)

// mirror returns c in a struct that hamba's reflection can encode: as PstnCall, with rational numbers for Money.
func mirror(c *schema.PstnCall) any {
	from := reflect.ValueOf(c).Elem()
	fields := reflect.VisibleFields(from.Type())
	for i := range fields {
		fields[i].Type = reflect.TypeOf(mirrored(from.Field(i).Interface()))
	}
	to := reflect.New(reflect.StructOf(fields)).Elem()
	for i := range fields {
		to.Field(i).Set(reflect.ValueOf(mirrored(from.Field(i).Interface())))
	}
	return to.Interface()
}

func mirrored(v any) any {
	if m, ok := v.(*schema.Money); ok {
		if m == nil {
			return (*big.Rat)(nil)
		}
		return m.Rat()
	}
	return v
}

func TestBytesEqualHambas(t *testing.T) {
	parsed, err := avro.ParseWithCache(schema.PstnCallSchema(), "", &avro.SchemaCache{})
	if err != nil {
		t.Fatal(err)
	}
	hamba := avro.Config{TagKey: "json", DisableBlockSizeHeader: true}.Freeze()
	for name, c := range map[string]*schema.PstnCall{"example": example(), "bare": bare(), "full": full()} {
		want, err := hamba.Marshal(parsed, mirror(c))
		if err != nil {
			t.Fatal(err)
		}
		if got := encode(t, c); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", name, got, want)
		}
	}
}

// TestSecondDecoder reads our bytes with an implementation that shares no code with ours.
func TestSecondDecoder(t *testing.T) {
	parsed := twmb.MustParse(schema.PstnCallSchema())
	for name, c := range map[string]*schema.PstnCall{"example": example(), "bare": bare(), "full": full()} {
		b := encode(t, c)
		var got any
		rest, err := parsed.Decode(b, &got)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%s: %d bytes left, error %v", name, len(rest), err)
		}
		rats := cmp.Comparer(func(a, b *big.Rat) bool { return a.Cmp(b) == 0 })
		if diff := cmp.Diff(generic(c), got, rats); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if again, err := parsed.Encode(got); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: encoded again as %x, error %v", name, again, err)
		}
	}
}

// generic returns c as a decoder that knows nothing of it would.
func generic(c *schema.PstnCall) any {
	m := map[string]any{}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("json")
		switch f := v.Field(i).Interface().(type) {
		case *schema.Money:
			m[name] = nil
			if f != nil {
				m[name] = f.Rat()
			}
		case *time.Time:
			m[name] = nil
			if f != nil {
				m[name] = f.Truncate(time.Millisecond)
			}
		case []schema.AdministrativeUnitInfo:
			m[name] = nil
			if f != nil {
				units := []any{}
				for _, u := range f {
					units = append(units, map[string]any{"id": pointee(u.ID)})
				}
				m[name] = units
			}
		case map[string]string:
			extra := map[string]any{}
			for k, v := range f {
				extra[k] = v
			}
			m[name] = extra
		case *string:
			m[name] = pointee(f)
		case *int32:
			m[name] = pointee(f)
		default:
			m[name] = f
		}
	}
	return m
}

func pointee[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func TestEncodeErrors(t *testing.T) {
	const secret = "+49170\xff"
	tests := []struct {
		field  string
		change func(c *schema.PstnCall)
	}{
		{"tenantId", func(c *schema.PstnCall) { c.TenantID = "" }},
		{"rowId", func(c *schema.PstnCall) { c.RowID = "" }},
		{"rowId", func(c *schema.PstnCall) { c.RowID = secret }},
		{"revision", func(c *schema.PstnCall) { c.Revision = -1 }},
		{"observedAt", func(c *schema.PstnCall) { c.ObservedAt = instant("0001-01-01T00:00:00Z").Add(-1) }},
		{"startDateTime", func(c *schema.PstnCall) { c.StartDateTime = ptr(instant("9999-12-31T23:59:59.999999999Z").Add(1)) }},
		{"endDateTime", func(c *schema.PstnCall) { c.EndDateTime = ptr(time.Unix(1<<60, 0)) }},
		{"callerNumber", func(c *schema.PstnCall) { c.CallerNumber = ptr(secret) }},
		{"clientLocalIpV6Address", func(c *schema.PstnCall) { c.ClientLocalIPV6Address = ptr(secret) }},
		{"charge", func(c *schema.PstnCall) { c.Charge = ptr(schema.Money(1e18)) }},
		{"connectionCharge", func(c *schema.PstnCall) { c.ConnectionCharge = ptr(schema.Money(-1 << 63)) }},
		{"administrativeUnitInfos.id", func(c *schema.PstnCall) {
			c.AdministrativeUnitInfos = []schema.AdministrativeUnitInfo{{}, {ID: ptr(secret)}}
		}},
		{"extra", func(c *schema.PstnCall) { c.Extra = map[string]string{secret: "1"} }},
		{"extra", func(c *schema.PstnCall) { c.Extra = map[string]string{"k": secret} }},
	}
	for _, tt := range tests {
		c := full()
		tt.change(c)
		dst := []byte("before")
		got, err := schema.AppendPstnCall(dst, c)
		if err == nil {
			t.Errorf("%s: no error", tt.field)
			continue
		}
		if want := "encode PstnCall: " + tt.field + ": "; !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %q does not begin with %q", err, want)
		}
		if strings.Contains(err.Error(), "49170") {
			t.Errorf("error %q holds the value", err)
		}
		if string(got) != "before" {
			t.Errorf("%s: dst came back as %q", tt.field, got)
		}
	}

	c := full()
	c.Charge, c.CallType = ptr(schema.Money(1e18)), ptr("\xff")
	if _, err := schema.AppendPstnCall(nil, c); err == nil || !strings.Contains(err.Error(), "callType") {
		t.Errorf("error %v, want the first field's", err)
	}
	c.CallType = nil
	if _, err := schema.AppendPstnCall(nil, c); !errors.Is(err, schema.ErrMoneyRange) {
		t.Errorf("error %v, want ErrMoneyRange", err)
	}
}

func TestHeadAndBody(t *testing.T) {
	for _, c := range []*schema.PstnCall{full(), bare()} {
		b, err := schema.AppendPstnCallHead([]byte("before"), &schema.PstnCall{TenantID: c.TenantID, RowID: c.RowID, Revision: c.Revision, ObservedAt: c.ObservedAt})
		if err != nil {
			t.Fatal(err)
		}
		if b, err = schema.AppendPstnCallBody(b, c); err != nil {
			t.Fatal(err)
		}
		if want := "before" + string(encode(t, c)); string(b) != want {
			t.Errorf("in two parts\n%x, in one\n%x", b, want)
		}
	}
}

func TestEncodeAppends(t *testing.T) {
	b, err := schema.AppendPstnCall([]byte("before"), bare())
	if err != nil {
		t.Fatal(err)
	}
	if want := append([]byte("before"), encode(t, bare())...); !bytes.Equal(b, want) {
		t.Errorf("got %x, want %x", b, want)
	}
}

func TestEncodeSortsExtra(t *testing.T) {
	c := bare()
	c.Extra = map[string]string{}
	want := "\x34" // 26 pairs
	for k := 'a'; k <= 'z'; k++ {
		c.Extra[string(k)] = "1"
		want += "\x02" + string(k) + "\x021"
	}
	want += "\x00"
	if b := encode(t, c); !strings.HasSuffix(string(b), want) {
		t.Errorf("extra is not sorted: %q", b)
	}
}

func BenchmarkAppendPstnCall(b *testing.B) {
	c := example()
	buf := encode(b, c)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = schema.AppendPstnCall(buf[:0], c)
	}
}
