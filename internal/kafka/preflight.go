package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Result is how a question of a preflight came out.
type Result string

// The results. What could not be asked, or says nothing for sure, is NotCheckable.
const (
	Fine         Result = "ok"
	Warning      Result = "warning"
	Failed       Result = "failed"
	NotCheckable Result = "not checkable"
)

// Finding is one line of a preflight.
type Finding struct {
	Check    string // brokers, versions, topics, acls, state, setup: the words are a contract with scripts
	Subject  string
	Result   Result
	Sentence string
	Do       string // what to do about it
}

const askWait = 6 * time.Second // for the answer to one question

// Preflight asks the cluster what run will need of it, in requests that write nothing, create nothing and fence nobody, and says what
// it finds. It looks for no coordinator either: on a new cluster that would create a topic. host is this machine's, as ACLs name it.
func (c *Cluster) Preflight(ctx context.Context, host string, freshStart bool, say func(Finding)) {
	p := &preflight{c: c, say: say, host: host}
	// The client keeps to itself why it tries again, until it gives up.
	cl, err := c.client(kgo.RequestRetries(2), kgo.RetryTimeout(askWait))
	if err != nil {
		p.found(Failed, "brokers", "", err.Error(), "check KAFKA_…")
		return
	}
	defer cl.Close()
	p.cl, p.adm = cl, kadm.NewClient(cl)
	if !p.brokers(ctx) {
		for _, check := range []string{"versions", "topics", "acls", "state"} {
			p.blind(check, "", "the brokers could not be asked")
		}
		return
	}
	p.topics(ctx)
	p.acls(ctx)
	p.state(ctx, freshStart)
}

// preflight is one Preflight.
type preflight struct {
	c    *Cluster
	say  func(Finding)
	cl   *kgo.Client
	adm  *kadm.Client
	host string
	md   *kmsg.MetadataResponse
}

func (p *preflight) found(r Result, check, subject, sentence, do string) {
	p.say(Finding{check, subject, r, sentence, do})
}

func (p *preflight) blind(check, subject, why string) {
	p.found(NotCheckable, check, subject, why, "mend that first")
}

// brokers asks the brokers what there is and what they offer. It reports whether they can be asked for more.
func (p *preflight) brokers(ctx context.Context) bool {
	asked, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	md := kmsg.NewPtrMetadataRequest()
	md.IncludeTopicAuthorizedOperations = true
	for _, name := range p.c.topicNames() {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		md.Topics = append(md.Topics, t)
	}
	var err error
	if p.md, err = md.RequestWith(asked, p.cl); err != nil {
		do := "check KAFKA_TLS, and whether the brokers want a user: KAFKA_SASL_…"
		if p.c.cfg.SASL.Mechanism != "" {
			do = "check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_TLS"
		}
		p.found(Failed, "brokers", strings.Join(p.c.cfg.Brokers, ","), "the connection stands, but the brokers do not answer: "+err.Error(), do)
		return false
	}
	all, err := p.adm.ApiVersions(asked)
	if err != nil {
		p.found(Failed, "brokers", "", "what the brokers offer: "+err.Error(), "check the network")
		return false
	}
	var away []string
	kind := ""
	for _, b := range all.Sorted() {
		if b.Err != nil {
			away = append(away, strconv.Itoa(int(b.NodeID)))
			continue
		}
		kind = b.VersionGuess()
	}
	switch {
	case len(away) == len(all):
		p.found(Failed, "brokers", "", "the cluster's brokers cannot be reached under the addresses that it gives for them", "check advertised.listeners, name resolution and the network")
		return false
	case len(away) > 0:
		p.found(Warning, "brokers", "", fmt.Sprintf("%d of the cluster's %d brokers cannot be reached under the addresses that it gives for them: %s", len(away), len(all), strings.Join(away, ", ")),
			"if they are up: check advertised.listeners, name resolution and the network")
	default:
		p.found(Fine, "brokers", "", fmt.Sprintf("%d of %d answer", len(all), len(all)), "")
	}
	switch withIDs, err := offered(all); {
	case err != nil:
		p.refusal("versions", "", err)
	case !withIDs:
		p.found(Warning, "versions", "", "the brokers have transactions, but know no topic ids: a topic that is deleted and created again will not be noticed", "use Kafka 2.8 or newer")
	default:
		p.found(Fine, "versions", "", "transactions and topic ids, as in Kafka "+kind, "")
	}
	return true
}

