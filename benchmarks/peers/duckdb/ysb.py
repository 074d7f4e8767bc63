"""The Yahoo benchmark (w3) as one SQL statement of DuckDB over the same files.

    ysb.py --in DIR --out FILE --threads 1
"""
import argparse
import os

import duckdb

parser = argparse.ArgumentParser()
parser.add_argument("--in", dest="folder", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()

text = lambda *names: "{" + ", ".join(f"{n}: 'VARCHAR'" for n in names) + "}"
events = os.path.join(args.folder, "events.json")
ads = os.path.join(args.folder, "ads.csv")
con = duckdb.connect()
con.execute(f"SET threads = {args.threads}")
con.execute(f"""
    COPY (
        SELECT campaign_id, event_time::BIGINT // 10000 * 10000 AS "window", count(*) AS views
        FROM read_ndjson('{events}', columns = {text("ad_id", "event_type", "event_time")})
        JOIN read_csv('{ads}', header = true, columns = {text("ad_id", "campaign_id")}) USING (ad_id)
        WHERE event_type = 'view'
        GROUP BY ALL
    ) TO '{args.out}' (FORMAT json)
""")
