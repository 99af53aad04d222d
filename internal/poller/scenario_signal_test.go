//go:build synctests

package poller_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// askScan gives a signal for days from birth, [from, to).
func (s *scene) askScan(id string, from, to int) {
	s.Helper()
	r := window.Range{From: s.day(from), To: s.day(to)}
	s.give(id, state.Signal{Kind: state.SignalScan, Tenant: tenant, Range: &r})
}

func (s *scene) give(id string, sig state.Signal) {
	s.Helper()
	sig.Given, sig.By = time.Now(), "test"
	s.giveRaw(id, sig.Encode())
}

func (s *scene) giveRaw(id string, value []byte) {
	s.Helper()
	c, err := s.cluster(nil)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := c.Signal(s.Context(), s.shard(), id, value); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) shard() int32 { return kafka.ShardOf(tenant, 12) }

// signals returns all that the state topic has said of a signal, and whether it is done with.
func (s *scene) signals(id string) (said []state.Signal, ended bool) {
	s.Helper()
	for _, rec := range s.read(topics.State) {
		if string(rec.Key) != kafka.SignalPrefix+id {
			continue
		}
		if ended {
			s.Fatalf("signal %s is written after its end: %s", id, rec.Value)
		}
		if ended = rec.Value == nil; ended {
			continue
		}
		sig, err := state.DecodeSignal(id, rec.Value)
		if err != nil {
			s.Fatal(err)
		}
		said = append(said, sig)
	}
	return said, ended
}

// answered waits for the end of a signal, and returns its last word.
func (s *scene) answered(id string, most time.Duration) state.Signal {
	s.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Second) {
		said, ended := s.signals(id)
		if ended {
			return said[len(said)-1]
		}
		if time.Since(began) > most {
			s.Fatalf("signal %s is not answered in %s: %+v\n%s", id, most, said, tail(s.log.String(), 3000))
		}
	}
}

