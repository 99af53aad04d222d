package status

import "slices"

// Definition says what a condition is. This table is the one place that the poller, the watch, the commands and the README go by.
type Definition struct {
	Name    string
	Meaning string
	Do      string // what the operator does
}

// The conditions of a tenant. They are in its record of the state topic.
const (
	GraphDenied        = "graph-denied"
	GraphUnreadable    = "graph-unreadable"
	Throttled          = "throttled"
	DayUnanswered      = "day-unanswered"
	ClockOff           = "clock-off"
	ClockJumped        = "clock-jumped"
	NoNewRows          = "no-new-rows"
	BudgetTooSmall     = "budget-too-small"
	LookbackTooShort   = "lookback-too-short"
	RowsVanished       = "rows-vanished"
	RowsRejected       = "rows-rejected"
	RowFlapping        = "row-flapping"
	RowsOutOfRange     = "rows-out-of-range"
	TooManyUnsettled   = "too-many-unsettled"
	TenantUnconfigured = "tenant-unconfigured"
)

// The conditions of a shard. FencedRepeatedly is in its record of the state topic; the others are those of somebody who may be
// able to write nothing: whoever looks derives them (Derive).
const (
	NotCommitted     = "not-committed"
	FencedRepeatedly = "fenced-repeatedly"
	NoOwner          = "no-owner"
	TransactionOpen  = "transaction-open"
	StateGrowing     = "state-growing"
)

// Definitions are all conditions, in the order in which they are shown.
var Definitions = []Definition{
	{GraphDenied, "Graph, or the token authority, answers 401, 403 or 404: its sentence says what is missing. No row can be read",
		"check tenant, client id, secret and cloud; grant `CallRecords.Read.All` with admin consent. Then nothing"},
	{GraphUnreadable, "a page could not be read; the sentence is Graph's answer, or the network's. It ends when every scan goes on",
		"look at the sentence if it lasts: network, proxy, endpoint, or Microsoft's service health"},
	{Throttled, "Graph has answered 429 three times within 15 minutes although the request budget was kept. It ends 15 minutes after the last",
		"find what else asks with this application, or make `GRAPH_REQUESTS_PER_MINUTE` smaller"},
	{DayUnanswered, "Graph answers, but not for a day, which is named: its rows are missing, the watermark waits for it if it was never read",
		"if the sentence says that the day is too old, a later `POLL_START` (in a new set-up) leaves it out; else ask Microsoft"},
	{ClockOff, "this machine's clock and Graph's are more than 30 s apart, or at the start this one is so far behind the last owner's. Days are cut by this machine's: rows are still published, but nothing settles and the watermark topic stands still",
		"set the clock"},
	{ClockJumped, "this machine's clock was set while the program ran; the scans in progress settle nothing, the watermark topic stands still. It ends when an answer of Graph confirms the clock",
		"nothing, if the clock is right now"},
	{NoNewRows, "a tenant that has been watched for a week has had no new row for three times the longest time without one so far. Times in which nobody polled do not count",
		"if there were calls: look at the tenant in the Teams admin center, and ask Microsoft. After a holiday nothing"},
	{BudgetTooSmall, "reading the windows as seldom as is permitted costs more requests than the budget has: today's at every `POLL_INTERVAL`, the others when their age has doubled. All is read, but late",
		"a longer `POLL_INTERVAL`, a shorter `POLL_LOOKBACK`, or more `GRAPH_REQUESTS_PER_MINUTE` (Graph takes 50)"},
	{LookbackTooShort, "three rows within a day came in the last quarter of their window's lookback: others come after it, and are not published. Shown for a day",
		"a longer `POLL_LOOKBACK`; it holds for the windows that have not settled"},
	{RowsVanished, "Graph has stopped returning rows that were published; their events stay. Shown for a day",
		"nothing if they are few; ask Microsoft about many"},
	{RowsRejected, "rows could not become events: they are on the dead-letter topic, with the reason. Shown for a day",
		"read them with `producer tail --dlq --from-beginning --until-end`; a version that can convert them publishes those of unsettled windows by itself"},
	{RowFlapping, "a row has reached revision 10, or has become a reject more than ten times since the shard was taken over, each time another; all are on the events or the dead-letter topic. Shown for a day",
		"ask Microsoft about the row that is named"},
	{RowsOutOfRange, "Graph has answered with rows of days that were not asked for. They are left to the scan of their own day; those of a settled day are not published. Shown for a day",
		"nothing; if it comes again every day, ask Microsoft"},
	{TooManyUnsettled, "the ledgers of one tenant hold more than 20 million rows, in memory and read at each start",
		"a shorter `POLL_LOOKBACK`, or this tenant in a set-up alone, with `KAFKA_GROUP` and all four topics of its own (it begins at `POLL_START`)"},
	{TenantUnconfigured, "the state has a tenant that no owner of its shard is configured for: it is not polled",
		"put it back into `GRAPH_TENANTS`, or `producer forget --tenant …` if it is gone for good"},
	{NotCommitted, "for more than a minute nothing of this shard could be committed to Kafka, or its state not be read; rows that were read wait",
		"look at brokers, rights and in-sync replicas; the log has the error. Nothing is lost or doubled meanwhile"},
	{FencedRepeatedly, "the shard's owner was deposed, or its transaction timed out, three times within 10 minutes. It ends 10 minutes after the last",
		"look for a second set-up with the same `KAFKA_GROUP` and state topic that is in no group with this one, for brokers that take longer than 20 s, and for frozen machines"},
	{NoOwner, "the shard has tenants, and no replica has it: they are not polled",
		"start `producer run`, or look why its replicas do not join the group"},
	{TransactionOpen, "a transaction of this shard is open for longer than its timeout and 30 s: it holds up every read_committed reader",
		"nothing while brokers start; else abort it: `kafka-transactions.sh find-hanging`, then `abort`"},
	{StateGrowing, "the shard's partition of the state topic takes more than 512 MiB and eight times what is alive in it: the log cleaner does not keep up. Not known where the cluster does not let the program see its log dirs",
		"look for a log cleaner that has died (the broker's `log-cleaner.log`), restart that broker, and check that the topic's `cleanup.policy` is `compact`"},
}

// DefinitionOf returns the definition of a name; of one that is not known, an empty one.
func DefinitionOf(name string) Definition {
	i := slices.IndexFunc(Definitions, func(d Definition) bool { return d.Name == name })
	if i < 0 {
		return Definition{Name: name}
	}
	return Definitions[i]
}
