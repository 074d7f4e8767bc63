package kafka

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-project/weir/connectors/kafka/record"
	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/pipelines/checkpoint"
)

// LogConfig says where a slot commits. Changelog and Outbox have a partition for each slot of the fragment: the slot's is its index.
type LogConfig struct {
	Install     string // first part of the transactional id
	Slot        checkpoint.Slot
	Changelog   string
	Outbox      string             // empty: no sink of the fragment has one
	TxnTimeout  time.Duration      // 10 s where zero: a commit lives for milliseconds
	Compression record.Compression // of everything that is written; none where zero
	Now         func() time.Time   // for record timestamps of internal topics; time.Now where nil
}

// NewLog makes a slot's commit log (D8): a commit is one Kafka transaction, and its last record in the changelog is the progress. Nothing is asked
// before Recover. The client stays the caller's.
func NewLog(c *Client, cfg LogConfig) checkpoint.Log {
	cfg.TxnTimeout = cmp.Or(cfg.TxnTimeout, 10*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &txnLog{client: c, cfg: cfg, partition: int32(cfg.Slot.Index), producer: producer{
		client: c, id: cfg.Slot.TransactionalID(cfg.Install), timeout: cfg.TxnTimeout, pack: cfg.Compression,
	}}
}

// txnLog implements checkpoint.Log.
//
//	        Recover                    Commit, all acknowledged
//	lost ------------> owner(run, term) ------------------------> owner
//	  ^                      |
//	  +----- any error ------+
type txnLog struct {
	client    *Client
	cfg       LogConfig
	partition int32
	producer  producer

	owner     bool
	run, term uint64
	applied   int64                      // the highest OutboxApplied that was committed: it never goes back
	ends      map[string]map[int32]int64 // of the run, as committed
	others    [][]byte                   // keys of other runs' state, deleted by the next commit
}

// Close gives nothing back: the connections are the client's.
func (l *txnLog) Close() error { return nil }

// Recover reads before it fences, so that a task with a lower term leaves without harm, and again afterwards, because only then nobody else writes.
func (l *txnLog) Recover(ctx context.Context, run, term uint64) (*checkpoint.Recovered, error) {
	l.owner = false
	found, err := l.recover(ctx, run, term)
	if err != nil {
		return nil, l.explain(ctx, "recover", term, err)
	}
	l.owner = true
	return found, nil
}

func (l *txnLog) recover(ctx context.Context, run, term uint64) (*checkpoint.Recovered, error) {
	last, err := l.lastProgress(ctx)
	if err == nil {
		err = l.refuse(last, run, term)
	}
	if err != nil {
		return nil, err
	}
	if err := l.producer.init(ctx); err != nil {
		return nil, err
	}
	if last, err = l.lastProgress(ctx); err == nil {
		err = l.refuse(last, run, term)
	}
	if err != nil {
		return nil, err
	}
	return l.adopt(ctx, last, run, term)
}

// refuse lets a lower term, or an older run, go.
func (l *txnLog) refuse(last *progressRecord, run, term uint64) error {
	switch {
	case last == nil:
		return nil
	case last.Term > term:
		return fmt.Errorf("%w: term %d holds it, and ours is %d", checkpoint.ErrFenced, last.Term, term)
	case last.Run > run:
		return fmt.Errorf("%w: it is in run %d, and ours is %d", checkpoint.ErrFenced, last.Run, run)
	}
	return nil
}

// adopt commits the claim and then reads what the run left. The claim comes first: reading a large state takes longer than a fenced owner looks for
// the claim of the one that fenced it, and it would take the slot back.
func (l *txnLog) adopt(ctx context.Context, last *progressRecord, run, term uint64) (*checkpoint.Recovered, error) {
	claim := claimOf(last, run, term)
	out := &checkpoint.Recovered{Previous: claim.Previous, Ends: claim.Ends}
	if err := l.claim(ctx, claim); err != nil {
		return nil, err
	}
	state, others, err := l.state(ctx, run)
	if err != nil {
		return nil, err
	}
	l.others = others
	if !claim.Claim {
		progress := claim.Progress
		out.Progress, out.State = &progress, state
	}
	if out.Outbox, err = l.pending(ctx, claim.OutboxApplied); err != nil {
		return nil, err
	}
	l.run, l.term, l.applied, l.ends = run, term, claim.OutboxApplied, cloneEnds(claim.Ends)
	return out, nil
}

// claimOf is the progress with which a term takes the slot over: the run's own, or that of a run that has committed nothing.
func claimOf(last *progressRecord, run, term uint64) *progressRecord {
	if last != nil && last.Run == run {
		claim := *last
		claim.Term = term
		return &claim
	}
	claim := &progressRecord{Progress: checkpoint.Progress{Version: progressVersion, Run: run, Term: term}, Claim: true}
	if last != nil {
		claim.OutboxApplied, claim.Previous = last.OutboxApplied, last.Previous
		if !last.Claim {
			claim.Previous = &last.Progress
		}
	}
	return claim
}

// claim commits the claim.
func (l *txnLog) claim(ctx context.Context, p *progressRecord) error {
	records, now := &checkpoint.Records{}, l.cfg.Now().UnixMilli()
	if err := appendProgress(records, p, now); err != nil {
		return err
	}
	own := place{l.cfg.Changelog, l.partition}
	if err := l.producer.begin(ctx, []place{own}); err != nil {
		return err
	}
	if err := l.producer.write(ctx, []*outgoing{{place: own, records: records, emptyIsNull: true}}); err != nil {
		return err
	}
	return l.producer.commit(ctx)
}

func appendProgress(r *checkpoint.Records, p *progressRecord, millis int64) error {
	value, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the progress: %w", err)
	}
	r.Append([]byte{keyProgress}, value, millis)
	return nil
}