// proves lets verify prove every day.
func (s *scene) proves() *verify.Report {
	s.Helper()
	c, err := s.cluster(nil)
	if err != nil {
		s.Fatal(err)
	}
	view, err := c.ReadState(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	r, err := verify.Topics(s.Context(), c, view, verify.Options{})
	if err != nil {
		s.Fatal(err)
	}
	if r.Verdict.Proved != r.Verdict.Days || !r.Verdict.OK() {
		s.Errorf("%s\n%+v", r.Verdict, r.Tenants)
	}
	return r
}

func (s *scene) events() (n int) { return len(s.read(topics.Events)) }

// settledWeek is a scene whose days from birth -9 to -3 have settled and lost their ledgers.
func settledWeek(t *testing.T, play func(*scene)) {
	h := history{interval: 10 * time.Minute, lookback: 12 * time.Hour, back: 9, pageSize: 1000, perMinute: 3000}
	stage(t, h, -9, 0, graphfake.TenantConfig{RowsPerDay: 40, Flat: true}, func(s *scene) {
		s.until("the days to settle", time.Hour, 10*dayLong, func(st *state.Tenant) bool {
			for day := s.day(-9); day < s.day(-2); day++ {
				if !st.Dropped(day) {
					return false
				}
			}
			return true
		})
		play(s)
	})
}

// idsOn returns the ids of the rows that the simulator has on a day.
func (s *scene) idsOn(day window.Day) (ids []string) {
	for _, r := range s.graph.Truth(tenant) {
		if window.Of(r.Versions[0].Start) == day {
			ids = append(ids, r.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func (s *scene) addOn(n int, day window.Day) {
	s.Helper()
	for i := range n {
		id := newID()
		if err := s.graph.AddRow(tenant, map[string]any{"id": id, "callId": "call-" + id,
			"startDateTime": stamp(day.Start().Add(time.Duration(i+1) * time.Minute)), "duration": 5}, time.Now()); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *scene) correctRow(id string, change func(map[string]any)) {
	s.Helper()
	if err := s.graph.CorrectRow(tenant, id, change, time.Now()); err != nil {
		s.Fatal(err)
	}
}

func renamed(v map[string]any) { v["userDisplayName"] = "somebody else" }

// A scan of a settled week publishes what is new or has changed in it, and nothing else.
func TestScanOfASettledWeek(t *testing.T) {
	settledWeek(t, func(s *scene) {
		before := s.events()
		s.addOn(3, s.day(-8))
		s.addOn(2, s.day(-4))
		for _, id := range s.idsOn(s.day(-6))[:3] {
			s.correctRow(id, renamed)
		}
		time.Sleep(2 * dayLong)
		if n := s.events(); n != before {
			s.Fatalf("%d events more without a scan: the days were not settled", n-before)
		}
		s.askScan("one", -9, -2)
		time.Sleep(time.Second)
		if said, _ := s.signals("one"); len(said) < 2 || said[1].Accepted == nil {
			s.Errorf("a second later the owner has said %+v", said)
		}
		sig := s.answered("one", time.Hour)
		if sig.Answer != state.AnswerDone || sig.Events != 8 || sig.Revisions != 3 || sig.DaysLeft() != 0 {
			s.Errorf("the answer is %+v, want done with 8 events, 3 of them revisions", sig)
		}
		if n := s.events() - before; n != 8 {
			s.Errorf("%d events more, want 8", n)
		}
		s.until("the days to settle again", time.Minute, dayLong, func(st *state.Tenant) bool { return st.Dropped(s.day(-9)) && st.Dropped(s.day(-3)) })
		if v := s.proves().Verdict; v.Rows != 9*40+5 {
			s.Errorf("verify counts %d rows, want %d", v.Rows, 9*40+5)
		}
		s.until("rest", time.Minute, time.Hour, func(st *state.Tenant) bool { return len(st.Scans()) == 0 })
		asked := s.asked()
		s.askScan("two", -9, -2)
		if sig := s.answered("two", time.Hour); sig.Answer != state.AnswerDone || sig.Events != 0 {
			s.Errorf("the second answer is %+v, want done without an event", sig)
		}
		if s.asked() == asked {
			s.Error("the second scan has asked nothing of Graph")
		}
		s.proves()
	})
}

// What a scan publishes is as exact through a crash of its owner at any point of it.
func TestScanSurvivesCrashes(t *testing.T) {
	for _, at := range []kafka.Point{"page", kafka.AtBegin, kafka.AtProduced, kafka.AtEnd, kafka.AtCommitted} {
		for n := 1; n <= 3; n++ {
			t.Run(fmt.Sprintf("%s %d", at, n), func(t *testing.T) {
				settledWeek(t, func(s *scene) {
					before := s.events()
					s.addOn(3, s.day(-8))
					for _, id := range s.idsOn(s.day(-6))[:2] {
						s.correctRow(id, renamed)
					}
					s.model.mu.Lock()
					s.armed = append(s.armed, &armed{op: op{kind: opKill, what: string(at), dur: 30 * time.Second}, left: n})
					s.model.mu.Unlock()
					s.askScan("one", -9, -2)
					sig := s.answered("one", 3*time.Hour)
					time.Sleep(dayLong)
					if s.total()[opKill] != 1 {
						s.Fatal("nothing was killed")
					}
					if n := s.events() - before; sig.Answer != state.AnswerDone || n != 5 || sig.Events != 5 {
						s.Errorf("%d events more, want 5; the answer is %+v", n, sig)
					}
					s.proves()
				})
			})
		}
	}
}

// A row that has moved from one settled day into another is known to a scan of the other alone, whether that has its ledger or not.
func TestScanKnowsMovedRows(t *testing.T) {
	for name, settled := range map[string]func(s *scene, st *state.Tenant) bool{
		"both ledgers are gone": func(s *scene, st *state.Tenant) bool { return st.Dropped(s.day(1)) },
		"that of the day is there": func(s *scene, st *state.Tenant) bool {
			return st.Dropped(s.day(-1)) && st.Settled(s.day(0)) && !st.Dropped(s.day(0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := history{interval: 10 * time.Minute, lookback: 12 * time.Hour, back: 9, pageSize: 1000, perMinute: 3000}
			stage(t, h, -9, 2, graphfake.TenantConfig{RowsPerDay: 40, Flat: true}, func(s *scene) {
				time.Sleep(30 * time.Minute)
				moved := s.idsOn(s.day(-1))[:4]
				for _, id := range moved[:3] { // into today, while both are open
					s.correctRow(id, func(v map[string]any) { v["startDateTime"] = stamp(s.day(0).Start().Add(time.Hour)) })
				}
				s.until("the days to settle", time.Hour, 10*dayLong, func(st *state.Tenant) bool { return settled(s, st) })
				before := s.events()
				if before != 11*40+3 {
					s.Fatalf("%d events before, want %d: nothing has moved", before, 11*40+3)
				}
				s.correctRow(moved[0], renamed)
				s.askScan("one", 0, 1)
				if sig := s.answered("one", time.Hour); sig.Answer != state.AnswerDone || sig.Events != 1 || sig.Revisions != 1 {
					s.Errorf("the answer is %+v, want one revision", sig)
				}
				s.until("the days to settle again", time.Hour, 5*dayLong, func(st *state.Tenant) bool { return st.Dropped(s.day(0)) && st.Dropped(s.day(-1)) })
				if n := s.events() - before; n != 1 {
					s.Errorf("%d events more, want 1", n)
				}
				seen := map[string]bool{}
				for _, rec := range s.read(topics.Events) {
					call := decode(s.T, rec)
					key := fmt.Sprintf("%s/%d", call.RowID, call.Revision)
					if seen[key] {
						s.Errorf("%s is doubled", key)
					}
					seen[key] = true
				}
				s.proves()
			})
		})
	}
}

// A scan further back reads days that were never read; the watermark stays where readers have seen it.
func TestScanFurtherBack(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 12 * time.Hour, back: 5, pageSize: 1000, perMinute: 3000}
	stage(t, h, -30, -1, graphfake.TenantConfig{RowsPerDay: 40, Flat: true}, func(s *scene) {
		s.until("the first days", time.Hour, 10*dayLong, func(st *state.Tenant) bool { return st.Dropped(s.day(-5)) })
		before, mark := s.events(), s.state().CompleteUpTo(time.Now())
		s.askScan("one", -20, -3)
		for range 20 {
			time.Sleep(10 * time.Second)
			if at := s.state().CompleteUpTo(time.Now()); at.Before(mark) {
				s.Fatalf("the watermark goes back from %s to %s", mark, at)
			}
		}
		if sig := s.answered("one", dayLong); sig.Answer != state.AnswerDone || sig.Events != 15*40 {
			s.Errorf("the answer is %+v, want %d events", sig, 15*40)
		}
		if n := s.events() - before; n != 15*40 {
			s.Errorf("%d events more, want %d", n, 15*40)
		}
		s.until("them to settle", time.Hour, 5*dayLong, func(st *state.Tenant) bool { return st.Dropped(s.day(-20)) })
		s.proves()
	})
}

// A scan that is canceled publishes no more, and its days settle again as they are.
func TestScanIsCanceled(t *testing.T) {
	settledWeek(t, func(s *scene) {
		before := s.events()
		s.addOn(3, s.day(-8))
		sc := s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 500, Count: -1, Match: func(r graphfake.Request) bool { return r.From.Before(s.day(-1).Start()) }})
		s.askScan("one", -12, -2)
		time.Sleep(5 * time.Minute)
		if st := s.state(); st.Dropped(s.day(-4)) || st.Header.Start != s.day(-12) {
			s.Fatalf("the scan has not begun: start %s", st.Header.Start)
		}
		s.give("two", state.Signal{Kind: state.SignalCancel, Tenant: tenant, Target: "one"})
		if sig := s.answered("one", time.Minute); sig.Answer != state.AnswerCanceled {
			s.Errorf("the answer is %+v, want canceled", sig)
		}
		if sig := s.answered("two", time.Minute); sig.Answer != state.AnswerDone {
			s.Errorf("the cancel's answer is %+v", sig)
		}
		if sc.Fired() == 0 {
			s.Error("Graph was not asked: the test shows nothing")
		}
		sc.Off()
		time.Sleep(dayLong)
		if st := s.state(); !st.Dropped(s.day(-4)) || st.Header.Start != s.day(-9) || st.Header.Origin != nil || s.events() != before {
			s.Errorf("settled %v, start %s, origin %v, %d events more", st.Settled(s.day(-4)), st.Header.Start, st.Header.Origin, s.events()-before)
		}
		s.proves()
		s.give("three", state.Signal{Kind: state.SignalCancel, Tenant: tenant, Target: "one"})
		if sig := s.answered("three", time.Minute); sig.Answer != state.AnswerRefused {
			s.Errorf("canceled twice: %+v", sig)
		}
	})
}

// What cannot be done is refused with its reason, and changes nothing.
func TestScanIsRefused(t *testing.T) {
	t.Run("asked wrongly", func(t *testing.T) {
		settledWeek(t, func(s *scene) {
			future := window.Of(time.Now()) - s.day(0) + 5
			day := window.Range{From: s.day(-3), To: s.day(-2)}
			s.askScan("future", -3, int(future))
			s.askScan("old", -1000, -3)
			s.give("tenant", state.Signal{Kind: state.SignalScan, Tenant: "fabrikam", Range: &day})
			s.give("empty", state.Signal{Kind: state.SignalScan, Tenant: tenant, Range: &window.Range{From: s.day(-3), To: s.day(-3)}})
			s.give("kind", state.Signal{Kind: "dance", Tenant: tenant})
			s.giveRaw("newer", []byte(`{"v":99}`))
			s.giveRaw("nonsense", []byte(`not json`))
			for id, why := range map[string]string{"future": "future", "old": "Graph keeps no calls before", "tenant": "GRAPH_TENANTS", "empty": "range", "kind": "dance", "newer": "newer version", "nonsense": "invalid character"} {
				var last string
				for range 60 {
					time.Sleep(time.Second)
					recs := s.read(topics.State)
					i := slices.IndexFunc(recs, func(r *kgo.Record) bool { return string(r.Key) == kafka.SignalPrefix+id && r.Value == nil })
					if i > 0 {
						last = string(recs[i-1].Value)
						for j := i - 1; j >= 0; j-- {
							if string(recs[j].Key) == kafka.SignalPrefix+id {
								last = string(recs[j].Value)
								break
							}
						}
						break
					}
				}
				if !strings.Contains(last, `"refused"`) || !strings.Contains(last, why) {
					s.Errorf("%s: the last word is %q, want refused with %q", id, last, why)
				}
			}
			s.proves()
		})
	})
	t.Run("retention", func(t *testing.T) {
		settledWeek(t, func(s *scene) {
			before := s.events()
			adm, err := kgo.NewClient(kgo.SeedBrokers(kafkaAddr), kgo.Dialer(s.net.DialContext))
			if err != nil {
				s.Fatal(err)
			}
			defer adm.Close()
			var cut kadm.Offsets
			for _, rec := range s.read(topics.Events)[:before-30] {
				cut.AddOffset(topics.Events, rec.Partition, rec.Offset+1, -1)
			}
			if _, err := kadm.NewClient(adm).DeleteRecords(context.Background(), cut); err != nil {
				s.Fatal(err)
			}
			left := s.events()
			s.addOn(1, s.day(-8))
			s.askScan("one", -9, -2)
			if sig := s.answered("one", time.Hour); sig.Answer != state.AnswerRefused || !strings.Contains(sig.Why, "retention has removed") {
				s.Errorf("the answer is %+v, want refused because of retention", sig)
			}
			time.Sleep(dayLong)
			if n := s.events(); n != left || !s.state().Dropped(s.day(-9)) {
				s.Errorf("%d events more", n-left)
			}
		})
	})
	t.Run("Graph", func(t *testing.T) {
		settledWeek(t, func(s *scene) {
			before := s.events()
			old := s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 400, Count: -1, Match: func(r graphfake.Request) bool { return r.From.Before(s.day(-6).Start()) }})
			s.addOn(2, s.day(-4))
			s.askScan("one", -9, -2)
			if sig := s.answered("one", 12*time.Hour); sig.Answer != state.AnswerRefused || !strings.Contains(sig.Why, "Graph does not show 3 of the days") || sig.Events != 2 {
				s.Errorf("the answer is %+v, want 2 events, then refused by Graph", sig)
			}
			if old.Fired() == 0 {
				s.Error("Graph was not asked: the test shows nothing")
			}
			time.Sleep(dayLong)
			if st := s.state(); !st.Dropped(s.day(-9)) || s.events() != before+2 {
				s.Errorf("settled %v, %d events more", st.Settled(s.day(-9)), s.events()-before)
			}
			s.proves()
		})
	})
}

// A proof that fails is no basis for a scan: an event that is not the program's own stands for a topic that was tampered with.
func TestScanNeedsAProof(t *testing.T) {
	settledWeek(t, func(s *scene) {
		recs := slices.DeleteFunc(s.read(topics.Events), func(r *kgo.Record) bool { return header(r, schema.HeaderOwner) != s.day(-8).String() })
		cl, err := kgo.NewClient(kgo.SeedBrokers(kafkaAddr), kgo.Dialer(s.net.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			s.Fatal(err)
		}
		defer cl.Close()
		if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: topics.Events, Partition: recs[0].Partition, Key: recs[0].Key, Value: recs[0].Value, Headers: recs[0].Headers}).FirstErr(); err != nil {
			s.Fatal(err)
		}
		s.askScan("one", -9, -2)
		if sig := s.answered("one", time.Hour); sig.Answer != state.AnswerRefused || !strings.Contains(sig.Why, "verify tells more") {
			s.Errorf("the answer is %+v, want refused: the topic differs", sig)
		}
	})
}

// What is on the dead-letter topic does not come once more with a scan; what has been mended since is published.
func TestScanKnowsRejects(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 36 * time.Hour, back: 9, pageSize: 1000, perMinute: 3000}
	stage(t, h, -9, 1, graphfake.TenantConfig{RowsPerDay: 40, Flat: true}, func(s *scene) {
		spoil := func(v map[string]any) { v["duration"] = "soon" }
		bad := s.idsOn(s.day(-1))[:3]
		time.Sleep(30 * time.Minute)
		s.correctRow(bad[0], spoil)
		noID := map[string]any{"callId": "nobody", "startDateTime": stamp(s.day(-1).Start().Add(time.Hour)), "duration": "soon"}
		if err := s.graph.AddRow(tenant, noID, time.Now()); err != nil {
			s.Fatal(err)
		}
		fresh := newID()
		if err := s.graph.AddRow(tenant, map[string]any{"id": fresh, "callId": "c", "startDateTime": stamp(s.day(-1).Start()), "duration": "soon"}, time.Now()); err != nil {
			s.Fatal(err)
		}
		s.until("the day to settle", time.Hour, 10*dayLong, func(st *state.Tenant) bool { return st.Dropped(s.day(-1)) })
		letters, before := len(s.read(topics.DLQ)), s.events()
		if letters != 3 {
			s.Fatalf("%d dead letters, want 3", letters)
		}
		s.askScan("one", -1, 0)
		if sig := s.answered("one", time.Hour); sig.Answer != state.AnswerDone || sig.Events != 0 {
			s.Errorf("the answer is %+v, want done without an event", sig)
		}
		if n := len(s.read(topics.DLQ)); n != letters {
			s.Errorf("%d dead letters more", n-letters)
		}
		s.until("the day to settle again", time.Minute, dayLong, func(st *state.Tenant) bool { return st.Dropped(s.day(-1)) })
		for _, id := range []string{bad[0], fresh} {
			s.correctRow(id, func(v map[string]any) { v["duration"] = 7 })
		}
		s.correctRow(bad[1], spoil)
		s.askScan("two", -1, 0)
		if sig := s.answered("two", time.Hour); sig.Answer != state.AnswerDone || sig.Events != 2 || sig.Revisions != 1 {
			s.Errorf("the answer is %+v, want two events, one of them a revision", sig)
		}
		if n := s.events() - before; n != 2 || len(s.read(topics.DLQ)) != letters+1 {
			s.Errorf("%d events more, want 2; %d dead letters, want %d", n, len(s.read(topics.DLQ)), letters+1)
		}
		s.proves()
	})
}
