package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The transforms of the demo, over the same rows: those of the stage hourly read the bundled file, and daily and worst read what it wrote, in place
// of the channels between them.
const hourly = `
pipeline:
  type: composite
  transforms:
    - type: ReadFromCsv
      name: Read
      config:
        path: CATALOG/data/flights-2001-01.csv.gz
        output_schema: {type: object, properties: {time: {type: integer}, delay: {type: integer}, distance: {type: integer}, origin: {type: string}, destination: {type: string}}}
    - {type: AssignTimestamps, input: Read, config: {timestamp: time}}
    - type: Combine
      name: PerHour
      input: AssignTimestamps
      windowing: {type: fixed, size: 1h}
      config:
        group_by: origin
        combine: {flights: {value: delay, fn: count}, delay_sum: {value: delay, fn: sum}, delay_max: {value: delay, fn: max}}
    - {type: ExtractWindowingInfo, input: PerHour, config: {fields: {hour: window_start}}}
    - {type: WriteToJson, input: ExtractWindowingInfo, config: {path: "OUT"}}
`

const readHours = `type: ReadFromJson
      config: {path: HOURS, output_schema: {type: object, properties: {origin: {type: string}, flights: {type: integer}, delay_sum: {type: integer}, delay_max: {type: integer}, hour: {type: timestamp}}}}`

func TestTheCatalogueHasTheSameResultsOnBeam(t *testing.T) {
	catalog, err := filepath.Abs("../../stacks/catalog/flights")
	if err != nil {
		t.Fatal(err)
	}
	count := compare(t, strings.ReplaceAll(hourly, "CATALOG", catalog))
	if len(count.rows) < 5000 || count.counters.In != 100_000 {
		t.Fatalf("the windowed count has %d rows of %d", len(count.rows), count.counters.In)
	}
	hours := filepath.Join(t.TempDir(), "hours.json")
	if err := os.WriteFile(hours, []byte(strings.Join(count.rows, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	for stage, read := range map[string]string{"daily": "{channel: delays}", "worst": "{channel: flights/delays}"} {
		body := body(t, catalog, stage)
		at := strings.Index(body, "type: ReadFromChannel")
		end := strings.Index(body, read) + len(read)
		if at < 0 || end < at {
			t.Fatalf("%s does not begin as this test knows it:\n%s", stage, body)
		}
		body = body[:at] + strings.ReplaceAll(readHours, "HOURS", hours) + body[end:]
		body = strings.NewReplacer("WriteToCsv", "WriteToJson", "out/daily.csv", `"OUT"`).Replace(body)
		if got := compare(t, body); len(got.rows) < 1000 && len(got.printed) != 12 {
			t.Errorf("%s wrote %d rows and printed %d lines", stage, len(got.rows), len(got.printed))
		}
	}
}

// body is the text of a stage of the catalogue, indented as a whole file.
func body(t *testing.T, catalog, stage string) string {
	t.Helper()
	if stage == "worst" {
		text, err := os.ReadFile(filepath.Join(catalog, "worst.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	text, err := os.ReadFile(filepath.Join(catalog, "flights.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "      after: [hourly]\n")
	if !ok {
		t.Fatal("flights.yaml has no stage after hourly")
	}
	var out strings.Builder
	for line := range strings.Lines(after) {
		out.WriteString(strings.TrimPrefix(line, "      "))
	}
	return out.String()
}
