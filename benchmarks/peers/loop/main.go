// Command loop is the Yahoo benchmark (w3) by hand: one pass over the file with bytes.IndexByte, no parser, no engine. It finds the three fields that
// it needs by their place in the line and understands no other JSON, so it is a physical limit and nothing that one would run.
//
//	loop --in DIR --out FILE --threads 1
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

func main() {
	in, out := flag.String("in", ".", "folder of events.json and ads.csv"), flag.String("out", "out.json", "file to write")
	threads := flag.Int("threads", 1, "parts that the file is read in")
	flag.Parse()
	if err := run(*in, *out, *threads); err != nil {
		log.Fatal(err)
	}
}

// counts are views by campaign and start of the window.
type counts map[int64]map[string]*int64

func run(in, out string, threads int) error {
	ads, err := campaigns(filepath.Join(in, "ads.csv"))
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(in, "events.json"))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	parts, errs := make([]counts, threads), make([]error, threads)
	var wg sync.WaitGroup
	for i := range threads {
		from, to := info.Size()*int64(i)/int64(threads), info.Size()*int64(i+1)/int64(threads)
		wg.Go(func() { parts[i], errs[i] = count(f, from, to, ads) })
	}
	wg.Wait()
	total := counts{}
	for i, p := range parts {
		if errs[i] != nil {
			return errs[i]
		}
		for w, byCampaign := range p {
			for c, n := range byCampaign {
				*total.at(w, c) += *n
			}
		}
	}
	return write(out, total)
}

func campaigns(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
		ad, campaign, _ := strings.Cut(line, ",")
		out[ad] = campaign
	}
	return out, nil
}

func (c counts) at(window int64, campaign string) *int64 {
	if c[window] == nil {
		c[window] = map[string]*int64{}
	}
	n := c[window][campaign]
	if n == nil {
		n = new(int64)
		c[window][campaign] = n
	}
	return n
}

// count takes the lines that begin in the part of the file.
func count(f io.ReaderAt, from, to int64, ads map[string]string) (counts, error) {
	start := from
	if start > 0 {
		start-- // the line before ends here, or the rest of it is the other part's
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f, start, 1<<62), 1<<20)
	at := start
	if from > 0 {
		skipped, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		at += int64(len(skipped))
	}
	out := counts{}
	for at < to {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		at += int64(len(line))
		if err := take(out, line, ads); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func take(out counts, line []byte, ads map[string]string) error {
	ad, rest := value(line, `"ad_id": "`)
	kind, rest := value(rest, `"event_type": "`)
	at, _ := value(rest, `"event_time": "`)
	if string(kind) != "view" {
		return nil
	}
	campaign, ok := ads[string(ad)]
	if !ok {
		return nil
	}
	ms, err := strconv.ParseInt(string(at), 10, 64)
	if err != nil {
		return fmt.Errorf("line %q: %w", line, err)
	}
	*out.at(ms/10_000*10_000, campaign)++
	return nil
}

// value is the text behind a key, and what follows it.
func value(line []byte, key string) (value, rest []byte) {
	i := bytes.Index(line, []byte(key))
	if i < 0 {
		return nil, nil
	}
	rest = line[i+len(key):]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil, nil
	}
	return rest[:end], rest[end:]
}

func write(path string, all counts) error {
	var b bytes.Buffer
	for w, byCampaign := range all {
		for c, n := range byCampaign {
			fmt.Fprintf(&b, "{\"campaign_id\":%q,\"views\":%d,\"window\":%d}\n", c, *n, w)
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}