// Commit writes everything in one transaction. Outputs come first: what is published names the offsets at which they were acknowledged.
func (l *txnLog) Commit(ctx context.Context, c *checkpoint.Commit) (*checkpoint.Committed, error) {
	if err := l.check(c); err != nil {
		return nil, err
	}
	l.owner = false // until it is known to have succeeded
	done, err := l.commit(ctx, c)
	if err != nil {
		return nil, l.explain(ctx, fmt.Sprintf("commit epoch %d", c.Progress.Epoch), l.term, err)
	}
	l.owner = true
	return done, nil
}

// check refuses what can't be committed before anything is written.
func (l *txnLog) check(c *checkpoint.Commit) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("commit epoch %d of slot %s: %w", c.Progress.Epoch, l.cfg.Slot, fmt.Errorf(format, args...))
	}
	switch {
	case !l.owner:
		return fail("the slot is not held: recover it first")
	case c.Progress.Run != l.run || c.Progress.Term != l.term:
		return fail("its progress is of run %d, term %d, and run %d, term %d was recovered", c.Progress.Run, c.Progress.Term, l.run, l.term)
	case len(c.Outbox) > 0 && l.cfg.Outbox == "":
		return fail("it has %d outbox entries, and the fragment has no outbox topic", len(c.Outbox))
	}
	return nil
}

func (l *txnLog) commit(ctx context.Context, c *checkpoint.Commit) (*checkpoint.Committed, error) {
	now := l.cfg.Now().UnixMilli()
	outputs := outputsOf(c)
	outbox := &outgoing{place: place{l.cfg.Outbox, l.partition}, records: &checkpoint.Records{}}
	for _, entry := range c.Outbox {
		outbox.records.Append(nil, entry, now)
	}
	first := outputs
	if len(c.Outbox) > 0 {
		first = append(slices.Clone(outputs), outbox)
	}
	if err := l.producer.begin(ctx, l.places(first, c)); err != nil {
		return nil, err
	}
	if len(c.Sources) > 0 { // else nothing needs to know offsets, and one request does
		if err := l.producer.write(ctx, first); err != nil {
			return nil, err
		}
		first = nil
	}
	ends := l.endsAfter(outputs, c)
	second, progress, err := l.finals(c, ends, now)
	if err != nil {
		return nil, err
	}
	if err := l.producer.write(ctx, append(first, second...)); err != nil {
		return nil, err
	}
	if err := l.producer.commit(ctx); err != nil {
		return nil, err
	}
	l.ends, l.applied, l.others = ends, progress.OutboxApplied, nil
	return &checkpoint.Committed{Offsets: outbox.offsets}, nil
}

