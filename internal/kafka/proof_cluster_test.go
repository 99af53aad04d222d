package kafka_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"pstncalls/internal/kafka"
)

// TestPrepareSettingsRefused has clusters that do not let everybody set everything: what is essential is set, of the rest it is said
// that the cluster's own hold. Where not even that is taken, the command that creates the topic is told.
func TestPrepareSettingsRefused(t *testing.T) {
	for _, tc := range []struct {
		err   *kerr.Error
		takes []string // the settings that the cluster lets anybody set
	}{
		{kerr.InvalidConfig, []string{"cleanup.policy", "retention.ms"}},
		{kerr.PolicyViolation, []string{"cleanup.policy", "retention.ms"}},
		{kerr.InvalidRequest, []string{"cleanup.policy", "retention.ms"}},
		{kerr.UnsupportedVersion, []string{"cleanup.policy", "retention.ms"}},
		{kerr.PolicyViolation, nil},
		{kerr.InvalidRequest, nil},
	} {
		t.Run(tc.err.Message, func(t *testing.T) {
			fake, c := newFake(t)
			var refused atomic.Int64
			fake.ControlKey(kmsg.CreateTopics.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
				fake.KeepControl()
				req := r.(*kmsg.CreateTopicsRequest)
				resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
				for _, topic := range req.Topics {
					for _, cfg := range topic.Configs {
						if slices.Contains(tc.takes, cfg.Name) {
							continue
						}
						refused.Add(1)
						rt := kmsg.NewCreateTopicsResponseTopic()
						rt.Topic, rt.ErrorCode, rt.ErrorMessage = topic.Topic, tc.err.Code, kmsg.StringPtr("not here: "+cfg.Name)
						resp.Topics = append(resp.Topics, rt)
						return resp, nil, true
					}
				}
				return nil, nil, false
			})
			log := newSaid()
			p := with(t, c, func(cfg *kafka.Config) { cfg.Log = log.logger() })
			_, err := p.Prepare(testContext(t), false)
			if refused.Load() == 0 {
				t.Fatal("nothing was refused")
			}
			if tc.takes == nil {
				if !kafka.IsRefused(err) || !strings.Contains(err.Error(), "not here: ") || !strings.Contains(err.Error(), "kafka-topics.sh") {
					t.Errorf("got %v, want a refusal with the broker's words and the command", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 4 { // topics
				line := <-log.lines
				if !strings.Contains(line, "its own defaults hold") || !strings.Contains(line, "unclean.leader.election.enable") || !strings.Contains(line, "not here: ") {
					t.Errorf("it does not say what the cluster refused: %s", line)
				}
			}
			s, _ := open(t, p, 0)
			commit(t, s, batch(s, "row"))
			s.Close()
			checkVisible(t, p, []string{"row"})
		})
	}
}

// TestPrepareAble has brokers that lack what the program needs: without transactions they are refused before anything is created,
// and that they know no topic ids is said.
func TestPrepareAble(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.EndTxn} {
		t.Run("without "+key.Name(), func(t *testing.T) {
			versions := kversion.Stable()
			versions.SetMaxKeyVersion(key.Int16(), -1)
			_, c := newFake(t, kfake.MaxVersions(versions))
			_, err := c.Prepare(testContext(t), false)
			if !kafka.IsRefused(err) || !strings.Contains(err.Error(), "no transactions") || !strings.Contains(err.Error(), "2.8 or newer") {
				t.Errorf("got %v, want a refusal that says what is missing", err)
			}
			for partition := range allEnds(t, c) {
				if !strings.HasSuffix(partition, "/-1") {
					t.Errorf("%s was created", partition)
				}
			}
		})
	}
	t.Run("without topic ids", func(t *testing.T) {
		_, c := newFake(t, kfake.MaxVersions(kversion.V2_7_0()))
		log := newSaid()
		p := with(t, c, func(cfg *kafka.Config) { cfg.Log = log.logger() })
		prepare(t, p)
		if line := <-log.lines; !strings.Contains(line, "no topic ids") {
			t.Errorf("it does not say what is missing: %s", line)
		}
	})
}
