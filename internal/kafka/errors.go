package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// RefusedError says that the topics or the state are not what the program may work on. Waiting does not help; Mend does.
type RefusedError struct {
	Subject string // what was looked at
	Reason  string // what is wrong with it
	Mend    string // the command or the step that mends it
}

func (e *RefusedError) Error() string {
	s := e.Subject + ": " + e.Reason
	if e.Mend != "" {
		s += "; " + e.Mend
	}
	return s
}

// ForeignGroupError says that the state belongs to another KAFKA_GROUP.
type ForeignGroupError struct {
	Topic, Owner, Ours string
}

func (e *ForeignGroupError) Error() string {
	return fmt.Sprintf("state topic %s belongs to the group %s, not to %s: set KAFKA_GROUP=%s, or give this set-up topics of its own (KAFKA_EVENTS_TOPIC, KAFKA_STATE_TOPIC)",
		e.Topic, e.Owner, e.Ours, e.Owner)
}

// IsRefused reports whether err is one that no retry mends.
func IsRefused(err error) bool {
	var r *RefusedError
	var f *ForeignGroupError
	return errors.As(err, &r) || errors.As(err, &f)
}

// FencedOrTimedOut reports whether err is one of the four faces of "this session is no longer the owner, or its transaction
// timed out" (design section 4), or the fifth, of brokers that have forgotten the transactional id after seven idle days: what has
// happened meanwhile cannot be told from the error.
func FencedOrTimedOut(err error) bool {
	for _, e := range []*kerr.Error{kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.OperationNotAttempted,
		kerr.InvalidProducerIDMapping} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// denied reports whether the broker refuses the program for lack of a right or of credentials: retried, but said loudly.
func denied(err error) bool {
	for _, e := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Explain returns err's text with what to do about it, for the log and for status.
func Explain(err error) string {
	switch {
	case err == nil:
		return ""
	case denied(err):
		return err.Error() + " (the principal needs READ, WRITE and DESCRIBE_CONFIGS on the four topics, READ on the group, WRITE and DESCRIBE on the transactional ids with the group's prefix)"
	case FencedOrTimedOut(err):
		return err.Error() + " (another owner took the shard over, or a transaction timed out)"
	case errors.Is(err, kerr.MessageTooLarge):
		return err.Error() + " (the topic takes less than was written: the next session goes by what its max.message.bytes is by then; if this comes again, raise max.message.bytes)"
	case errors.Is(err, kgo.ErrRecordTimeout) || errors.Is(err, kgo.ErrClientClosed) && errors.Is(err, context.DeadlineExceeded):
		// The client keeps NOT_ENOUGH_REPLICAS, LEADER_NOT_AVAILABLE and the like to itself while it tries again.
		return err.Error() + " (the brokers did not take the records in time: some may be down, or fewer of the topic's replicas are in sync than its min.insync.replicas: bring them back, or lower min.insync.replicas)"
	case errors.Is(err, kerr.UnsupportedVersion):
		return err.Error() + " (the brokers do not offer what this program needs: transactions, as Apache Kafka has them)"
	case errors.Is(err, context.DeadlineExceeded):
		return err.Error() + " (no broker answered in time: check KAFKA_BROKERS and the network)"
	}
	return err.Error()
}
