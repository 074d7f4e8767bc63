package workloads

import (
	"bufio"
	"encoding/hex"
	"errors"
	"io"
	"math/bits"
	"strconv"
)

// The Yahoo streaming benchmark's own numbers, and the rate at which its events are made to happen.
const (
	campaigns     = 100
	adsOfCampaign = 10
	windowMillis  = 10_000
	eventsASecond = 10_000 // of event time
	firstMillis   = 1_600_000_000_000
	valueSize     = 100 // bytes, of the pass-through's values
)

var (
	adTypes    = []string{"banner", "modal", "sponsored-search", "mail", "mobile"}
	eventTypes = []string{"view", "click", "purchase"}
)

// random is splitmix64: the same numbers from the same seed on every machine and in every version of Go.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is a number less than n.
func (r *random) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// uuid appends 36 characters in the form of a UUID.
func (r *random) uuid(dst []byte) []byte {
	var raw [16]byte
	for i := 0; i < 16; i += 8 {
		x := r.next()
		for k := range 8 {
			raw[i+k] = byte(x >> (8 * k))
		}
	}
	for i, n := 0, 0; i < 16; i += n {
		if n = 2; i == 0 {
			n = 4
		} else if i == 10 {
			n = 6
		}
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, raw[i:i+n])
	}
	return dst
}

// ads are the identifiers of ads, campaign after campaign, and those of the campaigns.
func ads(seed uint64) (ads, owners []string) {
	r := random(seed)
	for range campaigns {
		owners = append(owners, string(r.uuid(nil)))
		for range adsOfCampaign {
			ads = append(ads, string(r.uuid(nil)))
		}
	}
	return ads, owners
}

// Ads writes the side input: a CSV file of ad_id and campaign_id.
func Ads(w io.Writer, seed uint64) error {
	b := bufio.NewWriter(w)
	b.WriteString("ad_id,campaign_id\n") //nolint:errcheck // Flush tells it
	all, owners := ads(seed)
	for i, ad := range all {
		b.WriteString(ad + "," + owners[i/adsOfCampaign] + "\n") //nolint:errcheck // Flush tells it
	}
	return b.Flush()
}

// Events writes n events of the Yahoo benchmark as NDJSON, seven fields of text each, in the order of their times, and returns the truth: the hash of
// the views per campaign and 10 s.
func Events(w io.Writer, n int, seed uint64) (Hash, error) {
	all, owners := ads(seed)
	r := random(seed + 1)
	var users, pages []string
	for range 1000 {
		users, pages = append(users, string(r.uuid(nil))), append(pages, string(r.uuid(nil)))
	}
	b := bufio.NewWriterSize(w, 1<<20)
	var truth Hash
	counts := make([]int64, campaigns)
	window := int64(0)
	flush := func() {
		for c, v := range counts {
			if v > 0 {
				truth.AddCount(owners[c], window, v)
			}
			counts[c] = 0
		}
	}
	var line []byte
	for i := range n {
		at := firstMillis + int64(i)*1000/eventsASecond
		if start := at / windowMillis * windowMillis; start != window {
			flush()
			window = start
		}
		ad, kind := r.below(len(all)), r.below(len(eventTypes))
		line = append(append(line[:0], `{"user_id": "`...), users[r.below(len(users))]...)
		line = append(append(line, `", "page_id": "`...), pages[r.below(len(pages))]...)
		line = append(append(line, `", "ad_id": "`...), all[ad]...)
		line = append(append(line, `", "ad_type": "`...), adTypes[r.below(len(adTypes))]...)
		line = append(append(line, `", "event_type": "`...), eventTypes[kind]...)
		line = strconv.AppendInt(append(line, `", "event_time": "`...), at, 10)
		line = append(line, "\", \"ip_address\": \"1.2.3.4\"}\n"...)
		if _, err := b.Write(line); err != nil {
			return truth, err
		}
		if kind == 0 {
			counts[ad/adsOfCampaign]++
		}
	}
	flush()
	return truth, b.Flush()
}

// ValueRows writes the values of the pass-through as rows in JSON, {"payload": value}, and returns the truth: the hash of the values.
func ValueRows(w io.Writer, n int, seed uint64) (Hash, error) {
	b := bufio.NewWriterSize(w, 1<<20)
	var line []byte
	truth, err := Values(n, seed, func(v []byte) error {
		line = append(append(append(line[:0], `{"payload":"`...), v...), "\"}\n"...) // letters, digits and a space: nothing to escape
		_, err := b.Write(line)
		return err
	})
	return truth, errors.Join(err, b.Flush())
}

// Values gives n values of the pass-through to put, each different and 100 bytes long, and returns the truth: the hash of all of them. A value may not
// be kept after put.
func Values(n int, seed uint64, put func(value []byte) error) (Hash, error) {
	r := random(seed + 2)
	var truth Hash
	value := make([]byte, 0, valueSize+8)
	for i := range n {
		value = strconv.AppendInt(value[:0], int64(i), 10)
		for value = append(value, ' '); len(value) < valueSize; {
			x := r.next()
			for k := 0; k < 8 && len(value) < valueSize; k++ {
				value = append(value, 'a'+byte(x>>(8*k))%26)
			}
		}
		truth.Add(value)
		if err := put(value); err != nil {
			return truth, err
		}
	}
	return truth, nil
}
