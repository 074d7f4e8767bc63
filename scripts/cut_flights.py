"""Cuts the first 100,000 rows out of flights-3m.parquet and puts them slightly out of order. Called by cut-flights.

The source is sorted by departure. Each row is moved by a seeded jitter of less than ten minutes, so that a reader sees event
time and order of arrival differ, by a bound that it can rely on. Everything that the repository says of the file is asserted
here, before it is written.
"""

import datetime
import gzip
import hashlib
import random
import sys

import pyarrow.parquet as parquet

SOURCE_SHA256 = "dbeb920c90f59b6ccaff823dcc3d08f25a97fa1ce128d93f40be4e931f5900b0"  # of data/flights-3m.parquet in vega-datasets 3.2.1
ROWS = 100_000
SEED = 20010101
DISORDER = 600  # seconds; no row comes more than this after a later one
HEADER = "date,time,delay,distance,origin,destination"


def read(path):
    """The first rows as (epoch seconds, date, delay, distance, origin, destination)."""
    with open(path, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    assert digest == SOURCE_SHA256, f"{path} has SHA-256 {digest}, expected {SOURCE_SHA256}: another version of the data set?"
    table = parquet.read_table(path).slice(0, ROWS)
    assert table.num_rows == ROWS
    for name in table.column_names:
        assert table[name].null_count == 0, f"column {name} has nulls"
    columns = [table[name].to_pylist() for name in ("date", "delay", "distance", "origin", "destination")]
    # The source has no time zone: the airport's local time is taken as if it were UTC.
    return [(int(row[0].replace(tzinfo=datetime.timezone.utc).timestamp()), *row) for row in zip(*columns)]


def disorder(rows):
    """The rows sorted by time plus jitter. Ties keep the source's order, so the result is one and only one."""
    draw = random.Random(SEED)
    keyed = [(row[0] + draw.randrange(DISORDER), i) for i, row in enumerate(rows)]
    return [rows[i] for _, i in sorted(keyed)]


def check(rows, shuffled):
    assert sorted(rows) == sorted(shuffled), "the shuffle lost or doubled a row"
    times = [row[0] for row in rows]
    assert times == sorted(times), "the source is not sorted by time"
    latest, moved, worst = 0, 0, 0
    for row in shuffled:
        if row[0] < latest:
            moved, worst = moved + 1, max(worst, latest - row[0])
        latest = max(latest, row[0])
    assert worst <= DISORDER, f"a row comes {worst} s after a later one"
    assert moved > ROWS // 10, "the shuffle moved hardly anything"
    origins = {row[4] for row in rows}
    pairs = {(row[4], row[0] // 3600) for row in rows}
    assert (len(origins), len(pairs)) == (223, 14_585), (len(origins), len(pairs))
    for row in rows:
        assert row[1].second == 0 and row[1].microsecond == 0
        assert len(row[4]) == 3 and len(row[5]) == 3
    delays = [row[2] for row in rows]
    print(f"{len(rows)} rows, {rows[0][1]} to {rows[-1][1]}, {len(origins)} origins, {len(pairs)} pairs of origin and hour")
    print(f"delay {min(delays)} to {max(delays)} minutes, {sum(d < 0 for d in delays)} negative, {sum(d > 120 for d in delays)} over 120")
    print(f"{moved} rows come after a later one, by at most {worst} s; {len(rows) - len(set(rows))} rows repeat another in every column")


def write(path, rows):
    lines = [HEADER]
    for time, date, delay, distance, origin, destination in rows:
        lines.append(f"{date.isoformat()},{time},{delay},{distance},{origin},{destination}")
    text = ("\n".join(lines) + "\n").encode("ascii")
    with open(path, "wb") as out:
        # No name and no time in the header: the same rows give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as packed:
            packed.write(text)


def main():
    source, target = sys.argv[1:]
    rows = read(source)
    shuffled = disorder(rows)
    check(rows, shuffled)
    write(target, shuffled)


main()