// refusal says an error as it is worth: what is refused has failed, the rest says nothing.
func (p *preflight) refusal(check, subject string, err error) {
	var r *RefusedError
	var f *ForeignGroupError
	switch {
	case errors.As(err, &r):
		reason := r.Reason
		if subject == "" || !strings.HasSuffix(r.Subject, " "+subject) {
			reason = r.Subject + ": " + reason
		}
		p.found(Failed, check, subject, reason, r.Mend)
	case errors.As(err, &f):
		p.found(Failed, check, subject, fmt.Sprintf("it belongs to the group %s, not to %s: run ends with exit code 3", f.Owner, f.Ours),
			"set KAFKA_GROUP="+f.Owner+", or give this set-up topics of its own (KAFKA_EVENTS_TOPIC, KAFKA_STATE_TOPIC)")
	default:
		p.blind(check, subject, Explain(err))
	}
}

// topic returns what the brokers say of a topic.
func (p *preflight) topic(name string) *kmsg.MetadataResponseTopic {
	for i, t := range p.md.Topics {
		if t.Topic != nil && *t.Topic == name {
			return &p.md.Topics[i]
		}
	}
	return &kmsg.MetadataResponseTopic{ErrorCode: kerr.UnknownServerError.Code, AuthorizedOperations: math.MinInt32}
}

// topics judges the topics that are there, and asks whether the missing ones could be created.
func (p *preflight) topics(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	for _, w := range p.c.wanted() {
		t := p.topic(w.name)
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case err == nil:
			p.judge(ctx, w, t)
		case IsMissingTopic(err):
			p.creatable(ctx, w)
		case denied(err):
			p.blind("topics", w.name, "DESCRIBE on the topic is denied: see acls")
		default:
			p.found(Failed, "topics", w.name, err.Error(), "see kafka-topics.sh --bootstrap-server … --describe --topic "+w.name)
		}
	}
}

// judge judges a topic as layout does, which stops at the first fault.
func (p *preflight) judge(ctx context.Context, w wantedTopic, t *kmsg.MetadataResponseTopic) {
	rcs, err := p.adm.DescribeTopicConfigs(ctx, w.name)
	var rc kadm.ResourceConfig
	if err == nil {
		rc, err = rcs.On(w.name, nil)
	}
	if err = cmp.Or(err, rc.Err); err != nil {
		p.blind("topics", w.name, "its configuration could not be read: "+Explain(err))
		return
	}
	value := settings(rc)
	replicas := math.MaxInt
	for _, part := range t.Partitions {
		replicas = min(replicas, len(part.Replicas))
		if part.Leader < 0 {
			p.found(Failed, "topics", w.name, fmt.Sprintf("its partition %d has no leader: nothing can be read or written there", part.Partition), "bring the brokers of its replicas back")
			return
		}
	}
	insync, _ := strconv.Atoi(value["min.insync.replicas"])
	retention, forever := strconv.ParseInt(value["retention.ms"], 10, 64)
	has := fmt.Sprintf("%d partitions, %d replicas, cleanup.policy=%s", len(t.Partitions), replicas, value["cleanup.policy"])
	switch err := w.unfit(value); {
	case err != nil:
		p.refusal("topics", w.name, err)
	case insync > replicas:
		p.found(Failed, "topics", w.name, fmt.Sprintf("min.insync.replicas is %d with %d replicas: every write would be refused", insync, replicas), w.alter(fmt.Sprintf("min.insync.replicas=%d", max(1, replicas-1))))
	case value["unclean.leader.election.enable"] == "true":
		p.found(Warning, "topics", w.name, has+"; unclean.leader.election.enable is true: after a failure of brokers committed records may be gone", w.alter("unclean.leader.election.enable=false"))
	case len(p.md.Brokers) >= 3 && (replicas < 2 || insync < 2):
		p.found(Warning, "topics", w.name, fmt.Sprintf("%s, min.insync.replicas=%d: one broker's loss may be the loss of committed records", has, insync), "use 3 replicas and min.insync.replicas=2: kafka-reassign-partitions.sh, "+w.alter("min.insync.replicas=2"))
	case w.mend == "delete" && forever == nil && retention >= 0 && retention < createRetention.Milliseconds():
		p.found(Warning, "topics", w.name, fmt.Sprintf("%s; retention.ms keeps %s: later than that no event can be read or proved", has, time.Duration(retention)*time.Millisecond), w.alter("retention.ms="+w.configs["retention.ms"]))
	default:
		p.found(Fine, "topics", w.name, has, "")
	}
}