// outputsOf lists the output partitions that have records, in a fixed order.
func outputsOf(c *checkpoint.Commit) []*outgoing {
	var out []*outgoing
	for _, topic := range slices.Sorted(maps.Keys(c.Outputs)) {
		for _, p := range slices.Sorted(maps.Keys(c.Outputs[topic])) {
			if r := c.Outputs[topic][p]; r != nil && r.Len() > 0 {
				out = append(out, &outgoing{place: place{topic, p}, records: r})
			}
		}
	}
	return out
}

// places lists all partitions of the transaction.
func (l *txnLog) places(first []*outgoing, c *checkpoint.Commit) []place {
	out := []place{{l.cfg.Changelog, l.partition}}
	for topic := range c.Published {
		out = append(out, place{topic, 0})
	}
	for _, o := range first {
		out = append(out, o.place)
	}
	return out
}

// endsAfter is where this writer's records end in each output partition, by watermark topic.
func (l *txnLog) endsAfter(outputs []*outgoing, c *checkpoint.Commit) map[string]map[int32]int64 {
	ends := cloneEnds(l.ends)
	for _, o := range outputs {
		topic, ok := c.Sources[o.topic]
		if !ok || len(o.offsets) == 0 {
			continue
		}
		if ends[topic] == nil {
			ends[topic] = map[int32]int64{}
		}
		ends[topic][o.partition] = o.offsets[len(o.offsets)-1] + 1
	}
	return ends
}

// finals are the records that close a commit: what is published, then in the changelog the state and, last, the progress.
func (l *txnLog) finals(c *checkpoint.Commit, ends map[string]map[int32]int64, now int64) ([]*outgoing, *progressRecord, error) {
	var out []*outgoing
	for _, topic := range slices.Sorted(maps.Keys(c.Published)) {
		p := c.Published[topic]
		p.Version, p.Ends = publishedVersion, maps.Clone(ends[topic])
		value, err := json.Marshal(p)
		if err != nil {
			return nil, nil, fmt.Errorf("encode the watermark for %s: %w", topic, err)
		}
		o := &outgoing{place: place{topic, 0}, records: &checkpoint.Records{}}
		o.records.Append([]byte(p.Writer), value, now)
		out = append(out, o)
	}
	changelog := &outgoing{place: place{l.cfg.Changelog, l.partition}, records: &checkpoint.Records{}, emptyIsNull: true}
	// The state of other runs would else stay in the topic for ever. A key that this run has too is written behind.
	for _, key := range l.others {
		appendState(changelog.records, checkpoint.KV{Key: key}, l.run, now)
	}
	for _, kv := range c.State {
		appendState(changelog.records, kv, l.run, now)
	}
	progress := &progressRecord{Progress: c.Progress, Ends: ends}
	progress.Version, progress.OutboxApplied = progressVersion, max(l.applied, c.Progress.OutboxApplied)
	return append(out, changelog), progress, appendProgress(changelog.records, progress, now)
}

func cloneEnds(ends map[string]map[int32]int64) map[string]map[int32]int64 {
	out := make(map[string]map[int32]int64, len(ends))
	for topic, of := range ends {
		out[topic] = maps.Clone(of)
	}
	return out
}

// claimWait is how long a fenced owner looks for the claim of the one that fenced it.
const claimWait = 2 * time.Second

// explain tells a takeover from an epoch that was lost otherwise. Kafka answers 47 and 90 to a zombie, and also to an owner whose transaction timed
// out because the broker stood still: then nobody else holds the slot, and the owner shall recover it.
func (l *txnLog) explain(ctx context.Context, op string, term uint64, err error) error {
	if errors.Is(err, checkpoint.ErrFenced) || !fencing(err) {
		return fmt.Errorf("%s of slot %s: %w", op, l.cfg.Slot, err)
	}
	var last *progressRecord
	limit, cancel := context.WithTimeout(ctx, claimWait)
	defer cancel()
	wait := lifecycle.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond}
	perr := lifecycle.Poll(limit, wait, func(ctx context.Context) (done bool, _ string, err error) {
		last, err = l.lastProgress(ctx)
		return last != nil && last.Term > term, "look for the new owner's claim", err
	})
	if perr == nil {
		return fmt.Errorf("%s of slot %s: %w: term %d holds it, and ours is %d (%w)", op, l.cfg.Slot, checkpoint.ErrFenced, last.Term, term, err)
	}
	return fmt.Errorf("%s of slot %s: the producer's epoch is over and no higher term than %d has claimed the slot: its transaction timed out, recover again: %w",
		op, l.cfg.Slot, term, err)
}
