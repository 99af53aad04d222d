package row

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// action is what a privacy rule does to a value.
type action uint8

const (
	ruleNone action = iota
	// ruleMask leaves the first four characters and puts *** for the rest.
	ruleMask
	// ruleHash puts 32 hex digits of HMAC-SHA-256 under the hash key; an empty string stays empty.
	ruleHash
	// ruleDrop puts null.
	ruleDrop
)

const actionNames = "mask, hash or drop"

func (a action) String() string { return [...]string{"", "mask", "hash", "drop"}[a] }

// parseAction returns ruleNone for a word that is no action.
func parseAction(word string) action {
	for _, a := range []action{ruleMask, ruleHash, ruleDrop} {
		if word == a.String() {
			return a
		}
	}
	return ruleNone
}

// Privacy is the parsed PRIVACY_FIELDS. It is immutable; nil means no rules.
type Privacy struct {
	actions [propCount]action // by position in properties
	hashKey []byte
}

// ParsePrivacy reads rules of the form "callerNumber=mask,userPrincipalName=hash,clientPublicIpV4Address=drop"; blanks around
// words do not count, and a blank spec gives nil. hashKey is needed if a rule is hash.
//
// The error joins all mistakes, and each says what would be right. It never holds the key.
func ParsePrivacy(spec string, hashKey []byte) (*Privacy, error) {
	if strings.TrimSpace(spec) == "" {
		return nil, nil
	}
	p := &Privacy{hashKey: slices.Clone(hashKey)}
	var mistakes []error
	for rule := range strings.SplitSeq(spec, ",") {
		if err := p.add(strings.TrimSpace(rule)); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if p.hashes() && len(hashKey) == 0 {
		mistakes = append(mistakes, errors.New("hash rules need a hash key, and there is none"))
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, fmt.Errorf("privacy rules: %w", err)
	}
	return p, nil
}

func (p *Privacy) add(rule string) error {
	if rule == "" {
		return errors.New("empty rule: want property=action between commas")
	}
	name, word, found := strings.Cut(rule, "=")
	name, word = strings.TrimSpace(name), strings.TrimSpace(word)
	if !found {
		return fmt.Errorf("%q: want %s=action, the action being %s", rule, name, actionNames)
	}
	at := slices.IndexFunc(properties[:], func(q property) bool { return q.name == name })
	if at < 0 {
		return fmt.Errorf("%q is not a property of a row%s", name, suggestion(name))
	}
	a := parseAction(word)
	switch isText := properties[at].kind == text; {
	case a == ruleNone:
		return fmt.Errorf("%s=%s: no such action: want %s", name, word, actionNames)
	case p.actions[at] != ruleNone:
		return fmt.Errorf("%s has two rules: want one", name)
	case at == propID:
		return fmt.Errorf("%s=%s: the id identifies the row: no rule is possible on it", name, word)
	case at == propStartDateTime:
		return fmt.Errorf("%s=%s: without its start no row could become an event: no rule is possible on it", name, word)
	case at == propCallID && a != ruleHash:
		return fmt.Errorf("%s=%s: the call id is the key of the event: only %s=hash is possible", name, word, name)
	case !isText && a != ruleDrop:
		return fmt.Errorf("%s=%s: not a string: only %s=drop is possible", name, word, name)
	}
	p.actions[at] = a
	return nil
}

func (p *Privacy) hashes() bool { return slices.Contains(p.actions[:], ruleHash) }

// ID names the set of rules in 32 hex digits: the same fields, actions and (where a rule is hash) hash key give the same ID,
// on any machine. It does not reveal the key. Without rules it is "".
func (p *Privacy) ID() string {
	if p == nil {
		return ""
	}
	h := sha256.New()
	for at, a := range p.actions {
		if a != ruleNone {
			fmt.Fprintf(h, "%s=%s\n", properties[at].name, a)
		}
	}
	if p.hashes() {
		mac := hmac.New(sha256.New, p.hashKey)
		// No value of a row ends with a zero byte, so the digest of a value is never that of the key.
		mac.Write([]byte("privacy rules' hash key\x00"))
		h.Write(mac.Sum(nil))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// action returns the rule on a name, which may be in any letter case.
func (p *Privacy) action(name []byte) action {
	for at, a := range p.actions {
		if a != ruleNone && strings.EqualFold(properties[at].name, string(name)) {
			return a
		}
	}
	return ruleNone
}

// suggestion returns ": did you mean …?" for a name that is close to a property's, and "" for any other.
func suggestion(name string) string {
	nearest := slices.MinFunc(properties[:], func(a, b property) int {
		return cmp.Compare(distance(name, a.name), distance(name, b.name))
	}).name
	if distance(name, nearest) > 3 {
		return ""
	}
	return ": did you mean " + nearest + "?"
}

// distance returns the number of letters to insert, remove or replace to get from a to b, whatever their case.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
