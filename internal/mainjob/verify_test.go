package mainjob

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-project/weir/internal/flightstruth"
)

func truth(t *testing.T) flightstruth.Truth {
	t.Helper()
	f, err := os.Open("../../stacks/catalog/flights/data/flights-2001-01.csv.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := flightstruth.Compute(f)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// verify compares what stands in Cassandra, in the channel late (after the records that stood there before) and in the CSV with the truth.
func (w *install) verify(want flightstruth.Truth, lateBefore map[string]int) {
	w.t.Helper()
	w.verifyCassandra(want)
	w.verifyLate(want, lateBefore)
	w.verifyDaily(want)
}

func (w *install) verifyCassandra(want flightstruth.Truth) {
	w.t.Helper()
	ch := w.channel("delays")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ch.Connection.CA)
	cert, err := tls.X509KeyPair(ch.Connection.Cert, ch.Connection.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	cluster := gocql.NewCluster(ch.Connection.Servers...)
	cluster.ProtoVersion, cluster.Timeout, cluster.ConnectTimeout, cluster.DisableInitialHostLookup = 4, 10*time.Second, 10*time.Second, true
	cluster.Authenticator = gocql.PasswordAuthenticator{Username: ch.Connection.User, Password: ch.Connection.Password}
	cluster.SslOpts = &gocql.SslOptions{Config: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true}, EnableHostVerification: false} //nolint:gosec // the driver dials by address; the server's own client checks it
	s, err := cluster.CreateSession()
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	c := ch.Channel.Cassandra
	rows := s.Query(fmt.Sprintf("SELECT origin, hour, flights, delay_sum, delay_max FROM %q.%q", c.Keyspace, c.Table)).PageSize(5000).Iter()
	got := map[flightstruth.OriginHour]flightstruth.Agg{}
	var origin string
	var hour time.Time
	var a flightstruth.Agg
	for rows.Scan(&origin, &hour, &a.Flights, &a.DelaySum, &a.DelayMax) {
		got[flightstruth.OriginHour{Origin: origin, Hour: hour.Unix()}] = a
	}
	if err := rows.Close(); err != nil {
		w.t.Fatal(err)
	}
	diffMaps(w.t, "delays in Cassandra", got, want.Hourly)
}

// lateCounts reads the channel late to its end with another client than Weir's, read_committed, and counts each distinct record. The last record
// of a partition that only transactions write is a marker, so the end is reached when the marker before the high watermark was seen; a
// transaction that was left open would keep it from being seen, and fail the test.
func (w *install) lateCounts() map[string]int {
	w.t.Helper()
	ch := w.channel("late")
	cl, err := kgo.NewClient(kgo.SeedBrokers(ch.Connection.Servers...), kgo.ConsumeTopics(ch.Channel.Kafka.Topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SASL(scram.Auth{User: ch.Connection.User, Pass: ch.Connection.Password}.AsSha512Mechanism()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ends, at := w.ends(ctx, cl, ch.Channel.Kafka.Topic), map[int32]int64{}
	out := map[string]int{}
	for !reached(at, ends) {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			w.t.Fatalf("read %s to its end: at %v of %v after a minute", ch.Channel.Kafka.Topic, at, ends)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if r.Attrs.IsControl() {
				return
			}
			var f flightstruth.Flight
			if err := json.Unmarshal(r.Value, &f); err != nil {
				w.t.Fatalf("record %d of late/%d: %v: %s", r.Offset, r.Partition, err, r.Value)
			}
			if string(r.Key) != f.Origin {
				w.t.Errorf("record %d of late/%d has the key %q, its origin is %q", r.Offset, r.Partition, r.Key, f.Origin)
			}
			out[fmt.Sprintf("%+v", f)]++
		})
	}
	return out
}

func reached(at, ends map[int32]int64) bool {
	for p, end := range ends {
		if at[p] < end {
			return false
		}
	}
	return true
}

// ends are the high watermarks of a topic's partitions.
func (w *install) ends(ctx context.Context, cl *kgo.Client, topic string) map[int32]int64 {
	w.t.Helper()
	meta := kmsg.NewPtrMetadataRequest()
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = &topic
	meta.Topics = append(meta.Topics, mt)
	m, err := meta.RequestWith(ctx, cl)
	if err != nil {
		w.t.Fatal(err)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for _, p := range m.Topics[0].Partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p.Partition, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	res, err := req.RequestWith(ctx, cl)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[int32]int64{}
	for _, p := range res.Topics[0].Partitions {
		if p.ErrorCode != 0 {
			w.t.Fatalf("end of %s/%d: error code %d", topic, p.Partition, p.ErrorCode)
		}
		out[p.Partition] = p.Offset
	}
	if len(out) != len(rt.Partitions) || len(out) == 0 {
		w.t.Fatalf("ends of %s: %v", topic, out)
	}
	return out
}

func (w *install) verifyLate(want flightstruth.Truth, before map[string]int) {
	w.t.Helper()
	got := w.lateCounts()
	for k, n := range before {
		if got[k] -= n; got[k] == 0 {
			delete(got, k)
		}
	}
	expect := map[string]int{}
	for _, f := range want.Late {
		expect[fmt.Sprintf("%+v", f)]++
	}
	diffMaps(w.t, "records of the channel late", got, expect)
}

func (w *install) verifyDaily(want flightstruth.Truth) {
	w.t.Helper()
	f, err := os.Open(filepath.Join(filepath.Dir(w.stack), "out", "daily.csv"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		w.t.Fatal(err)
	}
	if head := fmt.Sprint(rows[0]); head != "[origin day flights delay_sum mean_delay]" {
		w.t.Fatalf("daily.csv has the header %s", head)
	}
	rows = rows[1:]
	if !sort.SliceIsSorted(rows, func(i, j int) bool {
		return rows[i][0] < rows[j][0] || rows[i][0] == rows[j][0] && rows[i][1] < rows[j][1]
	}) {
		w.t.Error("daily.csv is not sorted by origin and day")
	}
	got := map[flightstruth.OriginDay]flightstruth.DayAgg{}
	for _, r := range rows {
		day, err := time.Parse(time.RFC3339, r[1])
		if err != nil {
			w.t.Fatal(err)
		}
		key := flightstruth.OriginDay{Origin: r[0], Day: day.Unix()}
		if _, twice := got[key]; twice {
			w.t.Errorf("daily.csv has %v twice", key)
		}
		got[key] = flightstruth.DayAgg{Flights: integer(w.t, r[2]), DelaySum: integer(w.t, r[3]), Mean: number(w.t, r[4])}
	}
	diffMaps(w.t, "rows of daily.csv", got, want.Daily)
}

func integer(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// diffMaps reports the first differences, and how many there are.
func diffMaps[K comparable, V comparable](t *testing.T, what string, got, want map[K]V) {
	t.Helper()
	bad := 0
	say := func(format string, args ...any) {
		if bad++; bad <= 5 {
			t.Errorf(what+": "+format, args...)
		}
	}
	for k, v := range want {
		if g, ok := got[k]; !ok {
			say("%v is missing (want %v)", k, v)
		} else if g != v {
			say("%v is %v, want %v", k, g, v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			say("%v = %v should not be there", k, v)
		}
	}
	if bad > 0 {
		t.Errorf("%s: %d differences; %d got, %d wanted", what, bad, len(got), len(want))
	}
}
