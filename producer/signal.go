package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// wish is a signal that was given, and what has been said of it.
type wish struct {
	ID        string        `json:"id"`
	Kind      string        `json:"kind"`
	Tenant    string        `json:"tenant"`
	Range     *window.Range `json:"range,omitempty"`
	Given     time.Time     `json:"given"`
	By        string        `json:"by"`
	Accepted  *time.Time    `json:"accepted,omitempty"`
	DaysLeft  int           `json:"daysLeft"`
	Events    int64         `json:"events"`
	Revisions int64         `json:"revisions"`
	Answer    string        `json:"answer,omitempty"` // "": not yet
	Why       string        `json:"why,omitempty"`
	Canceling bool          `json:"canceling,omitempty"` // somebody has asked for its end, and nobody has answered yet

	shard  int32
	offset int64
}

func (s *wish) take(x state.Signal) {
	s.Kind, s.Tenant, s.Range, s.Given, s.By, s.Accepted, s.DaysLeft = x.Kind, x.Tenant, x.Range, x.Given, x.By, x.Accepted, x.DaysLeft()
	s.Events, s.Revisions, s.Answer, s.Why = x.Events, x.Revisions, x.Answer, x.Why
	if x.Accepted == nil && x.Range != nil {
		s.DaysLeft = x.Range.Days()
	}
}

// giveTimeout is how long the brokers may take to take a signal.
const giveTimeout = 30 * time.Second

// give writes a signal for the owner of the tenant's shard.
func give(ctx context.Context, cluster *kafka.Cluster, view *kafka.StateView, x state.Signal) (*wish, error) {
	x.Given = time.Now().UTC().Truncate(time.Millisecond)
	if x.By, _ = os.Hostname(); x.By == "" {
		x.By = "unknown"
	}
	s := &wish{ID: uuid.NewString(), shard: kafka.ShardOf(x.Tenant, view.Shards)}
	s.take(x)
	ctx, cancel := context.WithTimeout(ctx, giveTimeout)
	defer cancel()
	var err error
	if s.offset, err = cluster.Signal(ctx, s.shard, s.ID, x.Encode()); err != nil {
		return nil, fmt.Errorf("%s", kafka.Explain(err))
	}
	return s, nil
}

// pending returns the signals that are not done with, oldest first.
func pending(view *kafka.StateView) (out []*wish, err error) {
	canceling := map[string]bool{}
	for key, value := range view.State {
		id, ok := strings.CutPrefix(key, kafka.SignalPrefix)
		if !ok {
			continue
		}
		x, err := state.DecodeSignal(id, value)
		if err != nil {
			return nil, err
		}
		s := &wish{ID: id, shard: kafka.ShardOf(x.Tenant, view.Shards)}
		s.take(x)
		out = append(out, s)
		if x.Kind == state.SignalCancel && x.Answer == "" {
			canceling[x.Target] = true
		}
	}
	for _, s := range out {
		s.Canceling = canceling[s.ID]
	}
	slices.SortFunc(out, func(a, b *wish) int { return a.Given.Compare(b.Given) })
	return out, nil
}

const (
	unheardFirst = 10 * time.Second // after which somebody who waits is told that nobody has answered
	unheardAgain = time.Minute
)

// followSignal waits for the last word on a signal. Each other one is told to said, and so is, as nil, that nobody has answered yet.
func followSignal(ctx context.Context, cluster *kafka.Cluster, s *wish, said func(*wish)) error {
	ctx, cancel := context.WithCancel(ctx)
	heard := make(chan kafka.Signal)
	ended := make(chan error, 1)
	go func() {
		var failed error
		for sig, err := range cluster.Signals(ctx, s.shard, s.offset+1) {
			if failed = err; err != nil {
				break
			}
			if sig.ID != s.ID {
				continue
			}
			select {
			case heard <- sig:
			case <-ctx.Done():
			}
		}
		ended <- failed
	}()
	defer func() {
		cancel()
		<-ended
	}()
	unheard := time.NewTimer(unheardFirst)
	defer unheard.Stop()
	for {
		select {
		case sig := <-heard:
			if sig.Value == nil {
				if s.Answer == "" {
					return errors.New("the signal was removed, and nobody has said why")
				}
				return nil
			}
			x, err := state.DecodeSignal(s.ID, sig.Value)
			if err != nil {
				return err
			}
			unheard.Stop()
			s.take(x)
			said(s)
		case <-unheard.C:
			said(nil)
			unheard.Reset(unheardAgain)
		case err := <-ended:
			ended <- err
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// groupLook is how often the group is looked at while nobody has answered: it misses a member that has died only after its session.
const groupLook = 5 * time.Second

// awaitGroup waits for the last word on a signal or until nobody is in the group, and reports the latter. Where the cluster does not
// tell who is, it does not wait.
func awaitGroup(ctx context.Context, e env, cluster *kafka.Cluster, view *kafka.StateView, w *wish) (alone bool, err error) {
	for looks := 0; ; looks++ {
		facts, err := cluster.Facts(ctx, view.Shards)
		if err != nil || facts.Assigned == nil || len(facts.Assigned) == 0 {
			return err == nil && facts.Assigned != nil, err
		}
		if looks%12 == 1 {
			fmt.Fprintf(e.stderr, "tenant %s: nobody has answered yet, and the group has members: %s\n", w.Tenant, strings.Join(slices.Compact(slices.Sorted(maps.Values(facts.Assigned))), ", "))
		}
		look, cancel := context.WithTimeout(ctx, groupLook)
		err = followSignal(look, cluster, w, func(*wish) {})
		again := look.Err() != nil && ctx.Err() == nil
		cancel()
		if !again {
			return false, err
		}
	}
}

// knownTenants returns the tenants of the state, or only the wanted one; it has to be there.
func knownTenants(command string, view *kafka.StateView, wanted string) ([]string, error) {
	all := map[string]bool{}
	for key := range view.State {
		if id, ok := state.TenantOf(key); ok && state.IsTenant(key) {
			all[id] = true
		}
	}
	switch known := slices.Sorted(maps.Keys(all)); {
	case wanted == "":
		return known, nil
	case all[wanted]:
		return []string{wanted}, nil
	default:
		return nil, &usageError{command: command, message: fmt.Sprintf("--tenant: tenant %q is not in the state, which knows %q", wanted, known)}
	}
}

func printSignals(w io.Writer, all []*wish) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "No scan is asked for.")
		return err
	}
	for _, s := range all {
		at := "not accepted yet"
		if s.Accepted != nil {
			at = fmt.Sprintf("accepted %s, %d of %d days left, %d events", s.Accepted.Format(shownTime), s.DaysLeft, s.Range.Days(), s.Events)
			if s.Why != "" {
				at += ": " + s.Why
			}
		}
		if s.Canceling {
			at += "; its end is asked for"
		}
		if _, err := fmt.Fprintf(w, "%s  tenant %s  %s  given %s by %s; %s\n", s.ID, s.Tenant, s.Range, s.Given.Format(shownTime), s.By, at); err != nil {
			return err
		}
	}
	return nil
}