// creatable has the brokers judge, without doing it, what create would ask of them.
func (p *preflight) creatable(ctx context.Context, w wantedTopic) {
	a, err := w.validate(ctx, p.adm, len(p.md.Brokers))
	will := fmt.Sprintf("it does not exist yet: run creates it with %d partitions and %d replicas", w.partitions, a.replicas)
	if a.refusal != nil {
		will += "; the cluster refuses some of its settings (" + a.refusal.Error() + "), and its own defaults will hold"
	}
	switch {
	case err == nil:
		p.found(Warning, "topics", w.name, will, "nothing, if it is to be created; else check the KAFKA_…_TOPIC variables")
	case impossible(err):
		p.refusal("topics", w.name, w.byHand(a.replicas, err))
	default:
		p.blind("topics", w.name, "it does not exist, and whether it could be created was not answered: "+err.Error())
	}
}

// state judges the state topic as Prepare does, which writes afterwards.
func (p *preflight) state(ctx context.Context, freshStart bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*askWait)
	defer cancel()
	name := p.c.cfg.Topics.State
	if s, err := p.survey(ctx, freshStart); err != nil {
		p.refusal("state", name, err)
	} else if !s.virgin {
		events := p.topic(p.c.cfg.Topics.Events)
		if was, is := s.first.EventsPartitions, int32(len(events.Partitions)); was != is {
			p.found(Warning, "setup", p.c.cfg.Topics.Events, fmt.Sprintf("it has %d partitions, and had %d at the first start: run goes on and publishes nothing twice, but a key may be on another partition now, so there is no order between a row's revisions from before and after", is, was),
				"nothing; readers take a row's highest revision, whatever the order")
		}
		p.found(Fine, "state", name, "it belongs to the group "+p.c.cfg.Group+" and to this events topic: run goes on from it", "")
	} else if freshStart {
		p.found(Warning, "state", name, "it is empty, and POLL_FRESH_START=true: whatever the events topic holds, everything since POLL_START is published", "set POLL_FRESH_START=false after the first start")
	} else {
		p.found(Fine, "state", name, "it is empty: run starts at POLL_START", "")
	}
}

// survey reads the state; an empty one beside events is refused unless the start is to be a fresh one.
func (p *preflight) survey(ctx context.Context, freshStart bool) (survey, error) {
	r, err := p.c.NewReader()
	if err != nil {
		return survey{}, err
	}
	defer r.Close()
	tp := p.c.cfg.Topics
	events, state := p.topic(tp.Events), p.topic(tp.State)
	for _, t := range []*kmsg.MetadataResponseTopic{events, state} {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !IsMissingTopic(err) {
			return survey{}, err
		}
	}
	l := Layout{StatePartitions: int32(len(state.Partitions)), EventsPartitions: int32(len(events.Partitions)), TopicIDs: TopicIDs{Events: kadm.TopicID(events.TopicID).String()}}
	return p.c.beginning(ctx, r, l, freshStart)
}

