package state

import (
	"bytes"
	"strings"
	"testing"

	"pstncalls/internal/window"
)

func FuzzDecodeSegment(f *testing.F) {
	one := appendEntry(startSegment(), &entry{revision: -1, flags: flagRejected}, "", 0)
	f.Add(one)
	f.Add(appendEntry(one, &entry{revision: 1<<31 - 1, flags: flagText | flagVanished}, "text", 0))
	for _, by := range []window.Day{1, -1, 64, -65, 1 << 24, -1 << 24, 1<<24 + 1, 0} {
		f.Add(appendEntry(one, &entry{owner: uint16(day0), flags: flagAway}, "", day0+by))
	}
	f.Add(appendEntry(one, &entry{owner: uint16(day0), flags: flagAway | flagText | flagVanished}, "text", day0+2))
	f.Add(append(appendEntry(startSegment(), &entry{owner: uint16(day0), flags: flagAway}, "", day0-64), 0)) // an entry cut short
	f.Add(append(append([]byte{2, 1, 0x18}, make([]byte, 24)...), 0x82, 0))                                  // an overlong move
	for _, format := range []byte{1, 2} {
		f.Add(append([]byte{format, 1, 0x80, 0}, make([]byte, 24)...))                         // an overlong head
		f.Add(append([]byte{format, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, make([]byte, 24)...)) // the largest revisions
		f.Add(append([]byte{format, 1, 0x80, 0x80, 0x80, 0x80, 0x40}, make([]byte, 24)...))
		f.Add([]byte{format, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f})
		f.Add(append([]byte{format, 1, 0x9f, 1}, make([]byte, 24)...))
	}
	type decoded struct {
		e    entry
		text string
		home window.Day
	}
	decode := func(data []byte) (out []decoded, err error) {
		err = decodeSegment(data, day0, func(e entry, text string, home window.Day) { out = append(out, decoded{e, text, home}) })
		return out, err
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := decode(data)
		if len(entries) > len(data)/10 {
			t.Fatalf("%d entries out of %d bytes", len(entries), len(data))
		}
		if err != nil {
			return
		}
		again := startSegment()
		for _, d := range entries {
			if d.e.has(flagAway) != (d.home != day0) {
				t.Fatalf("away %t, and its home is %s", d.e.has(flagAway), d.home)
			}
			again = appendEntry(again, &d.e, d.text, d.home)
		}
		if data[0] == segmentFormat {
			if !bytes.Equal(again, data) {
				t.Fatalf("%x is read, and written as %x", data, again)
			}
			return
		}
		// An older format is read, and written as the new one.
		back, err := decode(again)
		if err != nil || len(back) != len(entries) {
			t.Fatalf("%x is written as %x, and read back as %d entries of %d: %v", data, again, len(back), len(entries), err)
		}
		for i := range back {
			if back[i] != entries[i] || back[i].e.has(flagAway) {
				t.Fatalf("%+v is read back as %+v", entries[i], back[i])
			}
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add("window/2024-10-04", []byte(`{"v":1,"digest":"00000000000000000000000000000000"}`))
	f.Add("window/2024-10-04", []byte(`{"v":1,"seq":1,"digest":"00000000000000000000000000000000","vanished":1,"tail":"2024-10-05T00:00:00Z"}`))
	f.Add("tenant", []byte(`{"v":1,"start":"2024-10-04"}`))
	f.Add("tenant", []byte(`{"v":1,"start":"2024-10-04","dropped":1,"lateness":[1],"reading":{"times":"honoured"}}`))
	f.Add("month/2024-10", []byte(`{"v":1,"settled":"00000000"}`))
	f.Add("month/2024-11", []byte(`{"v":1,"settled":"00000001","days":{"01":{"rows":1,"events":1,"digest":"00000000000000000000000000000000","first":"2024-11-01T00:00:00Z"}}}`))
	f.Add("month/2024-02", []byte(`{"v":1,"settled":"20000000"}`))
	f.Add("month/2024-13", []byte(`{"v":1,"settled":"00000001"}`))
	f.Add("scan/2024-10-04", []byte(`{"v":1,"range":{"from":"2024-10-04","to":"2024-10-05"},"from":"2024-10-04T12:00:00Z"}`))
	f.Add("ledger/2024-10-04/1", appendEntry(startSegment(), &entry{revision: -1, flags: flagRejected}, "", 0))
	f.Add("ledger/2024-10-04/1", appendEntry(startSegment(), &entry{revision: -1, owner: uint16(day0), flags: flagAway | flagRejected}, "", day0+1))
	f.Add("ledger/2024-10-04/1", append([]byte{1, 1, 2}, make([]byte, 24)...))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		records := map[string][]byte{
			"contoso/pstn/tenant":            []byte(`{"v":1,"start":"2024-10-04"}`),
			"contoso/pstn/window/2024-10-04": []byte(`{"v":1,"seq":1,"digest":"00000000000000000000000000000000"}`),
		}
		if strings.HasPrefix(key, "month/") { // needs a tenant that counts its days
			records["contoso/pstn/tenant"] = []byte(`{"v":1,"start":"2024-10-04","dropped":1}`)
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
		for _, d := range tenant.Windows() {
			tenant.Window(d)
		}
		// Whatever is taken for a state leads to another one.
		day := window.Range{From: day0, To: day0 + 1}
		if d := tenant.Observe(Seen{ID: "a", HasID: true, Day: day0}, Page{Range: day, Received: 1, Busy: idle}); d.Action == Publish {
			tenant.Published(d.Owner, HashEvent(d.RowID, d.Revision, 0, nil), day0.Start())
		}
		if !tenant.Settled(day0) {
			tenant.BeginScan(day)
			tenant.Complete(Scanned{Range: day, Begun: day0.End(), Pages: 1})
		}
		recs, _, err := tenant.Records()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			if records[r.Key] = r.Value; r.Value == nil {
				delete(records, r.Key)
			}
		}
		loaded, _, err := Load(testTenant, records)
		if err != nil {
			t.Fatal(err)
		}
		if diff := differences(tenant, loaded); diff != "" {
			t.Fatalf("memory (-) and topic (+):\n%s", diff)
		}
	})
}
