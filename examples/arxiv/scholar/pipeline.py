"""Whether a scholar works through its papers: ends well once every paper that SCHOLAR_URL keeps is in the ChromaDB and a query finds one. Changes
nothing; how long it may take its Job says."""

import json
import time
import urllib.error
import urllib.request

from service import setting

HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(path):
    with HTTP.open(f"{setting('SCHOLAR_URL')}/{path}", timeout=30) as answer:
        return json.load(answer)


def works():
    counts = ask("status")
    behind = counts["ingested"] is None or counts["ingested"] < counts["papers"] or counts["waiting"]
    if counts["hindered"] or behind:
        return f"not yet: {counts}"
    if counts["papers"] and not ask("query?n=1&text=paper"):
        return f"no query finds any of {counts['papers']} papers"
    print(f"{counts['papers']} papers are ingested and found")
    return None


def main():
    while True:
        try:
            why = works()
        except (OSError, ValueError) as error:
            why = f"the scholar does not answer: {error}"
        if why is None:
            return
        print(why, flush=True)
        time.sleep(1)


main()