// acls asks whether the program has the rights that it needs. What it may do with a topic the brokers say themselves, to anybody who
// may describe it. Of group and transactional ids they say whether one right is there, in an answer to a request that cannot
// succeed and changes nothing; what else is needed is read out of the ACLs, which only some may list.
func (p *preflight) acls(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	rules := p.rules(ctx)
	tp := p.c.cfg.Topics
	write := []kadm.ACLOperation{kadm.OpDescribe, kadm.OpDescribeConfigs, kadm.OpWrite}
	for _, name := range p.c.topicNames() {
		needed := write
		if name == tp.Events || name == tp.State {
			needed = append([]kadm.ACLOperation{kadm.OpRead}, write...)
		}
		p.topicRights(name, needed)
	}
	p.groupRights(ctx, rules)
	p.transactionRights(ctx, rules)
}

func (p *preflight) topicRights(name string, needed []kadm.ACLOperation) {
	t, subject := p.topic(name), "topic "+name
	missing := slices.DeleteFunc(slices.Clone(needed), func(op kadm.ACLOperation) bool { return t.AuthorizedOperations&(1<<int32(op)) != 0 })
	switch {
	case denied(kerr.ErrorForCode(t.ErrorCode)):
		p.found(Failed, "acls", subject, "DESCRIBE is denied", grant(needed, subject))
	case t.ErrorCode != 0:
		p.found(NotCheckable, "acls", subject, "the topic does not exist", "check again once it does")
	case t.AuthorizedOperations == math.MinInt32: // they do not say
		p.found(NotCheckable, "acls", subject, "the brokers do not say what is allowed", "make sure of "+list(needed))
	case len(missing) > 0:
		p.found(Failed, "acls", subject, list(missing)+" is denied", grant(missing, subject))
	default:
		p.found(Fine, "acls", subject, list(needed), "")
	}
}

// groupRights: who may not read a group is told so before the coordinator looks for the member.
func (p *preflight) groupRights(ctx context.Context, rules *rules) {
	group := p.c.cfg.Group
	subject, needed := "group "+group, []kadm.ACLOperation{kadm.OpRead}
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = group, "pstncalls-check", -1 // no member has it
	resp, err := p.cl.Broker(int(p.md.Brokers[0].NodeID)).RetriableRequest(ctx, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.(*kmsg.HeartbeatResponse).ErrorCode)
	}
	verdict := rules.judge(kmsg.ACLResourceTypeGroup, group, kadm.OpRead)
	switch said := (*kerr.Error)(nil); {
	case denied(err) || verdict == barred:
		p.found(Failed, "acls", subject, "READ is denied", grant(needed, subject))
	case verdict == granted || errors.As(err, &said) || err == nil:
		p.found(Fine, "acls", subject, "READ", "")
	default:
		p.found(NotCheckable, "acls", subject, "the broker did not answer: "+err.Error(), "make sure of READ")
	}
}

// transactionRights: DESCRIBE is told of any transactional id, WRITE only to who would take it from its owner.
func (p *preflight) transactionRights(ctx context.Context, rules *rules) {
	shards := max(1, len(p.topic(p.c.cfg.Topics.State).Partitions))
	subject := fmt.Sprintf("transactional ids %s.%s.*", p.c.cfg.Group, p.c.cfg.Topics.State)
	needed := []kadm.ACLOperation{kadm.OpWrite, kadm.OpDescribe}
	req := kmsg.NewPtrDescribeTransactionsRequest()
	worst := granted
	for shard := range int32(shards) {
		id := p.c.TransactionalID(shard)
		req.TransactionalIDs = append(req.TransactionalIDs, id)
		for _, op := range needed {
			worst = min(worst, rules.judge(kmsg.ACLResourceTypeTransactionalId, id, op))
		}
	}
	resp, err := p.cl.Broker(int(p.md.Brokers[0].NodeID)).RetriableRequest(ctx, req)
	if err == nil {
		for _, s := range resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
			if e := kerr.ErrorForCode(s.ErrorCode); denied(e) {
				err = e
			}
		}
	}
	switch {
	case denied(err) || worst == barred:
		p.found(Failed, "acls", subject, "WRITE or DESCRIBE is denied", grant(needed, subject))
	case worst == granted:
		p.found(Fine, "acls", subject, list(needed), "")
	case rules.known:
		p.found(Warning, "acls", subject, "no ACL gives WRITE to "+rules.principal+": right only if that is a super user, or the brokers allow what no ACL speaks of", grant(needed, subject))
	default:
		p.found(NotCheckable, "acls", subject, "WRITE: "+rules.why, "make sure of WRITE: only taking a shard from its owner would tell")
	}
}

