package state

import (
	"bytes"
	"testing"
)

func FuzzDecodeSegment(f *testing.F) {
	one := appendEntry(startSegment(), &entry{revision: -1, flags: flagRejected}, "")
	f.Add(one)
	f.Add(appendEntry(one, &entry{revision: 1<<31 - 1, flags: flagText | flagVanished}, "text"))
	f.Add(append([]byte{1, 1, 0x80, 0}, make([]byte, 24)...)) // an overlong head
	f.Add([]byte{1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		again := startSegment()
		n := 0
		err := decodeSegment(data, day0, func(e entry, text string) {
			n++
			again = appendEntry(again, &e, text)
		})
		if n > len(data)/10 {
			t.Fatalf("%d entries out of %d bytes", n, len(data))
		}
		if err == nil && !bytes.Equal(again, data) {
			t.Fatalf("%x is read, and written as %x", data, again)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add("window/2024-10-04", []byte(`{"v":1,"digest":"00000000000000000000000000000000"}`))
	f.Add("tenant", []byte(`{"v":1,"start":"2024-10-04"}`))
	f.Add("scan/2024-10-04", []byte(`{"v":1,"range":{"from":"2024-10-04","to":"2024-10-05"}}`))
	f.Add("ledger/2024-10-04/1", appendEntry(startSegment(), &entry{revision: -1, flags: flagRejected}, ""))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		records := map[string][]byte{
			"contoso/pstn/tenant":            []byte(`{"v":1,"start":"2024-10-04"}`),
			"contoso/pstn/window/2024-10-04": []byte(`{"v":1,"seq":1,"digest":"00000000000000000000000000000000"}`),
		}
		records[prefix(testTenant)+key] = value
		tenant, ok, err := Load(testTenant, records)
		if err != nil {
			return
		}
		if !ok {
			t.Fatal("a tenant was not found")
		}
		if tenant.Dirty() {
			t.Fatal("dirty although nothing has happened")
		}
		tenant.Observe(Seen{ID: "a", HasID: true, Day: day0}, Page{Received: 1, Busy: idle})
		if _, _, err := tenant.Records(); err != nil {
			t.Fatal(err)
		}
	})
}