func list(ops []kadm.ACLOperation) string {
	return strings.ToUpper(strings.Trim(strings.ReplaceAll(fmt.Sprint(ops), " ", ", "), "[]"))
}

func grant(ops []kadm.ACLOperation, subject string) string {
	return "grant " + list(ops) + " on " + subject
}

// rules are the cluster's ACLs, as far as they are for this program.
type rules struct {
	known     bool
	why       string // not known
	principal string
	host      string
	all       []kadm.DescribedACL
}

func (p *preflight) rules(ctx context.Context) *rules {
	r := &rules{principal: "User:ANONYMOUS", host: p.host}
	if user := p.c.cfg.SASL.Username; user != "" {
		r.principal = "User:" + user
	} else if p.c.cfg.TLS != nil && len(p.c.cfg.TLS.Certificates) > 0 {
		r.why = "which user the brokers make of the client certificate is not known here"
		return r
	}
	rs, err := p.adm.DescribeACLs(ctx, kadm.NewACLs().AnyResource().Operations().Allow().AllowHosts().Deny().DenyHosts().ResourcePatternType(kadm.ACLPatternAny))
	for _, one := range rs {
		if errors.Is(one.Err, kerr.SecurityDisabled) {
			return &rules{known: true}
		}
		err = errors.Join(err, one.Err)
		r.all = append(r.all, one.Described...)
	}
	if r.known = err == nil; !r.known {
		r.why = "the ACLs could not be listed, which takes DESCRIBE on the cluster: " + err.Error()
	}
	return r
}

// verdict is what the ACLs say of one right; the worse, the lower.
type verdict int

const (
	barred  verdict = iota // an ACL denies it
	unsaid                 // no ACL speaks of it, or the ACLs are not known
	granted                // an ACL allows it, and none denies it; or there are no ACLs
)

// judge applies the ACLs as Kafka does, but for super users and the brokers' default, which no request tells.
func (r *rules) judge(kind kmsg.ACLResourceType, name string, op kadm.ACLOperation) verdict {
	if !r.known {
		return unsaid
	}
	v := unsaid
	if len(r.all) == 0 { // nothing is checked; or we may list ACLs without one that says so: then nothing that none speaks of is barred
		return granted
	}
	for _, a := range r.all {
		covers := a.Pattern == kadm.ACLPatternLiteral && (a.Name == name || a.Name == "*") || a.Pattern == kadm.ACLPatternPrefixed && strings.HasPrefix(name, a.Name)
		if a.Type != kind || !covers || a.Principal != r.principal && a.Principal != "User:*" || a.Host != "*" && a.Host != r.host {
			continue
		}
		exact := a.Operation == op || a.Operation == kadm.OpAll
		implied := op == kadm.OpDescribe && slices.Contains([]kadm.ACLOperation{kadm.OpRead, kadm.OpWrite, kadm.OpDelete, kadm.OpAlter}, a.Operation)
		switch {
		case a.Permission == kmsg.ACLPermissionTypeDeny && exact:
			return barred
		case a.Permission == kmsg.ACLPermissionTypeAllow && (exact || implied):
			v = granted
		}
	}
	return v
}
